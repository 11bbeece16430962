"""`natural-traces holdout`: which score ranks a generator and a photo source that training did not see?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from helpers.cli.common import (
    AsJson,
    Config,
    Manifest,
    OnError,
    Root,
    Settings,
    WhenRefused,
    Where,
    kept_checkpoint,
    kept_on_interrupt,
    only_run,
    print_json,
    readable_rows,
    tell,
    tell_refused,
)


def holdout(
    config: Config = "ntf",
    manifest: Manifest = "benchmark",
    root: Root = None,
    where: Where = None,
    setting: Settings = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs, with seeds from 0.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of checkpoints.")] = Path("runs/holdout"),
    on_error: WhenRefused = OnError.STOP,
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
    df, refused = readable_rows(df[df["split"].isin(("train", "val"))].reset_index(drop=True), place, on_error)
    images = ImageSet(df, place)
    changes = changes_from(setting or [])
    configs = [read_config(config_path(config), **{**changes, "seed": seed}) for seed in range(seeds)]
    found: list[dict[str, Any]] = []
    with only_run(out), kept_on_interrupt(kept_checkpoint(out)):
        for seed, chosen in enumerate(configs):
            rows = (
                selection.holdout(images, chosen, out, progress=tell)
                if isinstance(chosen, NaturalTraceConfig)
                else selection.holdout_whole(images, chosen, out, progress=tell)
            )
            found += [{"seed": seed, **row} for row in rows]
    means = selection.means(found)
    if as_json:
        head = {"config": config, "manifest": Path(manifest).name, "where": where or [], "settings": setting or []}
        left_out = {"refused": [one.to_dict() for one in refused]}
        print_json({**head, "seeds": list(range(seeds)), "means": means, "folds": found, **left_out}, indent=1)
        tell_refused(refused)
        return
    typer.echo(f"{'score':<12}{'known sources':>15}{'held-out source':>17}")
    for row in means:
        typer.echo(f"{row['score']:<12}{row['known']:>15.3f}{row['foreign']:>17.3f}")
    tell_refused(refused)
