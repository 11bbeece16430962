"""Lesson 00: Can you tell a photograph from a generated image?"""
