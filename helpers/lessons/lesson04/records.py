"""What lesson 04 reads from the recorded experiments: prices on the zoo, and what each part is worth on real images."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pandas as pd

from helpers.course.reproduce import recorded
from helpers.lessons.pretrained import unseen_mean

__all__ = ["TIERS", "control_table", "interval_text", "part_table", "price_table", "wild_table", "zoo_ways"]

TIERS: Mapping[str, str] = MappingProxyType(
    {"seen-source": "known photo sources", "unseen-source": "new photo sources"}
)
"""Tier of the benchmark's test photographs -> what the lesson calls it."""
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "soft instead of uniform targets": "targets: uniform",
        "soft instead of hard targets": "targets: hard",
        "contrast and repulsion": "without contrast and repulsion",
        "stage 1": "without stage 1",
    }
)
"""What the full method has -> the variant of `wild_ablation` that lacks it."""
TRACKS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "seven generators, known photo sources": ("main", "seen-source"),
        "seven generators, new photo sources": ("main", "unseen-source"),
        "thirteen generators, new photo sources": ("wide", "unseen-source"),
    }
)
"""What a row is called -> track of the benchmark, and which of its photographs."""
DATA = "another training generator"
"""Name of the row that compares training data instead of parts of the method."""


def interval_text(measured: Mapping[str, float], *, signed: bool = False) -> str:
    """Write a value with its interval, a difference with its sign.

    >>> interval_text({"value": 0.0081, "low": 0.001, "high": 0.015}, signed=True)
    '+0.008 [+0.001, +0.015]'
    """
    sign = "+" if signed else ""
    value, low, high = (f"{measured[name]:{sign}.3f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def zoo_ways() -> list[dict[str, Any]]:
    """List the eight ways of training on the zoo, each with the score that it is judged by."""
    ways: list[dict[str, Any]] = recorded("transfer_zoo")["arms"]
    return [way for way in ways if way["score"] == ("head" if way["targets"] == "none" else "both")]


def price_table() -> pd.DataFrame:
    """Set natural traces beside cross-entropy on the zoo, once with as many steps in all, once with as many labels."""
    short, long = recorded("transfer_zoo"), recorded("generalization_zoo")
    ways = {(way["targets"], way["stage1"]): way["unseen"] for way in zoo_ways()}
    full, plain = ways["soft", True], ways["none", False]

    def later(name: str) -> Mapping[str, float]:
        means: list[dict[str, Any]] = long["detectors"][name]["means"]
        return next(mean["metrics"]["ap"] for mean in means if mean["over"] == "unseen")

    few = int(short["mapping_steps"]), int(short["steps"])
    many = int(long["mapping_steps"]), int(long["steps"])
    rows = [
        ("natural traces", *few, full),
        ("cross-entropy", 0, sum(few), plain),
        ("natural traces", *many, later("ntf")),
        ("cross-entropy", 0, many[1], later("cross_entropy")),
    ]
    columns = ["trained by", "steps without labels", "steps with labels", "mAP, unseen generators"]
    return pd.DataFrame([(*row[:-1], interval_text(row[-1])) for row in rows], columns=columns)


def wild_table() -> pd.DataFrame:
    """Lay out mAP on real generators that training did not see: two detectors, and paired differences."""
    files = {
        "natural traces": "wild_ntf",
        "cross-entropy": "wild_cross_entropy",
        "natural traces minus cross-entropy": "wild_difference",
        "natural traces minus three networks by cross-entropy": "wild_difference_ensemble",
    }
    rows = {}
    for title, name in files.items():
        means = [mean for mean in recorded(name)["means"] if mean["over"] == "unseen"]
        signed = "minus" in title
        rows[title] = {TIERS[mean["tier"]]: interval_text(mean["metrics"]["ap"], signed=signed) for mean in means}
    return pd.DataFrame.from_dict(rows, orient="index")


def control_table() -> pd.DataFrame:
    """Set the default detector beside its control on unseen generators, three seeds each.

    Returns:
        For each track and kind of photographs the mean AUC of both, and their paired difference with its interval.
    """
    rows = {}
    for title, (track, tier) in TRACKS.items():
        ours, control, difference = (
            unseen_mean(f"pretrained_{track}{ending}", tier) for ending in ("", "_control", "_difference")
        )
        rows[title] = {
            "natural traces": f"{ours['value']:.3f}",
            "cross-entropy": f"{control['value']:.3f}",
            "difference": interval_text(difference, signed=True),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("mean AUC")


def part_table() -> pd.DataFrame:
    """List what each part of the method is worth on real generators, and beside it what the training data is worth.

    Returns:
        One row per part and tier: `part`, `photographs`, and `value`, `low`, `high` of the difference in mAP. A part's
        interval is that of the paired difference; that of the data runs over the three seeds.
    """
    variants = recorded("wild_ablation")["variants"]
    rows = [
        {"part": part, "photographs": TIERS[mean["tier"]], **_ends(mean["metrics"]["ap"])}
        for part, variant in PARTS.items()
        for mean in variants[variant]["first_minus_this"]
    ]
    one, other = (recorded(f"wild_only_{name}")["variants"]["ntf"] for name in ("stable-diffusion-1", "stylegan2"))
    for left, right in zip(one["values"], other["values"], strict=True):
        runs = pd.Series(left["per_run"]["ap"]) - pd.Series(right["per_run"]["ap"])
        ends = {"value": runs.mean(), "low": runs.min(), "high": runs.max()}
        rows.append({"part": DATA, "photographs": TIERS[left["tier"]], **ends})
    return pd.DataFrame(rows)


def _ends(measured: Mapping[str, float]) -> dict[str, float]:
    return {name: measured[name] for name in ("value", "low", "high")}
