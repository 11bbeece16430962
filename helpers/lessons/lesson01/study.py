"""The statistics of all embedded pictures, and how stable they are: what lesson 01 quotes."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from helpers.data import catalog
from helpers.data.images import read_image
from helpers.data.manifest import resolve
from helpers.statistics import STATISTICS, scale_distance, spectral_slope, stability_summary, stability_table

__all__ = ["SCALES", "SETS", "SUBJECTS", "as_records", "embedded", "measure_all", "measure_speed"]

SCALES = (1, 2, 4)
SETS = ("photographs", "textures")
"""The embedded sets."""
SUBJECTS = {"everyday": ("everyday",), "everyday and scientific": ("everyday", "scientific")}
"""Title of a summary -> scenes of the photographs in it."""


def embedded(sets: Sequence[str] = SETS) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Read the embedded pictures.

    Args:
        sets: Some of `SETS`.

    Returns:
        Their manifests with a column `set`, and name -> image, uint8 (3, H, W).
    """
    manifest = pd.concat([catalog.load(name)[0].assign(set=name) for name in sets], ignore_index=True)
    return manifest, {
        str(row.name): read_image(resolve(str(row.path), None)) for row in manifest.itertuples(index=False)
    }


def measure_all(manifest: pd.DataFrame, images: Mapping[str, Tensor]) -> dict[str, pd.DataFrame]:
    """Measure the pictures and sum up the colour photographs.

    Args:
        manifest: Rows with name, source, set and scene.
        images: Name -> image.

    Returns:
        `pictures` (one row per picture, with the interval of its slope), `table` (see `stability_table`) and one
        summary per entry of `SUBJECTS` for which there are photographs.
    """
    torch.set_num_threads(1)  # the planes are small: a second thread costs more in waiting than it saves
    table = stability_table(images, SCALES, dict(zip(manifest["name"], manifest["source"], strict=True)))
    values = table[table["scale"] == 1].pivot_table(index="photograph", columns="statistic", values="value")
    fits = pd.DataFrame([_extras(name, img) for name, img in images.items()]).set_index("name")
    pictures = manifest.set_index("name")[["set", "scene", "width", "height"]].join([fits, values[list(STATISTICS)]])
    result = {"pictures": pictures, "table": table}
    for title, scenes in SUBJECTS.items():
        chosen = manifest.loc[(manifest["set"] == "photographs") & manifest["scene"].isin(scenes), "name"]
        if len(chosen):
            result[title] = stability_summary(table[table["photograph"].isin(chosen)]).set_index("statistic")
    return result


def _extras(name: str, img: Tensor) -> dict[str, str | float]:
    """What one picture needs beyond the stability table: the interval of its slope, its distance across scales."""
    fitted = spectral_slope(img)
    return {
        "name": name,
        "slope_low": fitted.low,
        "slope_high": fitted.high,
        "slope_r2": fitted.r2,
        "scale_distance": scale_distance(img, SCALES[-1]),
    }


def as_records(df: pd.DataFrame) -> list[dict[str, Any]]:
    """Turn a table into records for JSON; what is not a number becomes null."""
    records = df.reset_index(names=df.index.name) if df.index.name else df
    return [
        {str(key): None if isinstance(value, float) and math.isnan(value) else value for key, value in record.items()}
        for record in records.to_dict("records")
    ]


def measure_speed() -> dict[str, Any]:
    """Time reading and measuring all embedded pictures: counts, and seconds by the wall's clock."""
    begin = time.perf_counter()
    manifest, images = embedded()
    read = time.perf_counter()
    measure_all(manifest, images)
    end = time.perf_counter()
    return {
        "pictures": len(images),
        "megapixels": round(sum(img[0].numel() for img in images.values()) / 1e6, 2),
        "threads": torch.get_num_threads(),
        "seconds_reading": round(read - begin, 2),
        "seconds_measuring": round(end - read, 2),
        "seconds": round(end - begin, 2),
    }
