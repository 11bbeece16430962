"""The application that holds all commands without importing one before it is asked for."""

import importlib
import os
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from helpers import __version__
from helpers.cli import COMMANDS, READ_PICTURES

__all__ = ["LazyGroup", "application"]


class Commands(Mapping[str, Any]):
    """Name -> command, made from its module when it is looked up."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        if name not in COMMANDS:
            raise KeyError(name)
        own = name.replace("-", "_")
        module = importlib.import_module(f"helpers.cli.{own}")
        app = getattr(module, "app", None)
        if app is None:
            app = typer.Typer(add_completion=False, rich_markup_mode=None)
            app.command(name)(getattr(module, own))
        command = get_command(app)
        if COMMANDS[name].section in READ_PICTURES:
            _add_pixel_limit(command)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _add_pixel_limit(command: Any) -> None:  # noqa: ANN401
    """Give a command, or all commands of a group, the option that limits how large a picture may be."""
    for one in getattr(command, "commands", {}).values():
        _add_pixel_limit(one)
    if not hasattr(command, "commands"):
        command.params.extend(one for one in _limit_command().params if "--max-megapixels" in one.opts)


def _limit_command() -> Any:  # noqa: ANN401
    """Make a command that has no other option than the limit; its option serves all commands."""
    app = typer.Typer(add_completion=False)
    app.command()(_limited)
    return get_command(app)


def _set_pixel_limit(value: float | None) -> float | None:
    """Set the limit for this process and those that it starts."""
    if value is not None:
        from helpers.data.opening import LIMIT_VARIABLE, pixel_limit

        os.environ[LIMIT_VARIABLE] = repr(value)
        pixel_limit()
    return value


def _limited(
    max_megapixels: Annotated[
        float | None,
        typer.Option(
            callback=_set_pixel_limit, expose_value=False, help="Largest picture that is decoded; 250 if left out."
        ),
    ] = None,
) -> None:
    """Hold the option."""


class LazyGroup(TyperGroup):
    """A group whose help comes from the table of commands, so that none of them is imported for it."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**settings)
        self.commands = cast(Any, Commands())

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the commands, section by section."""
        for section, entries in groupby(COMMANDS.items(), key=lambda item: item[1].section):
            with formatter.section(section):
                formatter.write_dl([(name, entry.help) for name, entry in entries], col_max=15)


def application() -> Any:  # noqa: ANN401
    """Make the application.

    Returns:
        A callable that takes the command line.
    """
    app = typer.Typer(cls=LazyGroup, add_completion=False, no_args_is_help=True, rich_markup_mode=None)
    app.callback()(root)
    return get_command(app)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"natural-traces {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(help="File or module with detectors of your own; may be repeated; see docs/own_detector.md."),
    ] = None,
) -> None:
    """Natural Traces: spot generated images, and learn how. COMMAND --help tells more about one.

    Exit status: 0 when all is done; 2 for a mistake in the command line, nothing done, a check that failed, an
    interrupted run, or some files that were refused.
    """
    for name in plugin or ():
        from helpers.detectors.registry import load_plugin

        load_plugin(name)
