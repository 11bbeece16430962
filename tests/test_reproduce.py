"""Results are made again by the commands that stand beside them, and compared within their bands."""

import json
from pathlib import Path

import pytest

from helpers import cli
from helpers.course import records
from helpers.course import reproduce as subject
from helpers.course.records import Band, Record, Records, Step
from helpers.course.reproduce import ReproduceError, compare, make_again, numbers, recorded, run_again


def test_numbers_are_named_by_their_way() -> None:
    document = {"a": [{"b": 1}, {"b": True}], "c": "text", "d": None, "e": {"f": 0.5}}
    assert numbers(document) == {"a.0.b": 1.0, "a.1.b": 1.0, "e.f": 0.5}


@pytest.mark.parametrize(
    ("new", "outside"),
    [
        ({"ap": 0.91, "seconds": 3}, ()),
        ({"ap": 0.93, "seconds": 3}, ("ap",)),
        ({"seconds": 3}, ("ap",)),
        ({"ap": 0.9, "auc": 1.0}, ("auc",)),
        ({"ap": float("nan")}, ("ap",)),
    ],
)
def test_a_number_may_differ_by_the_band_and_none_may_be_missing(new: dict, outside: tuple) -> None:
    result = compare({"ap": 0.9, "seconds": 100}, new, Band(0.02))
    assert result.outside == outside
    assert result.agrees == (not outside)


def test_only_the_named_keys_are_compared() -> None:
    band = Band(0.1, keys=("*.ap.value",), without=("skip.*",))
    old = {"x": {"ap": {"value": 0.5, "low": 0.1}}, "skip": {"ap": {"value": 0.1}}}
    new = {"x": {"ap": {"value": 0.55, "low": 0.9}}, "skip": {"ap": {"value": 0.9}}}
    result = compare(old, new, band)
    assert (result.compared, result.agrees, result.at) == (1, True, "x.ap.value")
    assert result.largest == pytest.approx(0.05)


def test_what_a_report_tells_since_does_not_disagree_with_an_older_record() -> None:
    old, new = {"ap": 0.5}, {"ap": 0.5, "photo_sources": [{"images": 3}]}
    assert compare(old, new, Band()).agrees
    assert not compare(new, old, Band()).agrees
    assert not compare(new, {"ap": 0.5, "photo_sources": [{"images": 4}]}, Band()).agrees


def test_nothing_compared_is_no_agreement() -> None:
    assert not compare({"a": "text"}, {"a": "text"}, Band()).agrees


def test_values_that_are_no_numbers_on_both_sides_agree() -> None:
    nan = float("nan")
    assert compare({"a": nan, "b": float("inf")}, {"a": nan, "b": float("inf")}, Band()).agrees


def test_an_unknown_or_broken_result_is_told(tmp_path: Path) -> None:
    (tmp_path / "results.toml").write_text("", encoding="utf-8")
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    (tmp_path / "list.json").write_text("[1]", encoding="utf-8")
    for name, message in (("none", "no such result"), ("bad", "no JSON"), ("list", "one JSON object")):
        with pytest.raises(ReproduceError, match=message):
            recorded(name, tmp_path)


def test_a_command_runs_in_a_process_of_its_own() -> None:
    result = run_again("python -m helpers manifest show zoo --json")
    assert numbers(result)


@pytest.mark.parametrize("words", ["rm -r data", "python -m other", "python -m helpers audit nowhere --json"])
def test_a_command_that_is_none_or_fails_is_told(words: str) -> None:
    with pytest.raises(ReproduceError):
        run_again(words)


def test_detectors_that_lie_there_are_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "card.json").write_text("{}", encoding="utf-8")
    ran: list[str] = []
    monkeypatch.setattr(subject, "_output", lambda command: ran.append(command) or '{"ap": 1}')
    told: list[str] = []
    steps = (
        Step("train 0", (str(tmp_path / "made"),)),
        Step("train 1", (str(tmp_path / "made"), str(tmp_path / "not made"))),
        Step("evaluate"),
    )
    assert make_again(steps, told.append) == {"ap": 1}
    assert ran == told == ["train 1", "evaluate"]


# The command


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One recorded result, and a command that makes whatever `again.json` holds."""
    (tmp_path / "result.json").write_text(json.dumps({"ap": 0.9}), encoding="utf-8")
    stored = subject.recorded
    known = Records({"result": Record("A result", "here", "python -m helpers result --json")}, {})
    monkeypatch.setattr(records, "read_records", lambda: known)
    monkeypatch.setattr(subject, "recorded", lambda name: stored(name, tmp_path))
    monkeypatch.setattr(subject, "run_again", lambda words: json.loads((tmp_path / "again.json").read_text("utf-8")))
    return tmp_path


@pytest.mark.parametrize(("again", "status", "verdict"), [(0.905, 0, "agrees"), (0.8, 2, "does not agree")])
def test_the_exit_status_tells(
    pretend: Path, capsys: pytest.CaptureFixture[str], again: float, status: int, verdict: str
) -> None:
    (pretend / "again.json").write_text(json.dumps({"ap": again}), encoding="utf-8")
    for extra in ([], ["--json"]):
        with pytest.raises(SystemExit) as end:
            cli.main(["reproduce", "result", *extra])
        assert end.value.code == status
        out = capsys.readouterr().out
        if extra:
            assert json.loads(out)["agrees"] == (status == 0)
        else:
            assert f"result {verdict}: 1 numbers compared" in out
            assert ("outside: ap" in out) == (status == 2)


def test_the_list_and_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["reproduce", "--list"])
    assert end.value.code == 0
    assert "statistics" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        cli.main(["reproduce", "wild_ntf_jpeg75", "--steps"])
    assert end.value.code == 0
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines()] == ["train"] * 3 + ["combine", "evaluate"]
    with pytest.raises(SystemExit) as end:
        cli.main(["reproduce", "nothing"])
    assert end.value.code == 2
    assert "no such result" in capsys.readouterr().err


@pytest.mark.slow
def test_the_statistics_of_lesson_01_come_out_again(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["reproduce", "statistics"])
    assert end.value.code == 0, capsys.readouterr().out
