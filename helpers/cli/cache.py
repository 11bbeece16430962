"""`natural-traces cache`: what is kept to be found again, how large it is, and how to be rid of it."""

import typer

from helpers.cli.common import AsJson, group, print_json
from helpers.data import places

app = group("Show or clear cached scores; data sets stay.")


@app.command()
def info(as_json: AsJson = False) -> None:
    """Tell where caches and data sets lie, and how large each part of the cache is."""
    parts, sets = places.cached(), places.data_sets()
    if as_json:
        print_json(
            {
                "cache": str(places.cache_dir()),
                "parts": [{"name": part.name, "files": part.files, "bytes": part.bytes} for part in parts],
                "data_root": str(places.data_root()),
                "data_sets": sorted(sets),
            }
        )
        return
    typer.echo(f"cache      {places.cache_dir()} (another: {places.CACHE_VARIABLE})")
    for part in parts:
        typer.echo(f"           {_told(part)}")
    typer.echo(
        f"data sets  {places.data_root()} (another: {places.DATA_VARIABLE}): {', '.join(sorted(sets)) or 'none'}"
    )


@app.command()
def clear(as_json: AsJson = False) -> None:
    """Delete everything in the cache that can be computed again; data sets stay."""
    parts = places.clear_cache()
    if as_json:
        print_json({"deleted": [{"name": part.name, "files": part.files, "bytes": part.bytes} for part in parts]})
        return
    for part in parts:
        typer.echo(f"deleted {_told(part)}")
    if not parts:
        typer.echo("the cache is empty")


def _told(part: places.CachePart) -> str:
    return f"{part.name}: {part.files:,} file(s), {part.bytes / 1e6:.1f} MB"
