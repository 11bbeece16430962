"""Lesson 03: Can we learn what real images share without seeing one fake?"""
