"""What trains many detectors to choose one: hold-out over generators and sources, and ablation studies.

Leans on `helpers.detectors`; nothing but the command line and the lessons leans on it.
"""
