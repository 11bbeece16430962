"""A small part of `make fuzz`: damaged pictures are images or one clear error, and nothing else."""

import sys
from collections import Counter
from pathlib import Path

import mutated_images
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutated_images import mutated, outcome, sound_files

from helpers.data.collect import Collecting, collect_folder
from helpers.data.opening import FORMATS


def test_every_format_that_is_read_is_mutated() -> None:
    kinds = {mutated_images.VARIANTS[name][0] for name in sound_files()}
    assert set(FORMATS) - kinds <= {"HEIF", "AVIF"}  # written by optional parts of Pillow
    assert all(outcome(data) == "image" for data in sound_files().values())


def test_a_picture_is_a_function_of_seed_and_number() -> None:
    assert mutated(1, 7) == mutated(1, 7)
    assert len({mutated(1, number)[1] for number in range(50)}) == 50


@given(number=st.integers(0, 2**31))
@settings(max_examples=250, deadline=None, derandomize=True)
def test_mutated_pictures_are_images_or_refused(number: int) -> None:
    assert outcome(mutated(99, number)[1]) in ("image", "refused")


def test_a_folder_of_mutants_is_rows_and_reasons(tmp_path: Path) -> None:
    mutated_images.write_all(5, 120, tmp_path)
    result = collect_folder(tmp_path, Collecting(on_error="skip", test_only=True))
    counts = Counter(outcome(mutated(5, number)[1]) for number in range(120))
    assert len(result.rows) == counts["image"]
    assert len(result.left_out) == counts["refused"]
    assert all(one.reason for one in result.left_out)


def test_a_crash_and_a_hang_are_counted_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness itself can fail: a worker that dies at picture 2 and sleeps at picture 4."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import json, os, sys, time\n"
        "for number in range(int(sys.argv[3]), int(sys.argv[4])):\n"
        "    if number == 2: os.abort()\n"
        "    if number == 4: time.sleep(60)\n"
        "    print(json.dumps([number, 'image', 1]), flush=True)\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(mutated_images, "__file__", str(worker))
    monkeypatch.setattr(mutated_images, "PATIENCE", 5.0)
    outcomes, _ = mutated_images.decode_all(0, 6)
    assert [outcomes[number].split()[0] for number in range(6)] == ["image", "image", "crash", "image", "hang", "image"]
    assert sys.executable
