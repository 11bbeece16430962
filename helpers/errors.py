"""The one base class of every error that this package raises on purpose."""


class NaturalTracesError(ValueError):
    """An expected failure with a message for the reader: the command line prints it in one line and exits with 2."""
