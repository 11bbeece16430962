"""Paths that a manifest may hold."""

import unicodedata
from pathlib import PurePosixPath

__all__ = ["PACKAGE_PREFIX", "PATH_RULE", "is_encodable", "is_safe"]

PACKAGE_PREFIX = "pkg:"
PATH_RULE = "path must be relative, with forward slashes, without '..', ':', '\\' and control characters"


def is_safe(path: str) -> bool:
    """Tell whether a manifest path stays below its root, on every operating system.

    Args:
        path: As a manifest writes it, with forward slashes; `pkg:` stands for installed packages.

    Returns:
        Whether it keeps `PATH_RULE`.
    """
    rest = path.removeprefix(PACKAGE_PREFIX)
    parts = PurePosixPath(rest).parts
    inside = bool(parts) and not rest.startswith("/") and ".." not in parts
    return inside and not any(letter in "\\:" or unicodedata.category(letter) in ("Cc", "Cs") for letter in rest)


def is_encodable(text: str) -> bool:
    """Tell whether a text can be written as UTF-8; names of files need not be."""
    return not any(unicodedata.category(letter) == "Cs" for letter in text)
