"""`natural-traces holdout`: which score ranks a generator and a photo source that training did not see?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.cli.common import (
    AsJson,
    Config,
    Device,
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

if TYPE_CHECKING:
    from helpers.data.image_set import ImageSet


def holdout(
    config: Config = "ntf",
    manifest: Manifest = "benchmark",
    root: Root = None,
    where: Where = None,
    setting: Settings = None,
    learn: Annotated[
        list[str] | None,
        typer.Option(help="Learn from rows with column=value alone; what is held out stays the same. May be repeated."),
    ] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(help="plain or drawn: judge pictures as they are, or after a drawn history; both by default."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs, with seeds from 0.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of checkpoints.")] = Path("runs/holdout"),
    device: Device = "auto",
    scores: Annotated[Path | None, typer.Option(help="Also write the held-out scores to this CSV file.")] = None,
    on_error: WhenRefused = OnError.STOP,
    as_json: AsJson = False,
) -> None:
    """Hold out generators and photo sources that training then does not see; rank every score. No test image is read.

    A detector on counted statistics leaves out each generator with each source; one on features of real images leaves
    out whole families and sources, in four folds of the train split.
    """
    from helpers.api import find_device
    from helpers.data.image_set import ImageSet
    from helpers.data.select import load_rows
    from helpers.detectors.config import DetectorError, changes_from, config_path
    from helpers.detectors.ntf.detector import NaturalTraceConfig
    from helpers.detectors.ntf.pretrained import PretrainedConfig
    from helpers.detectors.registry import read_config
    from helpers.selection import holdout as selection

    device = find_device(device)
    df, place = load_rows(manifest, root, where)
    df, refused = readable_rows(df[df["split"].isin(("train", "val"))].reset_index(drop=True), place, on_error)
    if isinstance(read_config(config_path(config)), PretrainedConfig):
        images = ImageSet(df[df["split"] == "train"].reset_index(drop=True), place)
        with only_run(out), kept_on_interrupt(kept_checkpoint(out)):
            _grouped(images, config, setting or [], learn or [], history or [], seeds, device, out, scores, as_json)
        return
    if learn:
        raise DetectorError("--learn is for detectors on features of real images")
    images = ImageSet(df, place)
    changes = changes_from(setting or [])
    configs = [
        read_config(config_path(config), **{**changes, "seed": seed}).trained_on(device) for seed in range(seeds)
    ]
    folds: list[dict[str, Any]] = []
    with only_run(out), kept_on_interrupt(kept_checkpoint(out)):
        for seed, chosen in enumerate(configs):
            rows = (
                selection.holdout(images, chosen, out, progress=tell)
                if isinstance(chosen, NaturalTraceConfig)
                else selection.holdout_whole(images, chosen, out, device=device, progress=tell)
            )
            folds += [{"seed": seed, **row} for row in rows]
    means = selection.means(folds)
    if as_json:
        head = {"config": config, "manifest": Path(manifest).name, "where": where or [], "settings": setting or []}
        left_out = {"refused": [one.to_dict() for one in refused]}
        print_json({**head, "seeds": list(range(seeds)), "means": means, "folds": folds, **left_out}, indent=1)
        tell_refused(refused)
        return
    typer.echo(f"{'score':<12}{'known sources':>15}{'held-out source':>17}")
    for row in means:
        typer.echo(f"{row['score']:<12}{row['known']:>15.3f}{row['foreign']:>17.3f}")
    tell_refused(refused)


def _grouped(
    images: "ImageSet",
    name: str,
    setting: list[str],
    learn: list[str],
    history: list[str],
    seeds: int,
    device: str,
    out: Path,
    scores: Path | None,
    as_json: bool,
) -> None:
    """Hold out families and sources in four folds, for each seed."""
    import numpy as np
    import pandas as pd

    from helpers.data.select import select
    from helpers.detectors.config import DetectorError, changes_from, config_path
    from helpers.detectors.ntf.pretrained import PretrainedConfig, training_pool
    from helpers.detectors.registry import read_config
    from helpers.selection.grouped import HISTORIES, grouped_holdout, summary

    histories = history or list(HISTORIES)
    if unknown := set(histories) - set(HISTORIES):
        raise DetectorError(f"{sorted(unknown)[0]}: no such history (known: {', '.join(HISTORIES)})")
    learnt = np.zeros(len(images), bool)
    learnt[select(images.manifest.assign(number=range(len(images))), learn)["number"]] = True
    tables = []
    for seed in range(seeds):
        config = read_config(config_path(name), PretrainedConfig, **{**changes_from(setting), "seed": seed})
        config = config.trained_on(device)
        pool = training_pool(images, config, progress=lambda done, of: tell(f"{done} of {of} crops"))
        tables.append(
            grouped_holdout(
                images, pool, config, out, learnt=learnt, histories=histories, device=device, progress=tell
            ).assign(seed=seed)
        )
    table = pd.concat(tables, ignore_index=True)
    if scores is not None:
        table.to_csv(scores, index=False, float_format="%.5g", lineterminator="\n")
    tables_by_history = {history: summary(table, history) for history in histories}
    if as_json:
        print_json(
            {
                "config": name,
                "settings": setting,
                "learn": learn,
                "seeds": seeds,
                "images": len(images),
                **tables_by_history,
            },
            indent=1,
        )
        return
    typer.echo(f"{'score':<12}{'mean fold':>12}{'worst fold':>12}{'generators':>12}")
    for row in tables_by_history[histories[0]]:
        typer.echo(f"{row['score']:<12}{row['mean']:>12.3f}{row['worst']:>12.3f}{row['generators']:>12.3f}")
