"""What gives a data set away before anybody looks at a picture: the leak AUC of each trivial cue.

For each cue a logistic regression is fitted on some of the images and ranks the others (cross-validation). Its AUC says
how well the cue alone tells fake from real: 0.5 nothing, 1 all. Two views of the data are audited, the raw files and
after the matched protocol, and a third where the manifest tells what the originals were like.

| cue | what the classifier may read | kind |
|---|---|---|
| format | format by content | container |
| size | width and height: logarithms, squareness, multiples of 64, and exact sizes | container |
| quantisation | JPEG tables: which exactly, and their mean step | container |
| subsampling | JPEG chroma subsampling | container |
| metadata | presence of EXIF, ICC profile, XMP, comment, text | container |
| bytes | logarithms of file length and of length per pixel | content |
| colour | mean red, green and blue | content |

*Container* cues belong to the file and must tell nothing. *Content* cues belong to the picture: how colourful and how
detailed it is. They are reported too, since a content bias is a bias, but no encoding step can remove them; read which
cue is meant before calling a set leaky.

Conventions:

- AUC is never folded to the upper half. The direction is learnt on the training folds, so an AUC far below 0.5 says
  that the cue does tell labels apart, but one way for some sources and the other way for the rest. A constant cue has
  exactly 0.5.
- The verdict is about the interval, not the value: "leaky" if all of it lies above 0.6 or below 0.4, "not leaky" if all
  of it lies between, and "cannot tell" otherwise, which more images or more sources would decide.
- Nothing depends on the order of rows: crop and encoder settings belong to the image, by its path, and folds and draws
  follow the paths.
- Folds keep sources together ("source": what tells fakes from reals of sources never seen), or split by image ("image":
  what tells them apart where training and test share sources). Where a label has a single source only the latter can be
  asked: whether a cue marks the label or the source cannot be told then, and the report says so. Only images of the
  same fold are compared, so that the folds' different offsets cannot fake a separation.
- Intervals resample sources within each label. Where a label has one source, its images are resampled instead, and the
  result says so: such an interval covers other images of this source, not other sources. With fewer than about ten
  sources a bootstrap interval is too narrow; `clusters` says how many there were.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helpers.data.images import Image, ImageError, ImageInfo, decode, probe, read_bytes
from helpers.data.manifest import resolve
from helpers.data.protocol import Protocol, matched_bytes
from helpers.data.seeds import keyed_generator
from helpers.data.tables import ManifestError, numbers, whole_numbers
from helpers.evaluation.metrics import Interval, auc_interval

__all__ = [
    "CANNOT_TELL",
    "CONTAINER_CUES",
    "CONTENT_CUES",
    "CUES",
    "LEAKY",
    "LEAKY_ABOVE",
    "MATCHED_PROTOCOL",
    "NOT_LEAKY",
    "ORIGINAL_FILES",
    "RAW_FILES",
    "AuditReport",
    "CueResult",
    "audit",
    "file_features",
    "leak_auc",
    "original_features",
    "verdict",
]

CONTAINER_CUES = ("format", "size", "quantisation", "subsampling", "metadata")
CONTENT_CUES = ("bytes", "colour")
CUES = CONTAINER_CUES + CONTENT_CUES
RAW_FILES, MATCHED_PROTOCOL, ORIGINAL_FILES = "raw files", "matched protocol", "original files"
LEAKY_ABOVE = 0.6
LEAKY, NOT_LEAKY, CANNOT_TELL = "leaky", "not leaky", "cannot tell"

_FOLDS = 5
_FREQUENT = 2  # an exact value is worth a column of its own from this many images on
_PREFIX = "cue_"


@dataclass(frozen=True)
class CueResult:
    """What one cue tells in one view of the data.

    Attributes:
        view: `RAW_FILES`, `MATCHED_PROTOCOL` or `ORIGINAL_FILES`.
        cue: The cue; "container" and "all" join the container cues, and all cues.
        kind: "container" or "content" ("all" counts as content).
        auc: Leak AUC with its interval; `auc.n` counts clusters.
        folds: "source" or "image": what cross-validation kept together; "none" for a fixed rule.
        clusters: "source", "image" or "mixed": what the bootstrap resampled.
    """

    view: str
    cue: str
    kind: str
    auc: Interval
    folds: str
    clusters: str

    @property
    def verdict(self) -> str:
        """`LEAKY`, `NOT_LEAKY` or `CANNOT_TELL`, see the module's conventions."""
        return verdict(self.auc)

    @property
    def leaky(self) -> bool:
        """Whether a leak is proved."""
        return self.verdict == LEAKY


def verdict(area: Interval) -> str:
    """Say what an AUC proves, by its interval.

    Args:
        area: AUC with its interval.

    Returns:
        `LEAKY`, `NOT_LEAKY` or `CANNOT_TELL`.

    >>> verdict(Interval(0.60, 0.24, 0.97, 0.95, 6))
    'cannot tell'
    >>> verdict(Interval(0.07, 0.02, 0.15, 0.95, 40))
    'leaky'
    """
    if area.low > LEAKY_ABOVE or area.high < 1 - LEAKY_ABOVE:
        return LEAKY
    return NOT_LEAKY if area.low >= 1 - LEAKY_ABOVE and area.high <= LEAKY_ABOVE else CANNOT_TELL


@dataclass(frozen=True)
class AuditReport:
    """All cues in all views of one data set.

    Attributes:
        results: One entry per view and cue.
        images: Number of images audited.
        real: How many of them are real.
        fake: How many of them are fake.
        skipped: Images that are smaller than the crop and have no matched view.
        protocol: Last steps of the matched view.
        seed: Seed of crops, folds and draws.
        confounded: One sentence where sources and labels cannot be told apart; empty otherwise.
    """

    results: tuple[CueResult, ...]
    images: int
    real: int
    fake: int
    skipped: int
    protocol: Protocol
    seed: int
    confounded: str = ""

    @property
    def leaky_cues(self) -> tuple[str, ...]:
        """Cues that still tell the labels apart after the matched protocol, each by its name."""
        return self._cues(LEAKY)

    @property
    def undecided_cues(self) -> tuple[str, ...]:
        """Cues of which the interval does not tell whether they leak after the matched protocol."""
        return self._cues(CANNOT_TELL)

    def _cues(self, wanted: str) -> tuple[str, ...]:
        results = [r for r in self.results if r.view == MATCHED_PROTOCOL and r.verdict == wanted]
        return tuple(r.cue for r in results if r.cue in (*CUES, "container"))

    def result(self, view: str, cue: str) -> CueResult:
        """Look one result up.

        Args:
            view: `RAW_FILES`, `MATCHED_PROTOCOL` or `ORIGINAL_FILES`.
            cue: Name of the cue.

        Returns:
            The result.

        Raises:
            KeyError: There is no such result.
        """
        for one in self.results:
            if (one.view, one.cue) == (view, cue):
                return one
        raise KeyError((view, cue))

    def to_frame(self) -> pd.DataFrame:
        """Lay the results out as a table.

        Returns:
            One row per view and cue: view, cue, kind, auc, low, high, folds, clusters (kind and number), verdict.
        """
        rows = [
            {"view": r.view, "cue": r.cue, "kind": r.kind, "auc": r.auc.value, "low": r.auc.low, "high": r.auc.high,
             "folds": r.folds, "clusters": f"{r.auc.n} ({r.clusters})", "verdict": r.verdict}
            for r in self.results
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, object]:
        """Turn the report into plain values for JSON.

        Returns:
            The attributes, the verdict of each result, `leaky_cues` and `undecided_cues`.
        """
        results = [{**asdict(result), "verdict": result.verdict, "leaky": result.leaky} for result in self.results]
        cues = {"leaky_cues": list(self.leaky_cues), "undecided_cues": list(self.undecided_cues)}
        return {**asdict(self), "results": results, **cues, "leaky_above": LEAKY_ABOVE}


# From files to cues: one row per image, columns "cue_<cue>_<detail>"; text is categorical, numbers are numeric


def file_features(info: ImageInfo, img: Image) -> dict[str, object]:
    """Collect what the trivial cues read of one file.

    Args:
        info: What the file says about itself.
        img: Its pixels, uint8 (3, H, W).

    Returns:
        Features by column name; see the module's table.
    """
    tables = info.quantisation
    red, green, blue = img.numpy().mean(axis=(1, 2)).tolist()
    return {
        "cue_format_name": info.format,
        **_size_features(info.width, info.height),
        "cue_quantisation_tables": "none" if tables is None else str(hash(tables)),
        "cue_quantisation_mean": 0.0 if tables is None else float(np.log(np.mean(tables[0]))),
        "cue_subsampling_name": str(info.subsampling),
        "cue_metadata_blocks": "+".join(info.metadata) or "none",
        "cue_metadata_count": float(len(info.metadata)),
        "cue_bytes_log": float(np.log(info.file_bytes)),
        "cue_bytes_per_pixel_log": float(np.log(info.file_bytes / (info.width * info.height))),
        "cue_colour_red": red,
        "cue_colour_green": green,
        "cue_colour_blue": blue,
    }


def _size_features(width: int, height: int) -> dict[str, object]:
    return {
        "cue_size_exact": f"{width}x{height}",
        "cue_size_log_width": float(np.log(width)),
        "cue_size_log_height": float(np.log(height)),
        "cue_size_square": float(width == height),
        "cue_size_multiple": float(width % 64 == 0 and height % 64 == 0),
    }


def original_features(df: pd.DataFrame, name: str = "manifest") -> pd.DataFrame | None:
    """Collect what a manifest's `orig_*` columns tell of the files that its images were cut from.

    Args:
        df: Manifest; used are orig_format, orig_width, orig_height and orig_quality (a JPEG quality, or empty).
        name: What error messages call it.

    Returns:
        Features by column name, one row per image; None where the manifest lacks a column.

    Raises:
        ManifestError: A cell is no number; the message names manifest, column and image.
    """
    if not {"orig_format", "orig_width", "orig_height", "orig_quality"} <= set(df):
        return None
    sizes = zip(*(whole_numbers(df, column, name) for column in ("orig_width", "orig_height")), strict=True)
    features = pd.DataFrame([_size_features(width, height) for width, height in sizes], index=df.index)
    features.insert(0, "cue_format_name", df["orig_format"])
    quality = numbers(df, "orig_quality", name)
    features["cue_quality_known"] = quality.notna().astype(float)
    features["cue_quality_value"] = quality.fillna(0.0)
    return features


def _read_features(
    df: pd.DataFrame, root: str | Path | None, protocol: Protocol, seed: int, progress: Callable[..., Iterable[str]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read and decode every file once; return features of the raw files, and of the matched without too small ones."""
    lies, matched = [], {}
    for row, path in enumerate(progress(df["path"].tolist())):
        data = read_bytes(resolve(path, root))
        img = decode(data, path)
        lies.append(file_features(probe(data, path), img))
        if min(img.shape[1:]) >= protocol.crop:
            view = matched_bytes(img, protocol, keyed_generator(seed, "audit", path))
            matched[row] = file_features(probe(view, path), decode(view, path))
    return pd.DataFrame(lies), pd.DataFrame.from_dict(matched, orient="index")


# From cues to AUC


def leak_auc(
    features: pd.DataFrame,
    labels: NDArray[np.int64],
    sources: NDArray[np.str_],
    *,
    folds_by: str = "source",
    seed: int = 0,
    n_draws: int = 1000,
) -> tuple[Interval, str, str]:
    """Measure how well features alone tell fake from real.

    Args:
        features: (N, F) text columns are one-hot encoded (values that occur once share one column), number columns
            standardised.
        labels: (N,) 0 real, 1 fake; at least two of each.
        sources: (N,) source of each image.
        folds_by: What cross-validation keeps together: "source" where possible, or "image".
        seed: Seed of folds and bootstrap.
        n_draws: Bootstrap draws.

    Returns:
        AUC with interval, what the folds kept together, what the bootstrap resampled; see the module's conventions.

    Raises:
        ManifestError: A label has fewer than two images, or `folds_by` is neither.
    """
    if np.bincount(labels, minlength=2).min() < 2:
        raise ManifestError("an audit needs at least two real and two fake images")
    if folds_by not in ("source", "image"):
        raise ManifestError(f"folds are made by source or by image, not by {folds_by}")
    folds, kept = _folds(labels, sources, folds_by, seed)
    scores = _out_of_fold_scores(features, labels, folds)
    groups, clusters = _clusters(labels, sources)
    return auc_interval(labels, scores, groups, blocks=folds, n_draws=n_draws, seed=seed), kept, clusters


def _folds(
    labels: NDArray[np.int64], sources: NDArray[np.str_], folds_by: str, seed: int
) -> tuple[NDArray[np.int64], str]:
    """Number the cross-validation folds: by source if every label can be in two or more of them, else by image."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    folds = np.zeros(len(labels), np.int64)
    count = min(_FOLDS, *(len(np.unique(sources[labels == label])) for label in (0, 1)))
    if folds_by == "source" and count >= 2:
        grouped = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        for number, (_, test) in enumerate(grouped.split(labels, labels, sources)):
            folds[test] = number
        if all(len(np.unique(labels[folds == number])) == 2 for number in range(count)):
            return folds, "source"
    single = StratifiedKFold(min(_FOLDS, int(np.bincount(labels).min())), shuffle=True, random_state=seed)
    for number, (_, test) in enumerate(single.split(labels, labels)):
        folds[test] = number
    return folds, "image"


def _clusters(labels: NDArray[np.int64], sources: NDArray[np.str_]) -> tuple[NDArray[np.str_], str]:
    """Name the bootstrap clusters: sources, or single images for a label that has one source only."""
    groups = sources.astype(object)
    alone = [label for label in (0, 1) if len(np.unique(sources[labels == label])) < 2]
    for label in alone:
        groups[labels == label] = [f"image {row}" for row in np.flatnonzero(labels == label)]
    return groups.astype(str), ("source", "mixed", "image")[len(alone)]


def _out_of_fold_scores(
    features: pd.DataFrame, labels: NDArray[np.int64], folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Score each image by a logistic regression that was fitted on the other folds."""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    features = features.loc[:, (features != features.iloc[0]).any()]
    if features.shape[1] == 0:
        return np.zeros(len(labels))  # nothing varies, so nothing can be told
    texts = [column for column in features if not pd.api.types.is_numeric_dtype(features[column])]
    numbers = [column for column in features if column not in texts]
    # Encoding looks at no label, so it may see all images at once; only the regression is fitted fold by fold.
    encode = make_column_transformer((OneHotEncoder(min_frequency=_FREQUENT), texts), (StandardScaler(), numbers))
    encoded = encode.fit_transform(features)
    scores = np.zeros(len(labels))
    for fold in np.unique(folds):
        test = folds == fold
        model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(encoded[~test], labels[~test])
        # Rounded, so that equal features tie exactly whatever the order of the sums inside.
        scores[test] = np.round(model.decision_function(encoded[test]), 9)
    return scores


@dataclass(frozen=True)
class _Settings:
    folds_by: str
    seed: int
    n_draws: int


def _results(
    view: str, features: pd.DataFrame, labels: NDArray[np.int64], sources: NDArray[np.str_], settings: _Settings
) -> list[CueResult]:
    """Measure every cue of one view, alone and joined."""
    columns = {cue: [c for c in map(str, features) if c.startswith(f"{_PREFIX}{cue}_")] for cue in _cue_names(features)}
    columns["container"] = [column for cue in columns if cue not in CONTENT_CUES for column in columns[cue]]
    if any(cue in CONTENT_CUES for cue in columns):
        columns["all"] = list(map(str, features))
    results = []
    for cue, used in columns.items():
        area, kept, clusters = leak_auc(features[used], labels, sources, **asdict(settings))
        kind = "content" if cue in (*CONTENT_CUES, "all") else "container"
        results.append(CueResult(view, cue, kind, area, kept, clusters))
    return results


def _cue_names(features: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(str(column).removeprefix(_PREFIX).split("_")[0] for column in features))


def _png_rule(df: pd.DataFrame, labels: NDArray[np.int64], sources: NDArray[np.str_], settings: _Settings) -> CueResult:
    """Measure the fixed rule "the original was a PNG, so it is fake"; nothing is fitted."""
    groups, clusters = _clusters(labels, sources)
    scores = (df["orig_format"] == "PNG").to_numpy(float)
    area = auc_interval(labels, scores, groups, n_draws=settings.n_draws, seed=settings.seed)
    return CueResult(ORIGINAL_FILES, "is it a PNG", "container", area, "none", clusters)


def audit(
    df: pd.DataFrame,
    root: str | Path | None,
    protocol: Protocol | None = None,
    *,
    folds_by: str = "source",
    seed: int = 0,
    n_draws: int = 1000,
    progress: Callable[..., Iterable[str]] = iter,
    name: str = "manifest",
) -> AuditReport:
    """Audit a data set: the leak AUC of every cue in raw files, after the matched protocol, and in the original files.

    Args:
        df: Manifest with real and fake images.
        root: Folder of its relative paths.
        protocol: Last steps of the matched view; the default protocol when None.
        folds_by: What cross-validation keeps together: "source" where possible, or "image".
        seed: Seed of crops, encoder settings, folds and bootstrap.
        n_draws: Bootstrap draws.
        progress: Wraps the list of paths, such as `tqdm`.
        name: What error messages call the manifest.

    Returns:
        The report. The third view is present only where the manifest has `orig_*` columns.

    Raises:
        ImageError: A file is missing or damaged.
        ManifestError: A label has fewer than two images (in the matched view: of sufficient size), or a cell is no
            number.
    """
    protocol, settings = Protocol() if protocol is None else protocol, _Settings(folds_by, seed, n_draws)
    df = df.sort_values("path").reset_index(drop=True)
    labels, sources = (df["label"] == "fake").to_numpy().astype(np.int64), df["source"].to_numpy(str)
    if np.bincount(labels, minlength=2).min() < 2:
        raise ManifestError("an audit needs at least two real and two fake images")
    originals = original_features(df, name)
    lies, matched = _read_features(df, root, protocol, seed, progress)
    kept = matched.index.to_numpy(np.int64)
    results = _results(RAW_FILES, lies, labels, sources, settings)
    if len(kept) == 0:
        raise ImageError("audit", f"no image is as large as the crop of {protocol.crop} pixels")
    results += _results(MATCHED_PROTOCOL, matched, labels[kept], sources[kept], settings)
    if originals is not None:
        results += _results(ORIGINAL_FILES, originals, labels, sources, settings)
        results.append(_png_rule(df, labels, sources, settings))
    real = int((labels == 0).sum())
    confounded = _confounded(results, labels, sources) if folds_by == "source" else ""
    return AuditReport(tuple(results), len(df), real, len(df) - real, len(df) - len(kept), protocol, seed, confounded)


def _confounded(results: Sequence[CueResult], labels: NDArray[np.int64], sources: NDArray[np.str_]) -> str:
    """Say so where folds could not keep sources together, because a fold would have met one label alone."""
    views = list(dict.fromkeys(result.view for result in results if result.folds == "image"))
    if not views:
        return ""
    real, fake = (len(np.unique(sources[labels == label])) for label in (0, 1))
    return (
        f"folds by source would meet one label alone (sources: {real} real, {fake} fake), so {', '.join(views)} were "
        "folded by image: the audit cannot tell a mark of the label from a mark of a source"
    )
