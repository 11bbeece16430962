"""Lesson 05: What did the embedding learn?"""
