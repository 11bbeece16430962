"""How a detector fares that may refuse: what it calls photograph, generated and inconclusive, and how often it errs.

Every share has Wilson's interval over pictures; beside it stands the range over sources with enough pictures, since
pictures of one source resemble each other and the interval knows nothing of other sources.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helpers.evaluation.metrics import Interval, calibration_error, wilson_interval
from helpers.evaluation.report import EvaluationError, tiers_of

__all__ = ["LEAST", "RefusalRow", "measure_refusal"]

LEAST = 25
"""Pictures that a source needs for its share to count in the range."""


@dataclass(frozen=True)
class RefusalRow:
    """One share.

    Attributes:
        name: Such as "photographs of unseen sources called generated".
        share: With Wilson's interval.
        lowest: Smallest share of any source (of generated pictures: generator) with `LEAST` pictures; None if there
            is none.
        highest: Largest share.
        sources: How many have so many pictures.
    """

    name: str
    share: Interval
    lowest: float | None
    highest: float | None
    sources: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, rounded."""
        rounded = {name: round(getattr(self.share, name), 4) for name in ("value", "low", "high")}
        ends = {name: None if (end := getattr(self, name)) is None else round(end, 4) for name in ("lowest", "highest")}
        return {"name": self.name, "images": self.share.n, "share": rounded, **ends, "sources": self.sources}


def measure_refusal(table: pd.DataFrame, seen_sources: Iterable[str]) -> tuple[list[RefusalRow], float]:
    """Count verdicts.

    Args:
        table: One row for each picture: label ("real" or "fake"), source, generator, verdict, probability at a base
            rate of one half, and `tier` where there is one.
        seen_sources: Photo sources that training saw.

    Returns:
        The shares, and the expected calibration error with both classes weighing alike.

    Raises:
        EvaluationError: A label is missing.
    """
    if set(table["label"]) != {"real", "fake"}:
        raise EvaluationError("both photographs and generated images are needed")
    table = table.reset_index(drop=True)
    real, tiers = (table["label"] == "real").to_numpy(), tiers_of(table, seen_sources)
    unseen, verdict = real & (tiers == "unseen-source").to_numpy(), table["verdict"].to_numpy(str)
    groups = table["source"].where(real, table["generator"]).astype(str).to_numpy(str)
    right = np.where(real, "photograph", "generated")
    decided = verdict != "inconclusive"
    photographs = {"photographs of unseen sources": unseen, "photographs of seen sources": real & ~unseen}
    rows = []
    for name, inside in {**photographs, "generated pictures": ~real}.items():
        for called in ("generated", "photograph", "inconclusive"):
            rows.append(_row(f"{name} called {called}", inside, verdict == called, groups))
        rows.append(_row(f"errors among decided {name}", inside & decided, verdict != right, groups))
    rows.append(_row("all pictures called inconclusive", np.ones(len(table), bool), ~decided, groups))
    rows.append(_row("errors among all decided pictures", decided, verdict != right, groups))
    error = calibration_error((~real).astype(int), table["probability"])
    return [row for row in rows if row is not None], error


def _row(name: str, inside: NDArray[np.bool_], event: NDArray[np.bool_], groups: NDArray[np.str_]) -> RefusalRow | None:
    """Count an event among some pictures; None where there are none."""
    count = int(inside.sum())
    if not count:
        return None
    parts = pd.Series(event[inside]).groupby(groups[inside]).agg(["mean", "size"])
    large = parts.loc[parts["size"] >= LEAST, "mean"]
    lowest, highest = (float(large.min()), float(large.max())) if len(large) else (None, None)
    return RefusalRow(name, wilson_interval(int(event[inside].sum()), count), lowest, highest, len(large))
