"""`natural-traces bench`: how fast are parts of the course on this machine?"""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.cli.common import AsJson, group, print_json, print_rows

if TYPE_CHECKING:
    from helpers.detectors.speed import Row

app = group("Time parts of the course on this machine.")

SHIPPED = "ntf"


@app.command()
def detector(
    config: Annotated[str, typer.Option(help="Configuration to train, by name or TOML file.")] = SHIPPED,
    detector: Annotated[Path | None, typer.Option(help="Folder of the detector that scores; default: shipped.")] = None,
    images: Annotated[int, typer.Option(min=2, help="Images to score.")] = 64,
    side: Annotated[int, typer.Option(min=64, help="Their side in pixels.")] = 1024,
    steps: Annotated[int, typer.Option(min=2, help="Training steps.")] = 60,
    processes: Annotated[int, typer.Option(min=0, help="Processes that score side by side; 0 leaves it out.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Time scoring of PNG images (decoding and network apart) and training (with and without the cost of input)."""
    import torch

    from helpers.api import detector_folder
    from helpers.detectors.config import config_path
    from helpers.detectors.ntf.detector import NaturalTraceConfig
    from helpers.detectors.registry import load_detector, read_config
    from helpers.detectors.speed import measure_speed, peak_memory

    chosen = read_config(config_path(config), NaturalTraceConfig)
    judge = load_detector(detector_folder(detector))
    rows = measure_speed(judge, chosen, images=images, side=side, steps=steps, processes=processes)
    head = {
        "detector": judge.name,
        "config": Path(config).stem,
        "images": images,
        "side": side,
        "steps": steps,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "peak_memory_mb": peak_memory(),
    }
    if as_json:
        plain = [asdict(row) | {"cpu_ms": None if row.cpu_ms != row.cpu_ms else row.cpu_ms} for row in rows]
        print_json({**head, "rows": plain}, indent=1)
        return
    _print(head, rows)


def _print(head: dict[str, Any], rows: "Sequence[Row]") -> None:
    """Print a table."""
    side = head["side"]
    title = f"{head['detector']} scores {side} x {side} PNG, {head['config']} learns, {head['threads']} thread(s)"
    cells = [(row.part, row.unit, f"{row.per_second:.1f}", f"{row.cpu_ms:.1f}", row.note) for row in rows]
    print_rows(("part", "of", "per second", "CPU ms each", ""), cells, title=title, width=120)
    if head["peak_memory_mb"] is not None:
        typer.echo(f"peak memory {head['peak_memory_mb']:,.0f} MB")


@app.command()
def stream(
    images: Annotated[int, typer.Option(min=8, help="Images to stream.")] = 100_000,
    side: Annotated[int, typer.Option(min=32, help="Their side in pixels, a multiple of 8.")] = 32,
    detector: Annotated[str | None, typer.Option(help="Folder or name of the detector; default: shipped.")] = None,
    ray: Annotated[bool, typer.Option(help="Also score them by --engine ray.")] = True,
    folder: Annotated[Path | None, typer.Option(help="For what is written; a temporary folder by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Stream small generated images through `data shard`, `evaluate` and the engine: time, peak of memory, counts."""
    from tempfile import TemporaryDirectory

    from helpers.cli.stream_bench import measure_stream

    if side % 8:
        raise typer.BadParameter("--side must be a multiple of 8")
    with TemporaryDirectory(dir=folder) as place:
        result = measure_stream(Path(place), images, side, detector=detector, ray=ray)
    if as_json:
        print_json(result, indent=1)
        return
    for name, one in result.items():
        if isinstance(one, dict):
            worker = f", a worker {one['worker_peak_mb']:,} MB" if "worker_peak_mb" in one else ""
            typer.echo(f"{name}: {images:,} images in {one['seconds']:,.0f} s, peak {one['peak_mb']:,} MB{worker}")


@app.command()
def statistics(as_json: AsJson = False) -> None:
    """Time the statistics of all embedded pictures: reading, three scales, scrambled copies, intervals."""
    from helpers.lessons.lesson01.study import measure_speed

    speed = measure_speed()
    if as_json:
        print_json(speed, indent=None)
        return
    typer.echo(
        f"{speed['pictures']} pictures, {speed['megapixels']} megapixels, {speed['threads']} threads: "
        f"{speed['seconds']} s ({speed['seconds_reading']} s reading, {speed['seconds_measuring']} s measuring)"
    )
