"""A statement about one picture: what its pixels say at a stated base rate, how sure that is, and what the file claims.

    statement = explain("picture.jpg")
    statement.verdict, statement.probability, statement.likelihood_ratio, statement.reasons
    statement.with_base_rate(0.01).probability

The verdict is that of the p-values, and a refusal where the picture lies outside what the detector was calibrated on.
What the file says of itself stands apart and changes no number.
"""

import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from helpers.data import catalog
from helpers.data.claims import Claim, read_claims
from helpers.data.images import Image, ImageInfo, decode, probe, read_bytes, read_image
from helpers.data.manifest import resolve
from helpers.detectors.config import SMALLEST, DetectorError
from helpers.detectors.predict import GENERATED, PHOTOGRAPH, as_image, judged
from helpers.errors import printable
from helpers.evaluation.embeddings import nearest_traces
from helpers.evaluation.metrics import Interval, Verdict, likelihood_ratio, posterior
from helpers.statistics import processing

if TYPE_CHECKING:
    from helpers.detectors.base import Detector

__all__ = [
    "INCONCLUSIVE",
    "LIMITS",
    "Limits",
    "Neighbour",
    "PatchMap",
    "Statement",
    "Trace",
    "explain",
    "out_of_range",
    "verdict_text",
]

INCONCLUSIVE: Verdict = "inconclusive"
RANGE_WINDOWS = 4
"""Windows in which features are measured, about; more cost time and say the same."""
PREVIEW = 640
"""Longer side of the small copy that a panel shows, in pixels."""


@dataclass(frozen=True)
class Limits:
    """Outside which the detector's numbers hold for nothing that was measured.

    Attributes:
        side: Shortest side in pixels: that of the crops which the detector learnt from.
        quality: Lowest JPEG quality of the file's luminance table.
        flat: Largest share of drawn pixels, see `helpers.statistics.processing.flat_share`.
        features: Shortest side of a window in pixels from which features are compared with the known ones: their range
            was measured on larger windows, and those of smaller ones scatter more.
    """

    side: int = 128
    quality: int = 50
    flat: float = 0.7
    features: int = 200


LIMITS = Limits()


@dataclass(frozen=True)
class Trace:
    """Something that may have been done to the pixels before.

    Attributes:
        name: "compression grid", "cut after compression", "enlarged", "stored as JPEG".
        found: Whether it was found.
        value: What was measured.
        text: One sentence.
    """

    name: str
    found: bool
    value: float
    text: str


@dataclass(frozen=True)
class Neighbour:
    """A photograph that the detector sees nearly the same traces in.

    Attributes:
        name: Of an embedded photograph, as `helpers.data.catalog.photograph` takes it.
        title: What it shows.
        similarity: Cosine of the embeddings, -1..1.
    """

    name: str
    title: str
    similarity: float


@dataclass(frozen=True)
class PatchMap:
    """The scores of single windows on a grid.

    Attributes:
        side: Of a window in pixels.
        tops: Rows at which windows begin, ascending.
        lefts: Columns.
        scores: One tuple for each row of windows; higher means more like a generated picture.
        probabilities: The same, as probabilities at a base rate of one half. A window alone says less than the whole.
    """

    side: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    scores: tuple[tuple[float, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Statement:
    """What can be said of one picture.

    Attributes:
        path: The file as it was named, or "image".
        width: Columns in pixels.
        height: Rows.
        format: Of the file; "" for a picture that came without one.
        detector: Kind of the detector.
        score: Higher means more like a generated picture.
        base_rate: Share of generated pictures among those that are asked about.
        probability: Of being generated, at that base rate.
        likelihood_ratio: How many times more often generated pictures get such a score than photographs; None from a
            detector without known scores.
        p_photograph: Share of known photographs that look at least as generated; None without known scores.
        p_generated: Share of known generated pictures that look at least as natural.
        verdict: "photograph", "generated" or "inconclusive".
        reasons: Why it is inconclusive, one sentence each; empty otherwise.
        text: The verdict in words.
        patches: Scores of single windows.
        neighbours: Embedded photographs with the nearest traces, nearest first.
        traces: What was done to the pixels before.
        claims: What the file says of itself.
        preview: A small copy, uint8 (3, h, w); in no record.
    """

    path: str
    width: int
    height: int
    format: str
    detector: str
    score: float
    base_rate: float
    probability: float
    likelihood_ratio: Interval | None
    p_photograph: float | None
    p_generated: float | None
    verdict: Verdict
    reasons: tuple[str, ...]
    text: str
    patches: PatchMap
    neighbours: tuple[Neighbour, ...]
    traces: tuple[Trace, ...]
    claims: tuple[Claim, ...]
    preview: Image = field(repr=False, compare=False)

    def with_base_rate(self, base_rate: float) -> "Statement":
        """State the same for another base rate; nothing is measured again, and the verdict stays.

        Args:
            base_rate: Above 0 and below 1.

        Raises:
            MetricError: It is no such share.
        """
        before = self.probability / (1 - self.probability) * (1 - self.base_rate) / self.base_rate
        changed = replace(self, base_rate=base_rate, probability=float(posterior(base_rate, before)))
        return replace(changed, text=verdict_text(changed))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, rounded to six digits; without the small copy."""
        values = asdict(replace(self, preview=torch.empty(0)))
        del values["preview"]
        return _rounded(values)  # type: ignore[no-any-return]

    def to_html(self) -> str:
        """Write a self-contained page with picture, map, neighbours and all sentences."""
        from helpers.detectors.panel import statement_html

        return statement_html(self)


def _rounded(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list | tuple) else value


# From a picture to its statement


def explain(
    picture: Any,  # noqa: ANN401
    detector: "Detector",
    base_rate: float = 0.5,
    *,
    name: str | None = None,
    limits: Limits = LIMITS,
) -> Statement:
    """State what can be said of one picture.

    Args:
        picture: The path of a file; the bytes of one; or what `predict` takes: a Pillow picture, an array, a tensor.
        detector: Trained.
        base_rate: Share of generated pictures among those that are asked about, above 0 and below 1.
        name: What to call it; the path, or "image", when None.
        limits: Outside which the verdict is "inconclusive".

    Returns:
        The statement.

    Raises:
        ImageError: The file cannot be read.
        InputError: It is no picture.
        DetectorError: It is smaller than any detector can judge.
        MetricError: The base rate is no such share.
    """
    posterior(base_rate, 1.0)
    called = name or (str(fspath(picture)) if isinstance(picture, str | PathLike) else "image")
    data = _bytes_of(picture)
    img = as_image(picture) if data is None else decode(data, called)
    info = None if data is None else probe(data, called)
    views = [view.clone() for view in detector.views(img)]
    score = float(detector.score_cut([views])[0])
    judgement, p_photograph, p_generated = judged(detector, score)
    ratio = likelihood_ratio(detector.calibration, detector.conformal, score) if detector.conformal else None
    reasons = (*_undecided(judgement), *out_of_range(detector, img, info, views, limits))
    statement = Statement(
        path=printable(called),
        width=int(img.shape[2]),
        height=int(img.shape[1]),
        format=info.format if info else "",
        detector=detector.name,
        score=score,
        base_rate=base_rate,
        probability=_probability(detector, score, ratio, base_rate),
        likelihood_ratio=ratio,
        p_photograph=p_photograph,
        p_generated=p_generated,
        verdict=INCONCLUSIVE if reasons else judgement,
        reasons=reasons,
        text="",
        patches=patch_map(detector, img),
        neighbours=_neighbours(detector, img),
        traces=tuple(_traces(img, info)),
        claims=tuple(read_claims(data)) if data is not None else (),
        preview=_small(img),
    )
    return replace(statement, text=verdict_text(statement))


def _bytes_of(picture: Any) -> bytes | None:  # noqa: ANN401
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    return read_bytes(fspath(picture)) if isinstance(picture, str | PathLike) else None


def _probability(detector: "Detector", score: float, ratio: Interval | None, base_rate: float) -> float:
    even = float(detector.probability(np.array([score]))[0])
    value = ratio.value if ratio else even / max(1 - even, 1e-12)
    return float(posterior(base_rate, value))


def _undecided(judgement: Verdict) -> tuple[str, ...]:
    if judgement != INCONCLUSIVE:
        return ()
    return (
        "Neither known photographs nor known generated pictures can be ruled out: such scores occur among both, "
        "or among neither.",
    )


def out_of_range(
    detector: "Detector", img: Image, info: ImageInfo | None, views: Sequence[Image], limits: Limits = LIMITS
) -> tuple[str, ...]:
    """Say why a picture lies outside what the detector was calibrated on.

    Args:
        detector: Trained; where it keeps the range of known features, the picture's must lie inside.
        img: uint8 (3, H, W).
        info: What its file says, if there is one.
        views: Windows of it, in which drawn pixels are counted and features are measured.
        limits: What is inside.

    Returns:
        One sentence for each reason; none for a picture inside.
    """
    reasons = []
    height, width = img.shape[-2:]
    if min(height, width) < limits.side:
        size = f"{width} x {height} pixels"
        reasons.append(f"The picture is too small: {size}, where the shorter side should have {limits.side}.")
    quality = stored_quality(info)
    if quality is not None and quality < limits.quality:
        reasons.append(
            f"The file is too strongly compressed: JPEG quality {quality}, where {limits.quality} is the lowest "
            "that was calibrated."
        )
    flat = float(np.mean([processing.flat_share(view) for view in views]))
    if flat > limits.flat:
        reasons.append(
            f"It looks like a drawing or a screenshot: {flat:.0%} of its pixels equal their neighbours exactly, where "
            f"photographs stay below {limits.flat:.0%}."
        )
    if (known := detector.feature_range) and min(height, width) >= limits.features:
        ratio = known.ratio(detector.describe_views(views[:: max(1, len(views) // RANGE_WINDOWS)]))
        if ratio > 1:
            reasons.append(
                "It resembles none of the pictures that the detector knows, photographs or generated: its features "
                f"lie {ratio:.1f} times as far out as those of {known.share:.0%} of such pictures do at most."
            )
    return tuple(reasons)


def stored_quality(info: ImageInfo | None) -> int | None:
    """Estimate the JPEG quality of a file by its luminance table; None for other formats."""
    tables = info.quantisation if info else None
    return processing.jpeg_quality(tables[0]) if tables else None


def verdict_text(statement: Statement) -> str:
    """Put the verdict into words that claim no more than the numbers do.

    Args:
        statement: Its `text` is not read.

    Returns:
        Two or three sentences.
    """
    share = f"{_percent(statement.probability)} probability of being generated"
    rate = f"where {_percent(statement.base_rate)} of the pictures in question are generated"
    numbers = f"Its score means a {share}, {rate}."
    heads = {
        PHOTOGRAPH: "The pixels look like those of known photographs, and unlike most known generated pictures.",
        GENERATED: "The pixels look like those of known generated pictures, and unlike most known photographs.",
        INCONCLUSIVE: "Inconclusive: the pixels do not decide.",
    }
    tails = {
        PHOTOGRAPH: "Some generated pictures look like this too.",
        GENERATED: "Some photographs look like this too.",
        INCONCLUSIVE: "Take the number for no more than a hint.",
    }
    return " ".join([heads[statement.verdict], numbers, tails[statement.verdict]])


def _percent(share: float) -> str:
    if share < 0.001 or share > 0.999:
        return "less than 0.1 %" if share < 0.5 else "more than 99.9 %"
    return f"{100 * share:.1f} %" if share < 0.1 or share > 0.9 else f"{100 * share:.0f} %"


# Which part, and like what


MAP_ROWS = 4
ITSELF = 0.9999
"""Similarity from which on a photograph is the picture itself."""


@torch.inference_mode()
def patch_map(detector: "Detector", img: Image, most: int = MAP_ROWS) -> PatchMap:
    """Score single windows on a grid that spans the picture.

    Args:
        detector: Trained.
        img: uint8 (3, H, W).
        most: Rows and columns of the grid, at most; windows overlap by half at most.

    Returns:
        The map.
    """
    height, width = img.shape[-2:]
    side = min(int(getattr(detector.config, "size", SMALLEST)), height, width)
    tops, lefts = (_starts(length, side, most) for length in (height, width))
    cut = [[img[:, top : top + side, left : left + side].clone()] for top in tops for left in lefts]
    scores = detector.score_cut(cut).reshape(len(tops), len(lefts))
    probabilities = detector.probability(scores)
    return PatchMap(side, tops, lefts, *(tuple(map(tuple, grid.tolist())) for grid in (scores, probabilities)))


def _starts(length: int, side: int, most: int) -> tuple[int, ...]:
    count = min(most, max(1, 2 * length // side - 1))
    return tuple(np.unique(np.linspace(0, length - side, count).round().astype(int)).tolist())


def _neighbours(detector: "Detector", img: Image, count: int = 3) -> tuple[Neighbour, ...]:
    """Find embedded photographs with similar traces; none for a detector that judges by no vectors."""
    try:
        names, titles, bank = _bank(detector)
    except DetectorError:
        return ()
    near = nearest_traces(_embedded(detector, img)[None], bank, len(names))
    found = [
        Neighbour(names[index], titles[index], float(similarity))
        for index, similarity in zip(near.indices[0], near.similarities[0], strict=True)
        if similarity < ITSELF
    ]
    return tuple(found[:count])


def _embedded(detector: "Detector", img: Image, side: int = 240) -> NDArray[np.float32]:
    """Embed the middle of a picture."""
    height, width = img.shape[-2:]
    tall, wide = min(side, height), min(side, width)
    top, left = (height - tall) // 2, (width - wide) // 2
    middle = img[:, top : top + tall, left : left + wide]
    with torch.inference_mode():
        vector = detector.embed(middle[None].to(detector.device))[0]
    return np.asarray(vector.float().cpu().numpy(), np.float32)


_banks: dict[int, tuple[Any, tuple[list[str], list[str], NDArray[np.float32]]]] = {}


def _bank(detector: "Detector") -> tuple[list[str], list[str], NDArray[np.float32]]:
    """Embed the photographs that ship with the package, once for each detector."""
    kept = _banks.get(id(detector))
    if kept is not None and kept[0]() is detector:
        return kept[1]
    known = catalog.photographs()
    rows = [_embedded(detector, read_image(resolve(str(path), None))) for path in known["path"]]
    bank = known["name"].tolist(), known["title"].tolist(), np.stack(rows)
    _banks[id(detector)] = weakref.ref(detector), bank
    return bank


# What was done before


SIDE_OF_TRACES = 1024
GRID_FOUND, PEAK_FOUND = 5.0, 12.0
"""Of 700 pictures that were reduced by half (120 pixels left) none has a grid of strength 5."""


def _traces(img: Image, info: ImageInfo | None) -> list[Trace]:
    """Measure what was done to the pixels, in the middle of the picture."""
    height, width = img.shape[-2:]
    traces = []
    if (quality := stored_quality(info)) is not None:
        text = f"The file stores the pixels as JPEG of quality {quality} or so."
        traces.append(Trace("stored as JPEG", True, float(quality), text))
    if min(height, width) < 64:
        return traces
    tall, wide = min(SIDE_OF_TRACES, height), min(SIDE_OF_TRACES, width)
    top, left = (height - tall) // 2 // 8 * 8, (width - wide) // 2 // 8 * 8
    part = img[:, top : top + tall, left : left + wide]
    grid, peak = processing.block_grid(part), processing.resampling_peak(part)
    traces += _grid_traces(grid, quality is not None)
    enlarged = peak >= PEAK_FOUND
    text = (
        "The differences of neighbours have a period, as enlarging or turning leaves one; some patterns have one too."
        if enlarged
        else "No period of an enlargement was found; one that was made smaller, or stored as JPEG later, shows none."
    )
    return [*traces, Trace("resampled", enlarged, peak, text)]


def _grid_traces(grid: processing.Grid, is_jpeg: bool) -> list[Trace]:
    found, at_corner = grid.strength >= GRID_FOUND, grid.down == grid.right == 0
    if not found:
        text = "No grid of JPEG blocks stands out; high qualities leave none."
        return [Trace("compression grid", False, grid.strength, text)]
    if at_corner:
        text = "Blocks of 8 x 8 pixels begin at the corner: the pixels were stored as JPEG at this size."
        return [Trace("compression grid", True, grid.strength, text)]
    where = f"at row {grid.down} and column {grid.right}"
    twice = " and then stored as JPEG again" if is_jpeg else ""
    text = f"Blocks of 8 x 8 pixels begin {where}: the picture was cut after it had been JPEG{twice}."
    return [Trace("cut after compression", True, grid.strength, text)]


def _small(img: Image) -> Image:
    """Make a copy of at most `PREVIEW` pixels, by leaving pixels out."""
    step = max(1, -(-max(img.shape[-2:]) // PREVIEW))
    return img[:, ::step, ::step].clone()
