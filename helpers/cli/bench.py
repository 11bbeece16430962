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


@app.command()
def detector(
    config: Annotated[str, typer.Option(help="Configuration to train, by name or TOML file.")] = "ntf",
    detector: Annotated[Path | None, typer.Option(help="Folder of the detector that scores; default: shipped.")] = None,
    setting: Annotated[str, typer.Option(help="default, or fast.")] = "default",
    peer: Annotated[
        list[str] | None, typer.Option(help="module:function of another scorer of paths, timed in the same run.")
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="Images to score.")] = 64,
    side: Annotated[int, typer.Option(min=64, help="Their side in pixels.")] = 1024,
    steps: Annotated[int, typer.Option(min=2, help="Training steps.")] = 60,
    processes: Annotated[int, typer.Option(min=0, help="Processes that score side by side; 0 leaves it out.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Time scoring of PNG images (decode, pipeline, network, all) and training (with and without the cost of input).

    A ratio of scoring is the rate as a share of that of all of it, one of training the share of the steps with input
    that costs nothing.
    """
    import torch

    from helpers.api import load_detector
    from helpers.data.memory import peak_memory
    from helpers.detectors.config import LoopConfig, config_path
    from helpers.detectors.registry import read_config
    from helpers.detectors.speed import measure_speed

    chosen = read_config(config_path(config), LoopConfig)
    judge = load_detector(detector, setting=setting)
    rows = measure_speed(judge, chosen, images=images, side=side, steps=steps, processes=processes, peers=peer or [])
    head = {
        "detector": judge.name,
        "setting": setting,
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
    _print_parts(rows, title)
    if head["peak_memory_mb"] is not None:
        typer.echo(f"peak memory {head['peak_memory_mb']:,.0f} MB")


def _print_parts(rows: "Sequence[Row]", title: str) -> None:
    cells = [
        (
            row.part,
            row.unit,
            f"{row.per_second:.1f}",
            f"{row.cpu_ms:.1f}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            row.note,
        )
        for row in rows
    ]
    print_rows(("part", "of", "per second", "CPU ms each", "ratio", ""), cells, title=title, width=140)


def _print_rows_as_json(rows: "Sequence[Row]", head: dict[str, Any]) -> None:
    print_json({**head, "cores": os.cpu_count(), "rows": [asdict(row) for row in rows]}, indent=1)


@app.command()
def backends(
    detector: Annotated[Path | None, typer.Option(help="Folder of the detector; default: shipped.")] = None,
    windows: Annotated[int, typer.Option(min=1, help="Windows at a time.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="Times.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Time the network by torch, channels-last, bfloat16, ONNX Runtime and OpenVINO; a ratio above 1 is faster."""
    from helpers.api import load_detector
    from helpers.detectors.speed import backends as measure

    judge = load_detector(detector)
    rows = measure(judge, windows, repeats)
    if as_json:
        _print_rows_as_json(rows, {"detector": judge.name})
    else:
        _print_parts(rows, f"{judge.name} on windows of {judge.config.window} pixels, by processor time")


@app.command()
def statement(
    detector: Annotated[Path | None, typer.Option(help="Folder of the detector; default: shipped.")] = None,
    megapixels: Annotated[float, typer.Option(min=0.01, help="Of the JPEG.")] = 12,
    repeats: Annotated[int, typer.Option(min=1, help="Times.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Time the way from the bytes of a large JPEG to a statement on it, on one core, the detector loaded."""
    from helpers.api import load_detector
    from helpers.detectors.speed import statement as measure

    judge = load_detector(detector)
    rows = measure(judge, megapixels, repeats)
    if as_json:
        _print_rows_as_json(rows, {"detector": judge.name, "megapixels": megapixels})
        return
    _print_parts(rows, f"{judge.name}: a statement on a JPEG of {megapixels:g} megapixels, one core")
    whole = next(row for row in rows if row.part == "statement")
    typer.echo(f"a statement takes {whole.cpu_ms / 1000:.2f} s of one core, {1 / whole.per_second:.2f} s by the clock")


@app.command()
def cost(
    images: Annotated[float, typer.Option(min=1, help="Images in all.")] = 1e8,
    price: Annotated[float, typer.Option(min=0, help="Of a core for an hour, in your currency.")] = 0.05,
    cores: Annotated[list[int] | None, typer.Option(min=1, help="Cores that share the work; may be repeated.")] = None,
    side: Annotated[int, typer.Option(min=64, help="Side of the images in pixels.")] = 1024,
    as_json: AsJson = False,
) -> None:
    """Model hours and cost of scoring many images, from processor time that is measured here; for PNG and JPEG."""
    from helpers.api import load_detector
    from helpers.lessons.lesson08.study import model_jobs

    rows = [
        job
        for setting in ("default", "fast")
        for job in model_jobs(
            load_detector(None, setting=setting), setting, images, price, cores or [2, 64, 1024], side
        )
    ]
    if as_json:
        print_json({"modelled": True, "images": images, "price": price, "side": side, "rows": rows}, indent=1)
        return
    cells = [
        (row["setting"], row["file"], f"{row['cpu_ms']:.0f}", f"{row['cores']:,}", f"{row['hours']:,.1f}",
         f"{row['cost']:,.0f}")
        for row in rows
    ]  # fmt: skip
    heads = ("setting", "file", "CPU ms each", "cores", "hours (modelled)", "cost (modelled)")
    title = f"{images:,.0f} images of {side} x {side}, {price:g} a core and hour; reading, retries and people left out"
    print_rows(heads, cells, title=title, width=110, right=heads[2:])


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
