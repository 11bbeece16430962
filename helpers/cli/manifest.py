"""`natural-traces manifest`: make, check and split manifests."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.cli import Status
from helpers.cli.common import AsJson, ManifestName, OnError, Root, Seed, WhenRefused, group, print_json, print_table
from helpers.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from helpers.data.collect import Collection

app = group("Make, check and split manifests.")

Out = Annotated[Path, typer.Option(help="CSV file to write.")]
By = Annotated[str, typer.Option(help="What stays on one side: auto, source, image, or a column.")]
TestOnly = Annotated[bool, typer.Option("--test-only", help="Put everything into test.")]
Fast = Annotated[bool, typer.Option("--fast", help="Read headers alone: no damage, no near-duplicates.")]
Generator = Annotated[str, typer.Option(help="What made the fakes for which nothing else tells.")]
Licence = Annotated[str, typer.Option(help="Terms of all files.")]
Origin = Annotated[str, typer.Option(help="Origin of all files.")]


@app.command()
def photographs(as_json: AsJson = False) -> None:
    """Make the manifests of the embedded photographs and textures anew from the installed packages."""
    from helpers.data import catalog
    from helpers.data.manifest import read_manifest

    written = catalog.write_embedded()
    rows = [{"file": f"{path.parent.name}/{path.name}", "images": len(read_manifest(path))} for path in written]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        typer.echo(f"{row['file']}: {row['images']} images")


@app.command()
def folder(
    folder: Annotated[
        Path, typer.Argument(help="Holds real/ and fake/<generator>/, 0_real/ and 1_fake/, or nature/ and ai/.")
    ],
    out: Out,
    by: By = "auto",
    test_only: TestOnly = False,
    fast: Fast = False,
    on_error: WhenRefused = OnError.STOP,
    generator: Generator = "",
    seed: Seed = 0,
    licence: Licence = "not stated",
    origin: Origin = "not stated",
    as_json: AsJson = False,
) -> None:
    """Build a manifest from a folder and split it; paths count from the folder. Every image is decoded once."""
    from helpers.data.collect import Collecting, collect_folder

    options = Collecting(seed, licence, origin, by, test_only, fast, str(on_error), generator)
    _write(collect_folder(folder, options, _bar), out, as_json)


@app.command("list")
def list_(
    path: Annotated[Path, typer.Argument(help="CSV file with a column of paths and one of labels.")],
    out: Out,
    root: Annotated[
        Path | None, typer.Option(help="Folder that the paths count from; the list's own by default.")
    ] = None,
    columns: Annotated[
        str, typer.Option(help="Which columns hold what, as path=file,label=is_fake,generator=model.")
    ] = "",
    by: By = "auto",
    test_only: TestOnly = False,
    fast: Fast = False,
    on_error: WhenRefused = OnError.STOP,
    generator: Generator = "",
    seed: Seed = 0,
    licence: Licence = "not stated",
    origin: Origin = "not stated",
    as_json: AsJson = False,
) -> None:
    """Build a manifest from a list in CSV: labels as 0 and 1, real and fake, nature and ai, in any case of letters."""
    from helpers.data.collect import Collecting, collect_list, parse_columns

    options = Collecting(seed, licence, origin, by, test_only, fast, str(on_error), generator, parse_columns(columns))
    _write(collect_list(path, root, options, _bar), out, as_json)


@app.command()
def split(
    path: Annotated[Path, typer.Argument(help="Manifest to read.")],
    out: Out,
    by: By = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Split a manifest anew: 70 % train, 15 % val, 15 % test; equal pictures stay on one side."""
    from helpers.data.collect import Collection
    from helpers.data.manifest import read_manifest
    from helpers.data.splits import split_rows

    divided = split_rows(read_manifest(path), by=by, seed=seed)
    _write(Collection(divided.rows, divided, ()), out, as_json)


def _bar(items: "Iterable[Any]") -> "Iterable[Any]":
    from tqdm import tqdm

    return tqdm(items, unit="image", disable=None, leave=False)


def _write(collection: "Collection", out: Path, as_json: bool) -> None:
    """Write a manifest, and say what it holds, how it was split, and what was left out."""
    from helpers.data.manifest import write_manifest

    write_manifest(collection.rows, out)
    if as_json:
        print_json({**_counts(collection.rows), **collection.to_dict()})
        return
    _print_counts(collection.rows)
    duplicates = collection.split.duplicates
    if duplicates.equal or duplicates.near:
        typer.echo(
            f"duplicates: {duplicates.equal} equal and {duplicates.near} nearly equal image(s), each kept on one side"
        )
    for note in collection.split.notes:
        typer.echo(f"note: {note}")
    for reason, count in collection.reasons.items():
        first = next(one.path for one in collection.left_out if one.reason == reason)
        typer.echo(f"left out: {count} {reason}, the first {printable(first)}")


@app.command()
def show(name: ManifestName, as_json: AsJson = False) -> None:
    """Count a manifest's images by split, label and generator."""
    from helpers.data.select import load_rows

    df, _ = load_rows(name, None, None)
    if as_json:
        print_json(_counts(df))
    else:
        _print_counts(df)


@app.command()
def verify(name: ManifestName, root: Root = None, as_json: AsJson = False) -> None:
    """Read every file and compare hash, size, format and pixels; exit status 2 if anything is wrong."""
    from helpers.data import manifest
    from helpers.data.select import load_rows

    df, place = load_rows(name, root, None)
    problems = manifest.verify(df, place)
    if as_json:
        print_json({"images": len(df), "problems": manifest.problems_as_records(problems)})
    else:
        for problem in problems:
            typer.echo(f"{problem.kind:<12}{problem.path}: {problem.detail}")
        typer.echo(f"{len(df)} images, {len(problems)} problem(s)")
    if problems:
        raise typer.Exit(Status.FAILED)


def _counts(df: "pd.DataFrame") -> "dict[str, Any]":
    """Count images by split, label and generator; name the sources and pictures that lie in several splits."""
    from helpers.data.manifest import shared_pictures, shared_sources

    counts = df.groupby(["split", "label", "generator"], sort=True).size().reset_index(name="images")
    shared = {"shared_sources": shared_sources(df), "shared_pictures": shared_pictures(df)}
    return {"images": len(df), "counts": counts.to_dict("records"), **shared}


def _print_counts(df: "pd.DataFrame") -> None:
    """Print what `_counts` found."""
    import pandas as pd

    answer = _counts(df)
    print_table(pd.DataFrame(answer["counts"]), f"{len(df)} images from {df['source'].nunique()} sources")
    if shared := answer["shared_sources"]:
        typer.echo(f"in several splits: {len(shared)} source(s), the first {shared[0]}")
    if shared := answer["shared_pictures"]:
        typer.echo(f"in several splits: {len(shared)} image(s) as the same file, the first {shared[0]}")
