"""Lesson 06: Does it hold for generators it never saw?"""
