"""`natural-traces ablate`: an ablation study on a benchmark, one change at a time."""

import time
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
    WhenRefused,
    Where,
    kept_on_interrupt,
    only_run,
    print_json,
    readable_rows,
    tell,
    tell_refused,
)


def ablate(
    config: Config = "ntf",
    manifest: Manifest = "benchmark",
    root: Root = None,
    where: Where = None,
    train_where: Annotated[list[str] | None, typer.Option(help="As --where, for training rows alone.")] = None,
    variant: Annotated[list[str] | None, typer.Option(help="Only these; all when left out.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs, with seeds from 0.")] = 3,
    out: Annotated[Path, typer.Option(help="Folder of checkpoints.")] = Path("runs/ablation"),
    device: Device = "auto",
    on_error: WhenRefused = OnError.STOP,
    as_json: AsJson = False,
) -> None:
    """Train each variant on the train split, fix thresholds on val, report on test, with paired differences."""
    from helpers.api import find_device
    from helpers.data.image_set import ImageSet
    from helpers.data.select import load_rows, select
    from helpers.detectors.config import DetectorError, config_path
    from helpers.detectors.ntf.detector import NaturalTraceConfig
    from helpers.detectors.registry import read_config
    from helpers.selection.ablation import VARIANTS
    from helpers.selection.ablation import ablate as run_ablation

    if unknown := sorted(set(variant or ()) - set(VARIANTS)):
        raise typer.BadParameter(f"no such variant: {', '.join(unknown)} (known: {', '.join(VARIANTS)})")
    chosen = read_config(config_path(config), NaturalTraceConfig).trained_on(find_device(device))
    if not chosen.pool:
        raise DetectorError(f"{config}: an ablation needs a pool of described crops")
    df, place = load_rows(manifest, root, where)
    df, refused = readable_rows(df, place, on_error)
    train_df = select(df, train_where or [])
    rows = {"train": train_df, "val": df, "test": df}
    sets = {name: ImageSet(table[table["split"] == name].reset_index(drop=True), place) for name, table in rows.items()}
    variants = {name: VARIANTS[name] for name in variant} if variant else VARIANTS
    begin = time.perf_counter()
    with only_run(out), kept_on_interrupt(f"{out} keeps finished runs; the same command goes on from there"):
        entries = run_ablation(
            sets["train"],
            sets["val"],
            sets["test"],
            chosen,
            range(seeds),
            out,
            variants=variants,
            progress=lambda text: tell(f"{time.perf_counter() - begin:5.0f} s  {text}"),
        )
    if as_json:
        head = {"config": config, "manifest": Path(manifest).name, "where": where or [], "seeds": list(range(seeds))}
        left_out = [one.to_dict() for one in refused]
        print_json({**head, "train_where": train_where or [], "variants": entries, "refused": left_out}, indent=1)
        tell_refused(refused)
        return
    for name, entry in entries.items():
        for mean in entry["values"]:
            ap = mean["metrics"]["ap"]
            line = f"mAP {ap['value']:.3f} [{ap['low']:.3f}, {ap['high']:.3f}]"
            typer.echo(f"{name:<55}{mean['tier']:<15}{mean['over']:<8}{line}")
    tell_refused(refused)
