"""From a table of scores to a report: every number for each generator and kind of real image, with intervals.

The fakes of each generator are set against the real images of each *tier* apart: those from sources that training saw,
and those from sources that it did not. Generators that training saw and those it did not are averaged apart as well.
Real and fake weigh equally in every number, whatever their counts.

Intervals come from a cluster bootstrap, stratified by label. In each draw the real images of a tier are resampled once
for all generators, and the fakes of each generator apart, so that a mean over generators has the spread it should have:
its parts share their real images. Several runs (seeds) of a detector are averaged within each draw; the interval then
speaks of the images, and `Mean.per_run` shows how far the runs differ.

What is resampled is the source (photograph, collection) where there are at least ten of them. A benchmark whose sources
are three collections says nothing about other collections, and resampling three things gives no interval; there single
images are resampled, and the report states it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helpers.data.manifest import LABELS
from helpers.errors import NaturalTracesError
from helpers.evaluation.metrics import Interval, cluster_weights, difference_interval, rate_interval
from helpers.evaluation.metrics.calibration import N_BINS, bins
from helpers.evaluation.metrics.ranking import RANKING, Ranked

__all__ = [
    "METRICS",
    "TIERS",
    "Clusters",
    "EvaluationError",
    "Mean",
    "Report",
    "Row",
    "compare",
    "evaluate",
    "tiers_of",
]

METRICS = ("ap", "auc", "accuracy", "accuracy_real", "accuracy_fake", "ece", "brier", "tpr_at_1_fpr", "eer")
TIERS = ("seen-source", "unseen-source")
COLUMNS = ("path", "label", "generator", "family", "source", "score")
ENOUGH_SOURCES = 10
CHUNK = 2_000_000  # weights held at a time

Floats = NDArray[np.float64]
Tables = pd.DataFrame | Sequence[pd.DataFrame]


class EvaluationError(NaturalTracesError):
    """A table of scores that no report can be made from; the message says why."""


# Report


@dataclass(frozen=True)
class Clusters:
    """What was resampled.

    Attributes:
        unit: "source", "image", or the name of a column.
        n: How many of them.
    """

    unit: str
    n: int


@dataclass(frozen=True)
class Row:
    """One generator's fakes against the real images of one tier.

    Attributes:
        tier: Of the real images.
        generator: Of the fakes.
        family: Of the generator.
        seen: Whether training saw the generator.
        n_real: Real images.
        n_fake: Fakes.
        real_clusters: What was resampled among the real images.
        fake_clusters: What was resampled among the fakes.
        metrics: Name to number; see `METRICS`.
    """

    tier: str
    generator: str
    family: str
    seen: bool
    n_real: int
    n_fake: int
    real_clusters: Clusters
    fake_clusters: Clusters
    metrics: Mapping[str, Interval]


@dataclass(frozen=True)
class Mean:
    """Mean over generators, each weighing the same, against the real images of one tier.

    Attributes:
        tier: Of the real images.
        over: "unseen" or "seen" generators.
        generators: Their names.
        metrics: Name to mean; the mean of `ap` is the mAP.
        per_run: Name to the mean of each run.
    """

    tier: str
    over: str
    generators: tuple[str, ...]
    metrics: Mapping[str, Interval]
    per_run: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Report:
    """All numbers of one detector, or the differences of two.

    Attributes:
        kind: "values" of `evaluate`, or "differences" of `compare`.
        rows: One for each tier and generator.
        means: One for each tier and each of unseen and seen generators, where there are any.
        thresholds: Stored threshold of each run; empty for differences.
        runs: Number of runs (seeds).
        cluster: As asked for.
        n_draws: Bootstrap draws.
        seed: Seed of the draws.
        level: Confidence level in (0, 1).
    """

    kind: str
    rows: tuple[Row, ...]
    means: tuple[Mean, ...]
    thresholds: tuple[float, ...]
    runs: int
    cluster: str
    n_draws: int
    seed: int
    level: float

    @property
    def tiers(self) -> tuple[str, ...]:
        """The tiers of real images, in order."""
        return tuple(dict.fromkeys(row.tier for row in self.rows))

    def row(self, tier: str, generator: str) -> Row:
        """Find the numbers of one generator.

        Args:
            tier: Of the real images.
            generator: Its name.

        Returns:
            Its row.

        Raises:
            EvaluationError: There is none.
        """
        for row in self.rows:
            if (row.tier, row.generator) == (tier, generator):
                return row
        raise EvaluationError(f"the report has no generator {generator!r} against real images of tier {tier!r}")

    def mean(self, tier: str, over: str = "unseen") -> Mean:
        """Find the mean over generators.

        Args:
            tier: Of the real images.
            over: "unseen" or "seen".

        Returns:
            The mean.

        Raises:
            EvaluationError: There is none, because there is no such tier or no such generator.
        """
        for mean in self.means:
            if (mean.tier, mean.over) == (tier, over):
                return mean
        raise EvaluationError(f"the report has no mean over {over} generators against real images of tier {tier!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, texts and numbers for JSON, numbers rounded to 4 digits after the point."""
        return {
            "kind": self.kind,
            "runs": self.runs,
            "thresholds": [float(f"{threshold:.6g}") for threshold in self.thresholds],
            "bootstrap": {
                "cluster": self.cluster,
                "n_draws": self.n_draws,
                "seed": self.seed,
                "level": self.level,
            },
            "means": [
                {
                    "tier": mean.tier,
                    "over": mean.over,
                    "generators": list(mean.generators),
                    "metrics": _plain(mean.metrics),
                    "per_run": {name: [round(value, 4) for value in each] for name, each in mean.per_run.items()},
                }
                for mean in self.means
            ],
            "generators": [
                {
                    "tier": row.tier,
                    "generator": row.generator,
                    "family": row.family,
                    "seen": row.seen,
                    "n_real": row.n_real,
                    "n_fake": row.n_fake,
                    "real_clusters": {"unit": row.real_clusters.unit, "n": row.real_clusters.n},
                    "fake_clusters": {"unit": row.fake_clusters.unit, "n": row.fake_clusters.n},
                    "metrics": _plain(row.metrics),
                }
                for row in self.rows
            ],
        }

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each row and mean, with the columns `ap`, `ap_low`, `ap_high` and so on.

        The generator of a mean is called "mean of unseen" or "mean of seen".
        """
        parts: list[Row | Mean] = [*self.rows, *self.means]
        return pd.DataFrame([_flat(part) for part in parts])


def _plain(metrics: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    return {
        name: {"value": round(interval.value, 4), "low": round(interval.low, 4), "high": round(interval.high, 4)}
        for name, interval in metrics.items()
    }


def _flat(part: Row | Mean) -> dict[str, Any]:
    if isinstance(part, Row):
        about: dict[str, Any] = {"tier": part.tier, "generator": part.generator, "seen": part.seen}
    else:
        about = {"tier": part.tier, "generator": f"mean of {part.over}", "seen": part.over == "seen"}
    for name, interval in part.metrics.items():
        about |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return about


# Evaluate and compare


def evaluate(
    tables: Tables,
    thresholds: float | Sequence[float],
    *,
    seen_generators: Iterable[str],
    seen_sources: Iterable[str],
    cluster: str = "auto",
    n_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Report:
    """Compute every number of `METRICS` for each tier and generator, and their means, with intervals.

    Args:
        tables: Scores of one run, or of several runs on the same images: the columns of a manifest (`path`, `label`,
            `generator`, `family`, `source`; `tier` where there is one), `score` (higher means more fake), and
            `probability` (calibrated, of being fake).
        thresholds: Stored threshold on `score` of each run; at or above it an image is called fake.
        seen_generators: Names of the generators that training saw.
        seen_sources: Names of the sources whose real images training saw; used where `tier` is empty.
        cluster: What is resampled: "source", "image", a column's name (rows with an empty cell stand alone; where all
            images share one cell, single images are taken), or "auto": the source where the tier's real images, or the
            generator's fakes, have at least ten of them, else the image.
        n_draws: Bootstrap draws.
        seed: Seed of the draws.
        level: Confidence level in (0, 1).

    Returns:
        The report.

    Raises:
        EvaluationError: A column or a class is missing, a number is out of range, or the tables' images differ.
    """
    runs = _aligned(tables)
    limits = (thresholds,) if isinstance(thresholds, int | float) else tuple(thresholds)
    if len(limits) != len(runs):
        raise EvaluationError(f"{len(runs)} table(s) of scores need as many thresholds, got {len(limits)}")
    if not np.isfinite(limits).all():
        raise EvaluationError("thresholds must be finite")
    design = _design(runs[0], seen_generators, seen_sources, cluster)
    scored = [_Scored(table["score"], _features(table, limit)) for table, limit in zip(runs, limits, strict=True)]

    def measure(tier: str, generator: str, real: Floats, fake: Floats) -> Floats:
        parts = design.reals[tier], design.fakes[generator]
        return np.stack([run.measure(*parts, real, fake) for run in scored])

    draws = _simulate(design, measure, n_draws, seed)
    rows, means = _summaries(design, draws, METRICS, _around(rate_interval, level))
    return Report("values", rows, means, tuple(map(float, limits)), len(runs), cluster, n_draws, seed, level)


def compare(
    first: Tables,
    second: Tables,
    *,
    seen_generators: Iterable[str],
    seen_sources: Iterable[str],
    cluster: str = "auto",
    n_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Report:
    """Compute how much better one detector ranks than another on the same images, as paired differences with intervals.

    Both detectors see the same draws, so what is easy or hard for both cancels. An interval above zero means that the
    first ranks better on images like these; it says nothing of other generators or other runs.

    Args:
        first: Scores of one run, or of several; columns as for `evaluate`, without `probability`.
        second: Scores of the other detector on the same images, in any order, with as many runs; a single run is
            compared with each run of the other detector. Differences are averaged over runs within each draw.
        seen_generators: Names of the generators that training saw.
        seen_sources: Names of the sources whose real images training saw; used where `tier` is empty.
        cluster: As for `evaluate`.
        n_draws: Bootstrap draws.
        seed: Seed of the draws.
        level: Confidence level in (0, 1).

    Returns:
        Report of kind "differences", first minus second, of `ap`, `auc`, `eer` and `tpr_at_1_fpr`.

    Raises:
        EvaluationError: As `evaluate`, or the numbers of runs do not fit.
    """
    left, right = _sequence(first), _sequence(second)
    n_runs = max(len(left), len(right))
    if {len(left), len(right)} - {1, n_runs}:
        raise EvaluationError(f"{len(left)} and {len(right)} runs cannot be paired: give as many, or one")
    tables = _aligned([*left, *right])
    design = _design(tables[0], seen_generators, seen_sources, cluster)
    scored = [_Scored(table["score"], None) for table in tables]
    pairs = [(scored[run % len(left)], scored[len(left) + run % len(right)]) for run in range(n_runs)]

    def measure(tier: str, generator: str, real: Floats, fake: Floats) -> Floats:
        parts = design.reals[tier], design.fakes[generator]
        numbers = {run: run.measure(*parts, real, fake) for run in scored}
        return np.stack([numbers[one] - numbers[other] for one, other in pairs])

    draws = _simulate(design, measure, n_draws, seed)
    rows, means = _summaries(design, draws, tuple(RANKING), _around(difference_interval, level))
    return Report("differences", rows, means, (), n_runs, cluster, n_draws, seed, level)


# Tables


def _sequence(tables: Tables) -> list[pd.DataFrame]:
    listed = [tables] if isinstance(tables, pd.DataFrame) else list(tables)
    if not listed:
        raise EvaluationError("there is no table of scores")
    return listed


def _aligned(tables: Tables) -> list[pd.DataFrame]:
    """Check tables of scores and bring the rows of all into the first one's order."""
    aligned = [_checked(table) for table in _sequence(tables)]
    first, *others = aligned
    about = list(COLUMNS[1:-1])
    for place, table in enumerate(others, 1):
        if len(table) != len(first) or set(table["path"]) != set(first["path"]):
            raise EvaluationError("the tables of scores must hold the same images")
        aligned[place] = table.set_index("path").loc[first["path"]].reset_index()
        if not (aligned[place][about] == first[about]).all(axis=None):
            raise EvaluationError(f"the tables of scores differ in {', '.join(about)} of the same images")
    return aligned


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise EvaluationError(f"the table of scores lacks the column(s) {', '.join(missing)}")
    texts = {name: table[name].fillna("").astype(str) for name in (*COLUMNS[:-1], "tier") if name in table}
    table = table.assign(**texts).reset_index(drop=True)
    for label in LABELS:
        if label not in set(table["label"]):
            raise EvaluationError(f"the table of scores holds no {label} image: both real and fake images are needed")
    rules = {
        f"label must be one of {', '.join(LABELS)}": table["label"].isin(LABELS),
        "path must be unique": ~table["path"].duplicated(),
        "a fake image needs a generator": (table["label"] == "real") | (table["generator"].str.strip() != ""),
        "score must be a finite number": np.isfinite(_numbers(table["score"])),
    }
    for rule, holds in rules.items():
        if not holds.all():
            raise EvaluationError(f"table of scores: {rule} (row of {table.loc[~holds, 'path'].iloc[0]!r})")
    return table.assign(score=_numbers(table["score"]))


def _numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce").astype(np.float64)


def tiers_of(table: pd.DataFrame, seen_sources: Iterable[str]) -> pd.Series:
    """Tell for each real image whether training saw its source.

    Args:
        table: Rows with `source`, and `tier` where there is one.
        seen_sources: Names of the sources whose real images training saw.

    Returns:
        The cell of `tier` where it holds a text, else "seen-source" or "unseen-source".
    """
    known = set(seen_sources)
    tiers = pd.Series([TIERS[0] if source in known else TIERS[1] for source in table["source"]], table.index, dtype=str)
    if "tier" not in table:
        return tiers
    stated = table["tier"].fillna("").astype(str).str.strip()
    return stated.where(stated != "", tiers)


# Design: what is set against what, and what is resampled


@dataclass(frozen=True)
class _Part:
    """Images that are resampled together: the real images of a tier, or the fakes of a generator."""

    name: str
    rows: NDArray[np.int64]
    groups: NDArray[np.str_]
    clusters: Clusters


@dataclass(frozen=True)
class _Design:
    """The real images of each tier, the fakes of each generator, and what is known of the generators."""

    reals: Mapping[str, _Part]
    fakes: Mapping[str, _Part]
    families: Mapping[str, str]
    seen: frozenset[str]


def _design(table: pd.DataFrame, seen_generators: Iterable[str], seen_sources: Iterable[str], cluster: str) -> _Design:
    if cluster not in ("auto", "source", "image") and cluster not in table:
        raise EvaluationError(f"cluster must be auto, source, image or a column of the table, got {cluster!r}")
    real = (table["label"] == "real").to_numpy()
    tiers, generators = tiers_of(table, seen_sources).to_numpy(), table["generator"].to_numpy()
    order = sorted(set(tiers[real]), key=lambda tier: (TIERS.index(tier) if tier in TIERS else len(TIERS), tier))
    reals = {tier: _part(table, f"real {tier}", real & (tiers == tier), cluster) for tier in order}
    fakes = {
        name: _part(table, f"fake {name}", ~real & (generators == name), cluster)
        for name in sorted(set(generators[~real]))
    }
    families = {name: str(table["family"].iloc[part.rows[0]]) for name, part in fakes.items()}
    return _Design(reals, fakes, families, frozenset(seen_generators) & set(fakes))


def _part(table: pd.DataFrame, name: str, inside: NDArray[np.bool_], cluster: str) -> _Part:
    rows = np.flatnonzero(inside)
    images = table["path"].iloc[rows].to_numpy(str)
    if cluster != "image":
        column, enough = ("source", ENOUGH_SOURCES) if cluster == "auto" else (cluster, 2)
        cells = table[column].iloc[rows].fillna("").astype(str).to_numpy(str)
        alone = np.char.strip(cells) == ""
        groups = np.where(alone, np.char.add("image ", images), np.char.add("cell ", cells))
        if (count := len(np.unique(groups))) >= enough:
            return _Part(name, rows, groups, Clusters(column, count))
    return _Part(name, rows, images, Clusters("image", len(rows)))


# Numbers


def _features(table: pd.DataFrame, threshold: float) -> Floats:
    """List what is averaged over images: right answer, squared error, and the error of the probability by bin.

    Returns:
        (N, 2 + N_BINS).
    """
    if "probability" not in table:
        raise EvaluationError("the table of scores lacks the column probability")
    probability = _numbers(table["probability"]).to_numpy()
    if not ((probability >= 0) & (probability <= 1)).all():
        raise EvaluationError("table of scores: probability must lie between 0 and 1")
    fake = (table["label"] == "fake").to_numpy()
    error = probability - fake
    by_bin = np.zeros((len(table), N_BINS))
    by_bin[np.arange(len(table)), bins(probability)] = error
    return np.column_stack([(table["score"].to_numpy() >= threshold) == fake, error**2, by_bin])


class _Scored:
    """One run's scores, ranked once for each tier and generator."""

    def __init__(self, scores: pd.Series, features: Floats | None) -> None:
        self.scores = scores.to_numpy(np.float64)
        self.features = features
        self.ranked: dict[tuple[str, str], Ranked] = {}

    def measure(self, real: _Part, fake: _Part, real_weights: Floats, fake_weights: Floats) -> Floats:
        """Compute all numbers under each weighting.

        Args:
            real: Real images.
            fake: Fakes.
            real_weights: (B, real images).
            fake_weights: (B, fakes).

        Returns:
            (M, B): `METRICS`, or those of `RANKING` where there are no features.
        """
        key = real.name, fake.name
        if key not in self.ranked:
            truth = np.repeat([0, 1], [len(real.rows), len(fake.rows)])
            self.ranked[key] = Ranked(truth, self.scores[np.concatenate([real.rows, fake.rows])])
        rates = self.ranked[key].rates(np.hstack([real_weights, fake_weights]))
        values = {name: compute(*rates) for name, compute in RANKING.items()}
        if self.features is None:
            return np.stack(list(values.values()))
        of_real, of_fake = (
            weights @ self.features[part.rows] / weights.sum(1, keepdims=True)
            for part, weights in ((real, real_weights), (fake, fake_weights))
        )
        both = (of_real + of_fake) / 2  # real and fake weigh equally
        values |= {
            "accuracy": both[:, 0],
            "accuracy_real": of_real[:, 0],
            "accuracy_fake": of_fake[:, 0],
            "brier": both[:, 1],
            "ece": np.abs(both[:, 2:]).sum(1),
        }
        return np.stack([values[name] for name in METRICS])


Measure = Callable[[str, str, Floats, Floats], Floats]


def _simulate(design: _Design, measure: Measure, n_draws: int, seed: int) -> dict[tuple[str, str], Floats]:
    """Compute all numbers of all cells from all images, and again in each draw.

    Returns:
        (tier, generator) to (runs, M, 1 + draws); the first value along the last axis is that of all images.
    """
    draws_of: dict[tuple[str, str], list[Floats]] = {(tier, name): [] for tier in design.reals for name in design.fakes}
    for weights in _weights([*design.reals.values(), *design.fakes.values()], n_draws, seed):
        for (tier, name), values in draws_of.items():
            real, fake = weights[design.reals[tier].name], weights[design.fakes[name].name]
            values.append(measure(tier, name, real, fake))
    return {cell: np.concatenate(values, axis=2) for cell, values in draws_of.items()}


def _weights(parts: Sequence[_Part], n_draws: int, seed: int) -> Iterator[dict[str, Floats]]:
    """Yield the weights of each part: first one row of ones, then the draws, some hundred at a time.

    Each part has its own stream of random numbers, so its draws do not depend on what else is in the table.
    """
    yield {part.name: np.ones((1, len(part.rows))) for part in parts}
    streams = {
        part.name: cluster_weights(part.groups, n_draws=n_draws, seed=[seed, *part.name.encode()])[0] for part in parts
    }
    size = max(1, CHUNK // sum(len(part.rows) for part in parts))
    for start in range(0, n_draws, size):
        take = min(size, n_draws - start)
        yield {name: np.stack(list(islice(stream, take))) for name, stream in streams.items()}


Around = Callable[[float, Floats, tuple[int, ...]], Interval]


def _around(kind: Callable[..., Interval], level: float) -> Around:
    """Make the function that puts an interval around a value, from its draws and the clusters of each class in it."""
    return lambda value, draws, counts: kind(value, draws, level=level, n=sum(counts), smallest=min(counts))


def _summaries(
    design: _Design, draws: Mapping[tuple[str, str], Floats], names: Sequence[str], around: Around
) -> tuple[tuple[Row, ...], tuple[Mean, ...]]:
    """Turn draws into rows and means."""
    groups = {"unseen": tuple(n for n in design.fakes if n not in design.seen), "seen": tuple(sorted(design.seen))}
    rows, means = [], []
    for tier, real in design.reals.items():
        for name, fake in design.fakes.items():
            metrics = _intervals(draws[tier, name], names, around, real.clusters.n, fake.clusters.n)
            sizes, clusters = (len(real.rows), len(fake.rows)), (real.clusters, fake.clusters)
            rows.append(Row(tier, name, design.families[name], name in design.seen, *sizes, *clusters, metrics))
        for over, members in groups.items():
            if members:
                runs = np.mean([draws[tier, name] for name in members], axis=0)
                fakes = sum(design.fakes[name].clusters.n for name in members)
                metrics = _intervals(runs, names, around, real.clusters.n, fakes)
                per_run = {name: tuple(map(float, runs[:, place, 0])) for place, name in enumerate(names)}
                means.append(Mean(tier, over, members, metrics, MappingProxyType(per_run)))
    return tuple(rows), tuple(means)


def _intervals(runs: Floats, names: Sequence[str], around: Around, real: int, fake: int) -> Mapping[str, Interval]:
    """Turn (runs, M, 1 + draws) numbers into intervals; `real` and `fake` count clusters."""
    of_one_class = {"accuracy_real": (real,), "accuracy_fake": (fake,)}
    intervals = {}
    for name, (value, *draws) in zip(names, runs.mean(0).tolist(), strict=True):
        intervals[name] = around(value, np.array(draws), of_one_class.get(name, (real, fake)))
    return MappingProxyType(intervals)
