"""Runs that are interrupted, and runs that meet."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import run

from helpers.cli.common import BusyError, InterruptedRunError, kept_on_interrupt, only_run, only_writer

HOLD = """
import sys, time
from pathlib import Path
from helpers.cli.common import only_run
with only_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_names_the_first(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=f"process {first.pid} is writing here"), only_run(tmp_path / "run"):
            pass
    finally:
        first.kill()
        first.wait()
    with only_run(tmp_path / "run"):  # a run that was killed leaves no lock behind
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    with only_writer(tmp_path / "rows.csv"), pytest.raises(BusyError, match="is writing here"), only_writer(
        tmp_path / "rows.csv"
    ):  # fmt: skip
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_says_what_is_kept() -> None:
    with pytest.raises(InterruptedRunError, match="interrupted: the cup is kept"), kept_on_interrupt("the cup is kept"):
        raise KeyboardInterrupt


def test_an_interrupt_anywhere_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("helpers.cli.doctor.examine", interrupted)
    done = run("doctor")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", "error: interrupted\n")
    monkeypatch.setattr("helpers.cli.application.application", interrupted)
    assert run("doctor").stderr == "error: interrupted\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
@pytest.mark.parametrize("wait", [0.2, 0.5, 0.8, 1.1])
def test_control_c_while_torch_is_imported_is_one_line(wait: float) -> None:
    """Whenever it comes once the command line is there; torch's own import turns exceptions into an abort."""
    code = "from helpers.cli import main\nprint('up', flush=True)\nmain(['doctor'])"
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stdout is not None
    started.stdout.readline()
    time.sleep(wait)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert (started.returncode, err) == (2, "error: interrupted\n")


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_control_c_in_an_import_ends_the_process_whatever_the_module_makes_of_it(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(
        "import time\nprint('importing', flush=True)\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n"
        "    raise ImportError('lost') from None\n"
    )
    code = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport helpers.cli as cli\n"
    code += "cli._run = lambda arguments: __import__('stubborn')\ncli.main([])"
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "importing\n"
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert (started.returncode, err) == (2, "error: interrupted\n")


def test_a_reader_that_leaves_early_meets_no_traceback() -> None:
    done = subprocess.run(
        f"{sys.executable} -m helpers statistics --pictures textures --json | head -c 1",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
