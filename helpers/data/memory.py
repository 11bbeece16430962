"""How much memory this process has used."""

import sys

__all__ = ["peak_memory"]


def peak_memory() -> float | None:
    """Return the most memory that this process has used so far, in MB; None where the system does not tell."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)  # bytes there, else kilobytes
