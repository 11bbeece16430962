"""`python -m helpers train`: from a configuration and a manifest to a detector on disk."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from helpers import catalog
from helpers.detector import SMALLEST, DetectorConfig, DetectorError, make_detector, read_config
from helpers.manifest import read_manifest
from helpers.training_data import ImageSet

CONFIGS = catalog.data_dir() / "configs"


def select(df: pd.DataFrame, conditions: list[str]) -> pd.DataFrame:
    """Keep the rows that meet every `column=value` or `column!=value`; conditions on generators concern fakes alone."""
    for condition in conditions:
        column, sign, value = condition.partition("!=" if "!=" in condition else "=")
        if not sign or column not in df:
            raise DetectorError(f"{condition!r}: needs column=value or column!=value with a column of the manifest")
        same = df[column].astype(str).isin(value.split(","))
        kept = ~same if sign == "!=" else same
        df = df.loc[kept | (df["label"] == "real") if column in ("generator", "family") else kept]
    return df.reset_index(drop=True)


def load_rows(name: str, root: Path | None, where: list[str] | None) -> tuple[pd.DataFrame, Path | None]:
    """Read a manifest file or a data set of the catalog, and keep the wanted rows."""
    if name in catalog.names() and not Path(name).is_file():
        df, place = catalog.load(name)
    else:
        df, place = read_manifest(Path(name)), Path(name).parent
    df = select(df, where or [])
    if df.empty:
        raise DetectorError("no image meets the conditions")
    return df, root or place


def check_sizes(df: pd.DataFrame, least: int) -> None:
    """Name the first image with a side below `least` pixels, before hours are spent on the others."""
    small = df[df[["width", "height"]].min(axis=1) < least]
    if len(small):
        path, width, height = small[["path", "width", "height"]].iloc[0]
        rest = f", like {len(small) - 1:,} more" if len(small) > 1 else ""
        raise DetectorError(f"{path}: {width} x {height} pixels are fewer than the {least} x {least} needed{rest}")


def config_path(name: str) -> Path:
    """Find a configuration by its name in the project, or by its path."""
    known = CONFIGS / f"{name}.toml"
    return known if known.is_file() else Path(name)


def changes_from(settings: list[str]) -> dict[str, Any]:
    """Read `entry=value` settings; values are JSON, or text."""
    changes: dict[str, Any] = {}
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign:
            raise DetectorError(f"{setting!r}: needs entry=value")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        changes[key] = tuple(value) if isinstance(value, list) else value
    unknown = set(changes) - set(DetectorConfig.__dataclass_fields__)
    if unknown:
        raise DetectorError(f"unknown entries {', '.join(sorted(unknown))}")
    return changes


def train(
    config: Annotated[str, typer.Argument(help="Name of a configuration in data/configs, or a TOML file.")],
    out: Annotated[Path, typer.Option(help="Folder for the detector, its checkpoints and logs.")],
    manifest: Annotated[str, typer.Option(help="Manifest file, or a name in the catalog.")] = "benchmark",
    root: Annotated[Path | None, typer.Option(help="Folder of the manifest's relative paths.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Keep rows with column=value[,value] or !=.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="entry=value: replace one of the configuration.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a detector on the train split; threshold and calibration come from the val split."""
    chosen = read_config(config_path(config), **{"seed": seed, **changes_from(setting or [])})
    df, place = load_rows(manifest, root, where)
    check_sizes(df[df["split"] == "train"], chosen.size)
    check_sizes(df[df["split"] == "val"], SMALLEST)
    train_set, val_set = (ImageSet(df[df["split"] == name].reset_index(drop=True), place) for name in ("train", "val"))
    begin = time.perf_counter()
    detector = make_detector(chosen).fit(train_set, val_set, out)
    seconds = time.perf_counter() - begin
    notes = {"manifest": Path(manifest).name, "where": where or [], "seconds": round(seconds, 1)}
    detector.save(out, notes)
    result = {"detector": detector.name, "seed": chosen.seed, **notes, **detector.history}
    found = detector.history["validation_auc"]
    typer.echo(json.dumps(result) if as_json else f"{detector.name}: {seconds:.0f} s, AUC on val {found:.3f}, {out}")
