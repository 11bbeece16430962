"""`natural-traces statistics`: all statistics of all embedded pictures, and how stable they are."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.cli.common import AsJson, print_json, print_rows

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 126
LEGEND = """\
slope: exponent of the power spectrum and its interval; gradient, wavelet: tail shape (2 = Gaussian); Benford:
divergence of first digits in millibit; neighbours: their correlation; clustering: correlation of detail sizes;
scales: distance from itself shrunk 4 times; d: shift in units of the spread between photographs."""


class Pictures(StrEnum):
    """The embedded sets."""

    PHOTOGRAPHS = "photographs"
    TEXTURES = "textures"
    ALL = "all"


def statistics(
    pictures: Annotated[Pictures, typer.Option(help="Which embedded pictures.")] = Pictures.ALL,
    as_json: AsJson = False,
) -> None:
    """Print the natural-image statistics of the embedded pictures, and how stable they are."""
    from helpers.lessons.lesson01 import study

    sets = study.SETS if pictures is Pictures.ALL else (pictures.value,)
    result = study.measure_all(*study.embedded(sets))
    if as_json:
        print_json({name: study.as_records(frame) for name, frame in result.items()}, indent=1)
        return
    _print_pictures(result["pictures"])
    for title in study.SUBJECTS:
        if title in result:
            _print_summary(title, result[title])
    typer.echo(LEGEND)


def _print_pictures(pictures: "pd.DataFrame") -> None:
    """Print one row per picture."""
    from helpers.statistics import STATISTICS

    headings = ("gradient", "wavelet", "Benford", "neighbours", "clustering", "scales")
    rows = []
    for name, row in pictures.iterrows():
        slope = f"{row['slope']:.2f} [{row['slope_low']:.2f}, {row['slope_high']:.2f}]"
        others = [f"{row[key]:.3f}" for key in [*list(STATISTICS)[1:], "scale_distance"]]
        rows.append([str(name), str(row["scene"]), slope, *others])
    print_rows(("picture", "scene", "slope", *headings), rows, title="Embedded pictures at native size", width=WIDTH)


def _print_summary(title: str, summary: "pd.DataFrame") -> None:
    """Print one row per statistic, with intervals."""
    from helpers.lessons.lesson01.study import SCALES
    from helpers.statistics import STATISTICS

    rows = []
    for key, row in summary.iterrows():
        cells = [
            f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"
            for name in ("median", "scale_shift", "edge_effect")
        ]
        rows.append([STATISTICS[str(key)].title, cells[0], f"{row['spread']:.2f}", *cells[1:]])
    heads = ("statistic", "median", "spread", f"shrunk {SCALES[-1]} times (d)", "against scrambled phases (d)")
    count = int(summary["sources"].max())
    print_rows(heads, rows, title=f"Photographs, {title}: {count} sources, 95 % intervals over sources", width=WIDTH)
