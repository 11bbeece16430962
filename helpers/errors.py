"""The one base class of every error that this package raises on purpose, and names that are safe to print."""

__all__ = ["NaturalTracesError", "printable"]


class NaturalTracesError(ValueError):
    """An expected failure with a message for the reader: the command line prints it in one line and exits with 2."""


def printable(text: str) -> str:
    r"""Make a name from outside safe for one line of any terminal and any encoding's replacement.

    Args:
        text: A file's name, say: it may hold line breaks, control sequences, or bytes that are no UTF-8.

    Returns:
        The same text with whatever cannot be printed written as an escape.

    >>> printable("tree\r\x1b[2J.png")
    'tree\\r\\x1b[2J.png'
    """
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
