"""`natural-traces traces`: lesson 03's ablation study of stage 1 on the zoo."""

from typing import Annotated

import typer

from helpers.cli.common import AsJson, interval, print_json, print_rows, tell


def traces(
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs.")] = 5,
    variant: Annotated[list[str] | None, typer.Option(help="Only these, besides the first; all when left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Leave out one part of stage 1 at a time, and rank photographs and fakes by the natural traces that are left."""
    from helpers.lessons.lesson03.study import VARIANTS, study

    first, *others = VARIANTS
    unknown = set(variant or ()) - set(VARIANTS)
    if unknown:
        raise typer.BadParameter(f"no such variant: {', '.join(sorted(unknown))}")
    chosen = {name: VARIANTS[name] for name in (first, *others) if not variant or name == first or name in variant}
    result = study(range(seeds), variants=chosen, progress=tell)
    if as_json:
        print_json(result, indent=1)
        return
    generators = list(result["variants"][0]["generators"])
    rows = []
    for row in result["variants"]:
        alarms = [row[name]["photographs"] for name in ("spread", "rank")]
        means = [f"{sum(values) / len(values):.2f}" for values in alarms]
        areas = [f"{part['value']:.2f}" for part in row["generators"].values()]
        rows.append((row["name"], interval(row["mean"]), interval(row["difference"]), *means, *areas))
    print_rows(("variant", "mean AUC", "full minus this", "spread", "rank", *generators), rows, width=200)
