"""What lessons 03, 04 and 06 read from the records of the default detector, which starts from features of real images.

Hold-out numbers come from `python -m helpers holdout ntf_pretrained`: whole families of generators and whole photo
sources are left out of training in four folds, and no test image is read. Test numbers compare the detector with its
control: the same network, images and steps, trained by cross-entropy.
"""

from collections.abc import Mapping

import pandas as pd

from helpers.course.reproduce import recorded

__all__ = ["TRACKS", "control_table", "diversity_table", "holdout_table"]

TRACKS: Mapping[str, tuple[str, str]] = {
    "seven generators, known photo sources": ("main", "seen-source"),
    "seven generators, new photo sources": ("main", "unseen-source"),
    "thirteen generators, new photo sources": ("wide", "unseen-source"),
}
"""What a row is called -> track of the benchmark, and which of its photographs."""


def holdout_table(rows: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """Set variants of the detector beside each other by what was held out.

    Args:
        rows: What a row is called -> name of a record, and of a score in it.

    Returns:
        For each row the AUC in the mean and in the worst fold, and its mean over held-out generators.
    """
    columns = {"mean": "mean fold", "worst": "worst fold", "generators": "mean over generators"}
    table = {}
    for title, (name, score) in rows.items():
        values = next(row for row in recorded(name)["plain"] if row["score"] == score)
        table[title] = {column: values[key] for key, column in columns.items()}
    return pd.DataFrame.from_dict(table, orient="index").round(3).rename_axis("AUC, held out")


def control_table() -> pd.DataFrame:
    """Set the default detector beside its control on unseen generators, three seeds each.

    Returns:
        For each track and kind of photographs the mean AUC of both, and their paired difference with its interval.
    """
    rows = {}
    for title, (track, tier) in TRACKS.items():
        ours, control, difference = (
            _mean(f"pretrained_{track}{ending}", tier) for ending in ("", "_control", "_difference")
        )
        rows[title] = {
            "natural traces": f"{ours['value']:.3f}",
            "cross-entropy": f"{control['value']:.3f}",
            "difference": f"{difference['value']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("mean AUC")


def diversity_table() -> pd.DataFrame:
    """Set detectors that saw little beside those that saw much: seven unseen generators, new photo sources.

    Returns:
        For each detector its mean AUC, and at its stored threshold the shares of photographs and of fakes called fake.
    """
    detectors = {
        "natural traces, 2 generators, 3 photo sources": "wild_ntf",
        "cross-entropy, 2 generators, 3 photo sources": "wild_cross_entropy",
        "cross-entropy, 19 generators, 20 photo sources": "pretrained_main_control",
        "natural traces, 19 generators, 20 photo sources": "pretrained_main",
    }
    rows = {}
    for title, name in detectors.items():
        kept = _mean(name, "unseen-source", "accuracy_real")["value"]
        recognised = _mean(name, "unseen-source", "accuracy_fake")["value"]
        rows[title] = {
            "mean AUC": f"{_mean(name, 'unseen-source')['value']:.2f}",
            "photos called fake": f"{1 - kept:.2f}",
            "fakes called fake": f"{recognised:.2f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("detector")


def _mean(name: str, tier: str, metric: str = "auc") -> Mapping[str, float]:
    means = (mean for mean in recorded(name)["means"] if (mean["tier"], mean["over"]) == (tier, "unseen"))
    value: Mapping[str, float] = next(means)["metrics"][metric]
    return value
