"""The command line: `natural-traces COMMAND`, or `python -m helpers COMMAND`. One module for each command.

`COMMANDS` names every command with its module and its line of help; a module is imported when its command runs, so
that help and listings cost nothing. A module holds a `typer.Typer` called `app`, or a function that bears its name.
What it needs beyond the standard library and typer is imported inside the function that needs it. Commands read
options, call the rooms below and print; nothing is measured or computed here, and nothing may import this room.

Results go to the standard output, as text or, with `--json`, as one JSON document; progress, warnings and errors go
to the standard error, an error as one line. `Status` lists how a command ends.
"""

import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from types import FrameType
from typing import NoReturn

__all__ = ["COMMANDS", "READ_PICTURES", "Entry", "Status", "main"]


class Status(IntEnum):
    """How a command ends."""

    DONE = 0
    """Everything that was asked for is done."""
    FAILED = 2
    """A mistake in the command line, nothing done, a check that failed, interrupted, or some files were refused."""


@dataclass(frozen=True)
class Entry:
    """One command.

    Attributes:
        section: Where `--help` lists it.
        help: Its line there.
    """

    section: str
    help: str


_IMAGES, _DETECTORS, _STUDIES, _COURSE = "Images and sets of images", "Detectors", "Studies of the lessons", "Course"
READ_PICTURES = (_IMAGES, _DETECTORS)
"""Sections whose commands read pictures from outside."""

COMMANDS: dict[str, Entry] = {
    "score": Entry(_IMAGES, "Score pictures: photograph or generated?"),
    "app": Entry(_IMAGES, "Serve a page in the browser: drop pictures, read statements."),
    "manifest": Entry(_IMAGES, "Make, check and split manifests."),
    "data": Entry(_IMAGES, "List, get, verify and shard data sets."),
    "audit": Entry(_IMAGES, "Measure what format, size, tables and metadata of a set give away."),
    "statistics": Entry(_IMAGES, "Print the natural-image statistics of the embedded pictures."),
    "zoo": Entry(_IMAGES, "Train, sample and verify the generator zoo."),
    "train": Entry(_DETECTORS, "Train a detector from a configuration and a manifest."),
    "combine": Entry(_DETECTORS, "Average trained detectors."),
    "evaluate": Entry(_DETECTORS, "Report AP, accuracy and calibration per generator, with intervals."),
    "verdicts": Entry(_DETECTORS, "Count verdicts of a detector that may say inconclusive."),
    "robustness": Entry(_DETECTORS, "Score perturbed images."),
    "holdout": Entry(_DETECTORS, "Hold out generators and photo sources; rank scores by what was held out."),
    "calibrate": Entry(_DETECTORS, "Fix a detector's threshold by held-out pictures or photographs of one's own."),
    "range": Entry(_DETECTORS, "Measure where the features of known pictures lie, so that others are refused."),
    "ablate": Entry(_DETECTORS, "Leave out one part of the method at a time."),
    "bench": Entry(_DETECTORS, "Time scoring, training and statistics on this machine."),
    "traces": Entry(_STUDIES, "Lesson 03: an ablation study of stage 1 on the zoo."),
    "transfer": Entry(_STUDIES, "Lesson 04: what soft targets and stage 1 add."),
    "embeddings": Entry(_STUDIES, "Lesson 05: maps and neighbours of the zoo's detector."),
    "generalization": Entry(_STUDIES, "Lesson 06: seven detectors, trained on four generators, tested on twelve."),
    "cache": Entry(_COURSE, "Tell where caches and data sets lie; clear cached scores."),
    "doctor": Entry(_COURSE, "Say whether this machine is ready for the course."),
    "course": Entry(_COURSE, "Build, refresh, run and check the lessons."),
    "results": Entry(_COURSE, "Print recorded results as Markdown tables."),
    "reproduce": Entry(_COURSE, "Make a recorded result again and compare."),
}
"""Every command; its module is `helpers.cli.<name>`, with `_` for `-`."""


_TYPER_INTERRUPTED = 130
"""What typer returns where Ctrl-C ended a command."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Command and options; those of the process when None.

    Raises:
        SystemExit: Always; its code is one of `Status`.
    """
    try:
        _prepare_streams()
        with _interrupts_end_imports():
            status = _run(arguments)
        if status == _TYPER_INTERRUPTED:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        _fail("interrupted")
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(Status.FAILED) from None
    raise SystemExit(Status.FAILED if status else Status.DONE)


@contextmanager
def _interrupts_end_imports() -> Iterator[None]:
    """Let Ctrl-C end the process at once while a module is imported, and be a KeyboardInterrupt elsewhere.

    Compiled modules such as torch's turn an exception in the midst of their import into another one, or abort.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, _interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupted(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"error: interrupted\n")
            os._exit(Status.FAILED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _run(arguments: list[str] | None) -> object:
    """Run a command; what a user can mend becomes one line on the standard error."""
    from helpers.cli.application import application
    from helpers.errors import NaturalTracesError

    try:
        return application()(arguments, standalone_mode=False)
    except NaturalTracesError as error:
        _fail(str(error))
    except BrokenPipeError:
        raise
    except MemoryError:
        _fail("not enough memory")
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help itself
            sys.stderr.write(str(error).rstrip() + "\n")
            raise SystemExit(Status.FAILED) from None
        if type(error).__name__ == "Abort":
            _fail("interrupted")
        if type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
            _fail("not enough memory on the GPU; try a smaller --batch, or --device cpu")
        if not hasattr(error, "format_message"):  # a mistake of ours, not one in the command line
            raise
        _fail(error.format_message() or "see --help")


def _prepare_streams() -> None:
    """Let a console that cannot show a character show its number instead, and print warnings in one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = _one_line


def _one_line(message: Warning | str, *_: object, **__: object) -> str:
    return f"warning: {' '.join(str(message).split())}\n"


def _fail(message: str) -> NoReturn:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    sys.stderr.write(f"error: {lines[-1] if lines else 'unknown'}\n")
    raise SystemExit(Status.FAILED) from None
