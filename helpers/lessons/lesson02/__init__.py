"""Lesson 02: Which marks does a generator leave, and do they last?"""
