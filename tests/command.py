"""Run the command line inside the test's process."""

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from helpers import cli


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


def run(*words: object) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())
