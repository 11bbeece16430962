"""Lesson 04: How do we carry traces into a detector?"""
