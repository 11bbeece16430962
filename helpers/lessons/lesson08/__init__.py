"""Lesson 08: How do we get from the laptop to millions of images?"""
