"""`python -m helpers holdout`: which score ranks a generator and a photo source that training did not see?"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from helpers.data.image_set import ImageSet
from helpers.data.select import load_rows
from helpers.detectors.config import changes_from, config_path, read_config
from helpers.selection.holdout import holdout as run_holdout
from helpers.selection.holdout import means


def holdout(
    config: Annotated[str, typer.Argument(help="Name of a configuration in data/configs, or a TOML file.")] = "ntf",
    manifest: Annotated[str, typer.Option(help="Manifest file, or a name in the catalog.")] = "benchmark",
    root: Annotated[Path | None, typer.Option(help="Folder of the manifest's relative paths.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Keep rows with column=value[,value] or !=.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="entry=value: replace one of the configuration.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs, with seeds from 0.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of checkpoints.")] = Path("runs/holdout"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Hold out each training generator with each photo source; rank them by every score. Test images are not read."""
    df, place = load_rows(manifest, root, where)
    images = ImageSet(df[df["split"].isin(("train", "val"))].reset_index(drop=True), place)
    found: list[dict[str, Any]] = []
    for seed in range(seeds):
        chosen = read_config(config_path(config), **{**changes_from(setting or []), "seed": seed})
        rows = run_holdout(images, chosen, out, progress=lambda text: typer.echo(text, err=True))
        found += [{"seed": seed, **row} for row in rows]
    if as_json:
        head = {"config": config, "manifest": Path(manifest).name, "where": where or [], "settings": setting or []}
        typer.echo(json.dumps({**head, "seeds": list(range(seeds)), "means": means(found), "folds": found}, indent=1))
        return
    typer.echo(f"{'score':<12}{'known sources':>15}{'held-out source':>17}")
    for row in means(found):
        typer.echo(f"{row['score']:<12}{row['known']:>15.3f}{row['foreign']:>17.3f}")
