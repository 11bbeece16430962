"""`natural-traces app`: a page in the browser that states what can be said of pictures."""

import asyncio
import os
from typing import Annotated

import typer

from helpers.cli.common import AsJson, DetectorName, Device, print_json, tell

MEGAPIXELS = 64.0
"""Largest picture that the page decodes, unless told otherwise."""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("app")
def serve_page(
    detector: DetectorName = None,
    device: Device = "cpu",
    host: Annotated[
        str, typer.Option(help="Where to listen; 127.0.0.1: only this computer reaches the page.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 8050,
    most: Annotated[int, typer.Option(min=1, max=1000, help="Pictures at a time.")] = 20,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in the browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Serve a page on which pictures are dropped and statements read, until Ctrl-C.

    Nothing is kept: pictures are in memory while they are judged, and no copy is written.
    """
    from helpers.api import explain, load_detector
    from helpers.data.opening import LIMIT_VARIABLE
    from helpers.page.server import LOOPBACK, serve
    from helpers.page.text import Limits

    os.environ.setdefault(LIMIT_VARIABLE, repr(MEGAPIXELS))
    judge = load_detector(detector, device=device)

    def started(address: str) -> None:
        if as_json:
            print_json({"address": address}, indent=None)
        else:
            typer.echo(f"{address} (Ctrl-C ends it)")
        if host not in LOOPBACK:
            tell(f"warning: whoever reaches {host} can use this page; it asks for no password")
        if browser:
            typer.launch(address)

    try:
        asyncio.run(
            serve(
                lambda data, name, base_rate: explain(data, judge, base_rate, name=name),
                started,
                host=host,
                port=port,
                limits=Limits(count=most),
            )
        )
    except KeyboardInterrupt:
        return
