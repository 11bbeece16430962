"""What lessons 03, 04 and 06 read from the records of the default detector, which starts from features of real images.

Hold-out numbers come from `python -m helpers holdout ntf_pretrained`: whole families of generators and whole photo
sources are left out of training in four folds, and no test image is read. Test numbers compare the detector with its
control: the same network, images and steps, trained by cross-entropy.
"""

from collections.abc import Mapping

import pandas as pd

from helpers.course.reproduce import recorded

__all__ = ["diversity_table", "holdout_table", "unseen_mean"]


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
        kept = unseen_mean(name, "unseen-source", "accuracy_real")["value"]
        recognised = unseen_mean(name, "unseen-source", "accuracy_fake")["value"]
        rows[title] = {
            "mean AUC": f"{unseen_mean(name, 'unseen-source')['value']:.2f}",
            "photos called fake": f"{1 - kept:.2f}",
            "fakes called fake": f"{recognised:.2f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("detector")


def unseen_mean(name: str, tier: str, metric: str = "auc") -> Mapping[str, float]:
    """Read a record's mean over generators that training did not see.

    Args:
        name: Of the record.
        tier: Kind of photographs.
        metric: Such as "auc".

    Returns:
        Value, low and high.
    """
    means = (mean for mean in recorded(name)["means"] if (mean["tier"], mean["over"]) == (tier, "unseen"))
    value: Mapping[str, float] = next(means)["metrics"][metric]
    return value
