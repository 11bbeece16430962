"""`natural-traces train`: from a configuration and a manifest to a detector on disk."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from helpers.cli.common import (
    AsJson,
    Config,
    Device,
    Manifest,
    OnError,
    Root,
    Seed,
    Settings,
    WhenRefused,
    Where,
    kept_checkpoint,
    kept_on_interrupt,
    only_run,
    print_json,
    readable_rows,
    tell_refused,
)


def train(
    config: Config,
    out: Annotated[Path, typer.Option(help="Folder for the detector, its checkpoints and logs.")],
    manifest: Manifest = "benchmark",
    root: Root = None,
    where: Where = None,
    seed: Seed = 0,
    setting: Settings = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes on each machine, each on its own device.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; start the command by torchrun on each.")] = 1,
    on_error: WhenRefused = OnError.STOP,
    as_json: AsJson = False,
) -> None:
    """Train a detector on the train split; threshold and calibration come from the val split.

    On several machines: torchrun --nnodes M --nproc-per-node N -m helpers train ...
    """
    from helpers.api import find_device
    from helpers.data.image_set import ImageSet
    from helpers.data.select import check_sizes, load_rows
    from helpers.detectors.config import SMALLEST, changes_from, config_path
    from helpers.detectors.registry import make_detector, read_config
    from helpers.training.processes import is_first, spread

    devices, nodes = spread(devices, nodes, "train")
    spreading = {name: count for name, count in (("devices", devices), ("nodes", nodes)) if count > 1}
    changes = {"seed": seed, **spreading, **changes_from(setting or [])}  # not all kinds can be spread
    chosen = read_config(config_path(config), **changes).trained_on(find_device(device))
    df, place = load_rows(manifest, root, where)
    df = df[df["split"].isin(("train", "val"))].reset_index(drop=True)
    check_sizes(df[df["split"] == "train"], chosen.training_side)
    check_sizes(df[df["split"] == "val"], SMALLEST)
    detector = make_detector(chosen)
    df, refused = readable_rows(df, place, on_error)
    train_set, val_set = (ImageSet(df[df["split"] == name].reset_index(drop=True), place) for name in ("train", "val"))
    begin = time.perf_counter()
    with only_run(out) if is_first() else nullcontext(), kept_on_interrupt(kept_checkpoint(out)):
        detector.fit(train_set, val_set, out)
        if not is_first():
            return
        seconds = time.perf_counter() - begin
        notes = {"manifest": Path(manifest).name, "where": where or [], "seconds": round(seconds, 1)}
        detector.save(out, notes)
    if as_json:
        head = {"detector": detector.name, "seed": chosen.seed, **notes, **detector.history}
        print_json({**head, "refused": [one.to_dict() for one in refused]}, indent=None)
    else:
        typer.echo(f"{detector.name}: {seconds:.0f} s, AUC on val {detector.history['validation_auc']:.3f}, {out}")
    tell_refused(refused)
