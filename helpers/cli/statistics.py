"""`python -m helpers statistics`: all statistics of all embedded pictures, and how stable they are."""

import json
import math
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from helpers.data import catalog
from helpers.data.images import read_image
from helpers.data.manifest import resolve
from helpers.statistics import STATISTICS, scale_distance, spectral_slope, stability_summary, stability_table

SCALES = (1, 2, 4)
WIDTH = 126
LEGEND = """\
slope: exponent of the power spectrum and its interval; gradient, wavelet: tail shape (2 = Gaussian); Benford:
divergence of first digits in millibit; neighbours: their correlation; clustering: correlation of detail sizes;
scales: distance from itself shrunk 4 times; d: shift in units of the spread between photographs."""
SUBJECTS = {"everyday": ("everyday",), "everyday and scientific": ("everyday", "scientific")}


class Pictures(StrEnum):
    """The embedded sets."""

    PHOTOGRAPHS = "photographs"
    TEXTURES = "textures"
    ALL = "all"


def embedded(which: Pictures) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Read the embedded pictures.

    Args:
        which: which sets.

    Returns:
        Their manifests with a column `set`, and name -> image, uint8 (3, H, W).
    """
    sets = [Pictures.PHOTOGRAPHS, Pictures.TEXTURES] if which is Pictures.ALL else [which]
    manifest = pd.concat([catalog.load(name)[0].assign(set=name.value) for name in sets], ignore_index=True)
    return manifest, {
        str(row.name): read_image(resolve(str(row.path), None)) for row in manifest.itertuples(index=False)
    }


def measure_all(manifest: pd.DataFrame, images: Mapping[str, Tensor]) -> dict[str, pd.DataFrame]:
    """Measure the pictures and sum up the colour photographs.

    Args:
        manifest: rows with name, source, set and scene.
        images: name -> image.

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
        chosen = manifest.loc[(manifest["set"] == Pictures.PHOTOGRAPHS) & manifest["scene"].isin(scenes), "name"]
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


def _pictures_table(pictures: pd.DataFrame) -> Table:
    """Lay out one row per picture."""
    headings = ("gradient", "wavelet", "Benford", "neighbours", "clustering", "scales")
    shown = Table("picture", "scene", "slope", *headings, title="Embedded pictures at native size")
    for column in shown.columns:
        column.no_wrap = True
    for name, row in pictures.iterrows():
        slope = f"{row['slope']:.2f} [{row['slope_low']:.2f}, {row['slope_high']:.2f}]"
        others = [f"{row[key]:.3f}" for key in [*list(STATISTICS)[1:], "scale_distance"]]
        shown.add_row(str(name), str(row["scene"]), slope, *others)
    return shown


def _summary_table(title: str, summary: pd.DataFrame) -> Table:
    """Lay out one row per statistic, with intervals."""
    headings = ("median", "scale_shift", "edge_effect")
    count = int(summary["sources"].max())
    shown = Table(
        "statistic",
        "median",
        "spread",
        f"shrunk {SCALES[-1]} times (d)",
        "against scrambled phases (d)",
        title=f"Photographs, {title}: {count} sources, 95 % intervals over sources",
    )
    for key, row in summary.iterrows():
        cells = [f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]" for name in headings]
        shown.add_row(STATISTICS[str(key)].title, cells[0], f"{row['spread']:.2f}", *cells[1:])
    return shown


def statistics(
    pictures: Annotated[Pictures, typer.Option(help="Which embedded pictures.")] = Pictures.ALL,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Print the natural-image statistics of the embedded pictures, and how stable they are."""
    result = measure_all(*embedded(pictures))
    if as_json:
        typer.echo(json.dumps({name: as_records(frame) for name, frame in result.items()}, indent=1))
        return
    console = Console(width=max(WIDTH, Console().width))
    console.print(_pictures_table(result["pictures"]))
    for title in SUBJECTS:
        if title in result:
            console.print(_summary_table(title, result[title]))
    console.print(LEGEND)


def bench(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a line.")] = False,
) -> None:
    """Time the statistics of all embedded pictures: reading, three scales, scrambled copies, intervals."""
    begin = time.perf_counter()
    manifest, images = embedded(Pictures.ALL)
    read = time.perf_counter()
    measure_all(manifest, images)
    end = time.perf_counter()
    result = {
        "pictures": len(images),
        "megapixels": round(sum(img[0].numel() for img in images.values()) / 1e6, 2),
        "threads": torch.get_num_threads(),
        "seconds_reading": round(read - begin, 2),
        "seconds_measuring": round(end - read, 2),
        "seconds": round(end - begin, 2),
    }
    if as_json:
        typer.echo(json.dumps(result))
        return
    typer.echo(
        f"{result['pictures']} pictures, {result['megapixels']} megapixels, {result['threads']} threads: "
        f"{result['seconds']} s ({result['seconds_reading']} s reading, {result['seconds_measuring']} s measuring)"
    )
