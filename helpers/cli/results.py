"""`natural-traces results`: tables of the recorded results, and the pages that are made from them."""

from typing import Annotated

import typer

from helpers.cli.common import AsJson, print_json


def results(
    name: Annotated[str, typer.Argument(help="Name of a table in data/results/results.toml.")] = "detectors",
    metric: Annotated[str, typer.Option(help="ap, auc, accuracy, ece, ...; that of the table by default.")] = "",
    write: Annotated[bool, typer.Option("--write", help="Write every page that is made from the records.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print recorded results on real generators as Markdown tables, in hundredths with 95 % intervals."""
    from helpers.course.pages import named_table, write_pages

    if write:
        written = [path.as_posix() for path in write_pages()]
        print_json(written) if as_json else typer.echo("\n".join(written) or "all up to date")
        return
    text = named_table(name, metric or None)
    print_json({"table": name, "markdown": text}) if as_json else typer.echo(text)
