"""Helpers of the Natural Traces course: from image bytes to an honest statement about one image."""

__version__ = "0.1.0"
