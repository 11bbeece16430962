"""From an image to another image: views that keep or break traces, development, re-synthesis, perturbations.

Leans on `helpers.data`. Nothing here knows a label, a network or a lesson.
"""
