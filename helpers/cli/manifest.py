"""`natural-traces manifest`: make, check and split manifests."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.cli import Status
from helpers.cli.common import AsJson, ManifestName, Root, Seed, group, print_json, print_table

if TYPE_CHECKING:
    import pandas as pd

app = group("Make, check and split manifests.")

Out = Annotated[Path, typer.Option(help="CSV file to write.")]


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
    folder: Annotated[Path, typer.Argument(help="Holds real/ and fake/<generator>/.")],
    out: Out,
    seed: Seed = 0,
    licence: Annotated[str, typer.Option(help="Terms of all files.")] = "not stated",
    origin: Annotated[str, typer.Option(help="Origin of all files.")] = "not stated",
    as_json: AsJson = False,
) -> None:
    """Build a manifest from a folder, split by source; paths count from the folder."""
    from helpers.data.manifest import manifest_from_folder, write_manifest

    df = manifest_from_folder(folder, seed=seed, licence=licence, origin=origin)
    write_manifest(df, out)
    _print_counts(df, as_json)


@app.command()
def split(
    path: Annotated[Path, typer.Argument(help="Manifest to read.")],
    out: Out,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Split a manifest anew, by source: 70 % train, 15 % val, 15 % test."""
    from helpers.data.manifest import read_manifest, split_by_source, write_manifest

    df = split_by_source(read_manifest(path), seed=seed)
    write_manifest(df, out)
    _print_counts(df, as_json)


@app.command()
def show(name: ManifestName, as_json: AsJson = False) -> None:
    """Count a manifest's images by split, label and generator."""
    from helpers.data.select import load_rows

    df, _ = load_rows(name, None, None)
    _print_counts(df, as_json)


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


def _print_counts(df: "pd.DataFrame", as_json: bool) -> None:
    """Print the number of images by split, label and generator, and the sources that lie in several splits."""
    from helpers.data.manifest import shared_sources

    counts = df.groupby(["split", "label", "generator"], sort=True).size().reset_index(name="images")
    shared = shared_sources(df)
    if as_json:
        print_json({"images": len(df), "counts": counts.to_dict("records"), "shared_sources": shared})
        return
    print_table(counts, f"{len(df)} images from {df['source'].nunique()} sources")
    if shared:
        typer.echo(f"in several splits: {len(shared)} source(s), the first {shared[0]}")
