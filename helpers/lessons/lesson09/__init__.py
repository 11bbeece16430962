"""Lesson 09: what can be said of one picture."""
