"""`natural-traces data`: which data sets there are, on which terms, and how to get them or to lay them out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.cli import Status
from helpers.cli.common import (
    AsJson,
    ManifestName,
    OnError,
    Root,
    Seed,
    WhenRefused,
    Where,
    group,
    kept_on_interrupt,
    print_json,
    print_rows,
    readable_rows,
    tell,
    tell_refused,
)
from helpers.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from helpers.data.catalog.entries import Entry

app = group("List, get, verify and shard data sets.")

Name = Annotated[str, typer.Argument(help="Name in the catalogue, or hub:OWNER/NAME for any data set of the Hub.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the catalogue, and which of it lies on this machine."""
    from helpers.data.catalog.entries import ENTRIES

    rows = [{**entry.to_dict(), "here": _is_here(entry)} for entry in ENTRIES.values()]
    if as_json:
        print_json(rows)
        return
    cells = [(row["name"], "yes" if row["here"] else "", row["way"], row["size"], row["verified"]) for row in rows]
    print_rows(("name", "here", "how", "size", "verified by us"), cells, width=120)


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show size, licence, citation and home of one data set."""
    from helpers.data.catalog.entries import find_entry

    entry = find_entry(name)
    row = {**entry.to_dict(), "here": _is_here(entry)}
    if as_json:
        print_json(row)
        return
    for key, value in row.items():
        typer.echo(f"{key + ':':<10} {value}")


@app.command()
def get(
    name: Name,
    where: Where = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Files at a time.")] = 8,
    mirror: Annotated[str, typer.Option(help="Address instead of raw.githubusercontent.com.")] = "",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a data set of the Hub.")] = None,
    as_json: AsJson = False,
) -> None:
    """Get a data set; what is there already is kept, so a second call does the rest."""
    from helpers.data.catalog.downloads import fetch_hub
    from helpers.data.catalog.entries import find_entry
    from helpers.data.manifest import ManifestError

    entry = find_entry(name)
    if entry.way == "rebuild":
        _get_benchmark(where or [], workers, mirror, as_json)
    elif entry.way == "files":
        from helpers.data.catalog.benchmark import GITHUB
        from helpers.data.catalog.weights import get_weights

        files = get_weights(name, _folder(entry), home=mirror.rstrip("/") or GITHUB, workers=workers)
        tell(f"licence: {entry.licence}")
        _say({"folder": str(_folder(entry)), "files": len(files)}, as_json)
    elif entry.way == "hub":
        folder = fetch_hub(entry.hub, _folder(entry), revision=revision, workers=workers)
        tell(f"licence: {entry.licence}; its content was not verified by this project")
        _say({"folder": str(folder)}, as_json)
    elif entry.way == "by hand":
        hint = "get it there, then make a manifest with `natural-traces manifest folder`"
        raise ManifestError(f"{name}: cannot be fetched by a command; its home is {entry.home}: {hint}")
    else:
        _say({"folder": entry.home}, as_json)


def _get_benchmark(where: list[str], workers: int, mirror: str, as_json: bool) -> None:
    """Rebuild the benchmark, or the part of it that is wanted."""
    from tqdm import tqdm

    from helpers.data.catalog.benchmark import GITHUB, carried, get_benchmark
    from helpers.data.places import data_root
    from helpers.data.select import select

    rows = select(carried(), where)
    originals = rows["orig_sha256"].nunique()

    def progress(parts: "Iterable[Any]") -> "Iterable[Any]":
        return tqdm(parts, total=originals, unit="original", disable=None, leave=False)

    target = data_root() / "benchmark"
    rebuilt = get_benchmark(rows, target, home=mirror.rstrip("/") or GITHUB, workers=workers, progress=progress)
    for path, reason in list(rebuilt.failed.items())[:20]:
        tell(f"failed: {printable(path)}: {printable(reason)}")
    counts = {"tiles": len(rows), "identical": rebuilt.identical, "near": rebuilt.near, "failed": len(rebuilt.failed)}
    _say({"folder": str(target), **counts}, as_json)
    if rebuilt.failed:
        raise typer.Exit(Status.FAILED)


@app.command()
def verify(name: Name, as_json: AsJson = False) -> None:
    """Check every file of a data set on this machine; exit status 2 if anything is wrong."""
    from helpers.data import catalog
    from helpers.data.catalog.entries import find_entry
    from helpers.data.catalog.weights import WEIGHTS, verify_weights
    from helpers.data.manifest import problems_as_records
    from helpers.data.manifest import verify as verify_files

    if name in WEIGHTS:
        counted, problems = {"files": len(WEIGHTS[name].sha256)}, verify_weights(name, _folder(find_entry(name)))
    else:
        df, root = catalog.load(name)
        counted, problems = {"images": len(df)}, verify_files(df, root)
    records = problems_as_records(problems)
    _say({**counted, "problems": records if as_json else len(records)}, as_json)
    for problem in [] if as_json else records[:20]:
        typer.echo(f"{problem['kind']:<12}{printable(problem['path'])}: {problem['detail']}")
    if problems:
        raise typer.Exit(Status.FAILED)


@app.command()
def shard(
    manifest: ManifestName,
    out: Annotated[Path, typer.Option(help="Folder of the shards.")],
    root: Root = None,
    where: Where = None,
    rows: Annotated[int, typer.Option(min=1, help="Images of a shard.")] = 1024,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Files that are read at a time.")] = 2,
    on_error: WhenRefused = OnError.STOP,
    as_json: AsJson = False,
) -> None:
    """Write a manifest and its images as sharded Parquet, which other commands take in its place.

    Shards that are there already are kept, so a second call does the rest.
    """
    from tqdm import tqdm

    from helpers.data.select import load_rows
    from helpers.data.shards import write_shards

    df, place = load_rows(manifest, root, where)
    df, refused = readable_rows(df, place, on_error)

    def progress(parts: "Iterable[Any]") -> "Iterable[Any]":
        return tqdm(parts, unit="shard", disable=None, leave=False)

    with kept_on_interrupt(f"{out} keeps the shards that are whole; the same command goes on from there"):
        files = write_shards(df, place, out, rows=rows, seed=seed, workers=workers, progress=progress)
    size = sum(file.stat().st_size for file in files)
    _say({"folder": str(out), "shards": len(files), "images": len(df), "bytes": size}, as_json)
    tell_refused(refused)


@app.command()
def path(name: Name, as_json: AsJson = False) -> None:
    """Print the folder of a data set, for scripts; it need not exist yet."""
    from helpers.data.catalog.entries import find_entry

    folder = str(_folder(find_entry(name)))
    if as_json:
        print_json({"name": name, "folder": folder}, indent=None)
        return
    typer.echo(folder)


@app.command(hidden=True)
def table(folder: Annotated[Path, typer.Argument(help="The benchmark itself.")], out: Path) -> None:
    """For keepers of the benchmark: make the table that the project carries."""
    from helpers.data.catalog.benchmark import table_from
    from helpers.data.files import write_atomic

    write_atomic(out, table_from(folder))


def _folder(entry: "Entry") -> Path:
    from helpers.data.places import data_dir, data_root

    if entry.way in ("package", "checkout"):
        return data_dir() / entry.name
    return data_root() / entry.name.removeprefix("hub:").replace("/", "--")


def _is_here(entry: "Entry") -> bool:
    folder = _folder(entry)
    return folder.is_dir() and any(folder.iterdir())


def _say(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    typer.echo(", ".join(f"{key}: {value}" for key, value in answer.items()))
