"""The error of this package."""

from helpers.errors import NaturalTracesError

__all__ = ["RobustnessError"]


class RobustnessError(NaturalTracesError):
    """A perturbation, sweep or attack that cannot be run as asked; the message says why."""
