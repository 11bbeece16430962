"""Lesson 01: What do all photographs share?"""
