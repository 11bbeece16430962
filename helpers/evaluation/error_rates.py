"""Two questions that practitioners ask first: which photographs are called generated, and are pairs told apart?

`evaluate`'s report gives them beside its metrics: the false-positive rate of each photo source at the stored threshold,
and, for images that went through one pipeline in pairs (a photograph and its generated counterpart), how often the
generated one gets the higher score.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helpers.evaluation.metrics import Interval, rate_interval, wilson_interval
from helpers.evaluation.report import EvaluationError, tiers_of

__all__ = ["PairedRanking", "SourceRate", "check_pairs", "false_positive_rates", "paired_ranking"]


@dataclass(frozen=True)
class SourceRate:
    """How many photographs of one source are called generated.

    Attributes:
        source: Name of the photo source.
        tier: Whether training saw it.
        images: Its photographs.
        clusters: Independent ones among them, by `group` where the table has that column.
        rate: Share with a score at or above the threshold, mean over runs; interval from a bootstrap over clusters.
    """

    source: str
    tier: str
    images: int
    clusters: int
    rate: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        about = {"source": self.source, "tier": self.tier, "images": self.images, "clusters": self.clusters}
        return {**about, "false_positive_rate": _plain(self.rate)}


def false_positive_rates(
    tables: Sequence[pd.DataFrame],
    thresholds: Sequence[float],
    *,
    seen_sources: Iterable[str],
    pooled: bool = False,
    n_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> list[SourceRate]:
    """Measure for each photo source how many of its photographs are called generated.

    Args:
        tables: One table of scores per run, with the same rows in the same order: label, source, score, and `group`
            and `tier` where there are any.
        thresholds: Stored threshold of each run.
        seen_sources: Photo sources that training saw.
        pooled: Join the sources that training saw, and those that it did not; each photograph then weighs alike.
        n_draws: Bootstrap draws.
        seed: Seed of the draws.
        level: Confidence level in (0, 1).

    Returns:
        One entry per source, in alphabetical order; or one per tier that has photographs, its source "all".
    """
    first = tables[0]
    alarms = np.mean(
        [table["score"].to_numpy() >= limit for table, limit in zip(tables, thresholds, strict=True)], axis=0
    )
    tiers, clusters = tiers_of(first, seen_sources).to_numpy(), _clusters(first)
    about = pd.DataFrame({"source": first["source"].astype(str).to_numpy(), "tier": tiers})
    photographs = about[(first["label"] == "real").to_numpy()]
    rates = []
    for _, part in photographs.groupby(["tier"] if pooled else ["source", "tier"]):
        rate = _rate(alarms[part.index], clusters[part.index], n_draws, seed, level)
        source = "all" if pooled else part["source"].iloc[0]
        rates.append(SourceRate(source, str(part["tier"].iloc[0]), len(part), rate.n, rate))
    return rates


def _rate(alarms: NDArray[np.float64], clusters: NDArray[np.str_], n_draws: int, seed: int, level: float) -> Interval:
    """Put an interval around a share of images by drawing whole clusters."""
    _, numbers = np.unique(clusters, return_inverse=True)
    sums, sizes = np.bincount(numbers, alarms), np.bincount(numbers)
    count, rate = len(sizes), float(alarms.mean())
    if count == 1:
        ends = wilson_interval(round(rate), 1, level)
        return Interval(rate, min(rate, ends.low), max(rate, ends.high), level, 1)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=n_draws)
    return rate_interval(rate, (drawn @ sums) / (drawn @ sizes), level=level, n=count, smallest=count)


def _clusters(table: pd.DataFrame) -> NDArray[np.str_]:
    """Tell which rows belong together: those of one `group`; without the column, or in an empty cell, each alone."""
    paths = ("image " + table["path"].astype(str)).to_numpy(str)
    if "group" not in table:
        return paths
    groups = table["group"].fillna("").astype(str).str.strip()
    return np.where((groups == "").to_numpy(), paths, ("group " + groups).to_numpy(str))


@dataclass(frozen=True)
class PairedRanking:
    """How often the generated one of a pair has the higher score.

    Attributes:
        column: Its values name the pairs.
        pairs: Values with both real and fake images.
        images: Their images.
        ranking: Mean over pairs of the share of (real, fake) combinations in which the fake scores higher, ties
            counting half, mean over runs; interval from a bootstrap over pairs.
    """

    column: str
    pairs: int
    images: int
    ranking: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"column": self.column, "pairs": self.pairs, "images": self.images, "ranking": _plain(self.ranking)}


def check_pairs(df: pd.DataFrame, column: str) -> pd.Series:
    """Find the pairs of a manifest.

    Args:
        df: Rows with label and the column.
        column: Its values name the pairs; empty ones name none.

    Returns:
        The values of the rows that lie in a pair, with the rows' index.

    Raises:
        EvaluationError: There is no such column, or no value that both a real and a fake image have.
    """
    if column not in df:
        raise EvaluationError(f"{column}: no such column (there are {', '.join(map(str, df.columns))})")
    values = df[column].fillna("").astype(str).str.strip()
    labels = df["label"].groupby(values).nunique()
    both = set(labels.index[labels == 2]) - {""}
    if not both:
        raise EvaluationError(f"{column}: no value of this column has both real and fake images")
    return values[values.isin(both)]


def paired_ranking(
    tables: Sequence[pd.DataFrame], column: str, *, n_draws: int = 1000, seed: int = 0, level: float = 0.95
) -> PairedRanking:
    """Rank the images of each pair against each other, and nothing else.

    Args:
        tables: One table of scores per run, with the same rows in the same order.
        column: Its values name the pairs.
        n_draws: Bootstrap draws.
        seed: Seed of the draws.
        level: Confidence level in (0, 1).

    Returns:
        The mean over pairs.

    Raises:
        EvaluationError: See `check_pairs`.
    """
    values = check_pairs(tables[0], column)
    groups = [rows.index.to_numpy() for _, rows in values.groupby(values)]
    fake = (tables[0]["label"] == "fake").to_numpy()
    scores = np.mean([[_share(table["score"].to_numpy(), fake, rows) for rows in groups] for table in tables], axis=0)
    rng = np.random.default_rng(seed)
    draws = np.array([scores[rng.integers(len(scores), size=len(scores))].mean() for _ in range(n_draws)])
    ranking = rate_interval(float(scores.mean()), draws, level=level, n=len(scores), smallest=len(scores))
    return PairedRanking(column, len(groups), len(values), ranking)


def _share(scores: NDArray[np.float64], fake: NDArray[np.bool_], rows: NDArray[np.int64]) -> float:
    """Compare every fake with every real of one pair."""
    above = scores[rows[fake[rows]], None] - scores[None, rows[~fake[rows]]]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def _plain(interval: Interval) -> dict[str, float]:
    return {name: round(getattr(interval, name), 4) for name in ("value", "low", "high")}
