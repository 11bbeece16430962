"""`natural-traces holdout`: which score ranks a generator and a photo source that training did not see?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from helpers.cli.common import AsJson, Config, Manifest, Root, Settings, Where, print_json, tell


def holdout(
    config: Config = "ntf",
    manifest: Manifest = "benchmark",
    root: Root = None,
    where: Where = None,
    setting: Settings = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs, with seeds from 0.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of checkpoints.")] = Path("runs/holdout"),
    as_json: AsJson = False,
) -> None:
    """Hold out each training generator with each photo source; rank them by every score. Test images are not read."""
    from helpers.data.image_set import ImageSet
    from helpers.data.select import load_rows
    from helpers.detectors.config import changes_from, config_path
    from helpers.detectors.ntf.detector import NaturalTraceConfig
    from helpers.detectors.registry import read_config
    from helpers.selection import holdout as selection

    df, place = load_rows(manifest, root, where)
    images = ImageSet(df[df["split"].isin(("train", "val"))].reset_index(drop=True), place)
    found: list[dict[str, Any]] = []
    for seed in range(seeds):
        chosen = read_config(config_path(config), NaturalTraceConfig, **{**changes_from(setting or []), "seed": seed})
        found += [{"seed": seed, **row} for row in selection.holdout(images, chosen, out, progress=tell)]
    means = selection.means(found)
    if as_json:
        head = {"config": config, "manifest": Path(manifest).name, "where": where or [], "settings": setting or []}
        print_json({**head, "seeds": list(range(seeds)), "means": means, "folds": found}, indent=1)
        return
    typer.echo(f"{'score':<12}{'known sources':>15}{'held-out source':>17}")
    for row in means:
        typer.echo(f"{row['score']:<12}{row['known']:>15.3f}{row['foreign']:>17.3f}")
