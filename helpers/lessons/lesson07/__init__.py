"""Lesson 07: What survives the trip through the internet?"""
