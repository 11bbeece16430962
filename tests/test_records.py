"""What data/results holds, how it is made, and the pages that are made from it: all agree with results.toml."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from helpers.cli.application import application
from helpers.course.pages import fill, pages, table
from helpers.course.records import Record, RecordError, Records, Row, Run, Step, TableSpec, read_records
from helpers.course.reproduce import numbers, recorded


def test_every_file_is_described_and_every_description_has_its_file(project: Path) -> None:
    files = {path.stem for path in (project / "data" / "results").glob("*.json")}
    assert files == set(read_records().records)


def test_every_band_compares_something() -> None:
    for name, record in read_records().records.items():
        assert any(record.band.covers(key) for key in numbers(recorded(name))), name


def test_pages_are_up_to_date(project: Path) -> None:
    for path, text in pages(project).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `python -m helpers results --write`"


def test_the_readme_has_one_short_table_of_results(project: Path) -> None:
    shown = [spec for spec in read_records().tables.values() if spec.file == "README.md"]
    assert len(shown) == 1
    assert len(shown[0].rows) <= 6  # eight lines with the two of its head


def parse(command: str) -> None:
    """Let the command line read a command without running it; raises what it would refuse."""
    entry: Any = application()
    name, words = "natural-traces", shlex.split(command)[3:]
    while True:
        context = entry.make_context(name, words)
        if not hasattr(entry, "resolve_command"):
            return
        name, entry, words = entry.resolve_command(context, [*context._protected_args, *context.args])


def test_every_step_is_a_command_that_exists_with_options_that_exist() -> None:
    known = read_records()
    for command in {step.command for name in known.records for step in known.steps(name)}:
        parse(command)
    with pytest.raises(Exception, match="No such option"):
        parse("python -m helpers evaluate --detector x --no-such-option")


def test_every_detector_that_a_command_reads_was_made_before() -> None:
    known = read_records()
    for name in known.records:
        made: set[str] = set()
        for step in known.steps(name):
            read = [word for word in shlex.split(step.command) if word.startswith("runs/")]
            own = {word for word in read if word in step.makes or f"--out {word}" in step.command}
            own |= {word for word in read if " holdout " in step.command and f"--scores {word}" in step.command}
            assert set(read) - own <= made, step.command
            made |= set(step.makes)


def test_no_two_steps_write_to_one_folder() -> None:
    """Training continues what lies in its folder, so a folder belongs to one command."""
    known = read_records()
    folders: dict[str, str] = {}
    for command in {step.command.removesuffix(" --json") for name in known.records for step in known.steps(name)}:
        words = shlex.split(command)
        if "--out" in words:
            folder = words[words.index("--out") + 1]
            assert folders.setdefault(folder, command) == command


def test_steps_come_in_order_once_each_and_for_the_wanted_seeds() -> None:
    base = Run("python -m helpers train a --seed {seed} --out a-{seed}", "a-{seed}", (0, 1))
    both = Run("python -m helpers combine a-{seed} a-{seed} --out b-{seed}", "b-{seed}", (0, 1), ("a",))
    study = Run("python -m helpers ablate --out s", "s/one-{seed}", (0, 1))
    record = Record("t", "s", "python -m helpers evaluate --detector b-{seed} --json", (1,), ("b", "a", "study"))
    assert Records({"r": record}, {"a": base, "b": both, "study": study}).steps("r") == (
        Step("python -m helpers train a --seed 1 --out a-1", ("a-1",)),
        Step("python -m helpers combine a-1 a-1 --out b-1", ("b-1",)),
        Step("python -m helpers ablate --out s", ("s/one-1",)),
        Step("python -m helpers evaluate --detector b-1 --json"),
    )


def test_an_option_with_a_seed_is_repeated_and_quotes_are_kept() -> None:
    command = "python -m helpers evaluate --detector a-{seed} --against b-{seed} --where 'x!=y z' --json"
    assert Record("t", "s", command, (0, 2)).step().command == (
        "python -m helpers evaluate --detector a-0 --detector a-2 --against b-0 --against b-2 --where 'x!=y z' --json"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[record", "cannot be read"),
        ("[other]", "unknown entries other"),
        ('[record.a]\ntitle = "t"\nstated = "s"\ncommand = "rm -r x"', "does not start with"),
        ('[record.a]\ntitle = "t"\nstated = "s"\ncommand = "python -m helpers x"\nband = 1', "unknown entries band"),
        ('[record.a]\ntitle = "t"\nstated = "s"', "command"),
        ('[record.a]\ntitle = "t"\nstated = "s"\ncommand = "python -m helpers x {seed}"', "no seeds"),
        (
            '[record.a]\ntitle = "t"\nstated = "s"\ncommand = "python -m helpers x"\nseeds = [0]\nneeds = ["b"]',
            "unknown runs b",
        ),
        ('[run.a]\ncommand = "python -m helpers x"\nmakes = "a"\nseeds = [0]\nneeds = ["a"]', "need each other"),
        (
            '[table.t]\nfile = "x.md"\ncolumns = "tiers"\nrows = [{label = "l", record = "none"}]',
            "unknown records none",
        ),
    ],
)
def test_an_unsound_description_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results.toml").write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=message):
        read_records(tmp_path)


def report(value: float, generators: tuple[str, ...] = ("gan",)) -> dict[str, Any]:
    ap = {"ap": {"value": value, "low": value - 0.1, "high": value + 0.1}}
    tiers = ("seen-source", "unseen-source")
    means = [{"tier": tier, "over": "unseen", "metrics": ap} for tier in tiers]
    rows = [{"tier": tier, "generator": name, "metrics": ap} for tier in tiers for name in generators]
    return {"runs": 3, "means": means, "generators": rows}


def test_tables_hold_the_numbers_of_their_records() -> None:
    rows = (Row("one", "a"), Row("changed", "study", "v"))
    documents = {"a": report(0.5), "study": {"variants": {"v": {"values": report(0.712)["means"]}}}}
    lines = table(TableSpec("x.md", "tiers", rows), documents).splitlines()
    assert lines[2] == "| one | 50.0 [40.0, 60.0] | 50.0 [40.0, 60.0] |"
    assert lines[3] == "| changed | 71.2 [61.2, 81.2] | 71.2 [61.2, 81.2] |"
    wide = table(TableSpec("x.md", "generators", rows[:1]), documents)
    assert wide.count("| one | 3 | 50.0 [40, 60] | 50.0 [40, 60] |") == 2


def rate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def test_a_table_of_rates_tells_false_alarms_and_what_is_recognised() -> None:
    metrics = {"auc": rate(0.8), "accuracy_real": rate(0.95), "accuracy_fake": rate(0.4)}
    alone = {"photographs": [{"tier": "unseen-source", "false_positive_rate": rate(0.0833)}]}
    documents = {"m": {"means": [{"tier": "seen-source", "over": "unseen", "metrics": metrics}]}, "p": alone}
    rows = (Row("main", "m", tier="seen-source"), Row("alone", "p", tier="unseen-source"))
    lines = table(TableSpec("x.md", "rates", rows), documents).split("\n")
    assert lines[2] == "| main | 0.800 [0.790, 0.810] | 5.0 % [4.0, 6.0] | 40.0 % [39.0, 41.0] |"
    assert lines[3] == "| alone | - | 8.3 % [7.3, 9.3] | - |"


def test_a_table_of_sources_leaves_small_ones_out() -> None:
    sources = [
        {"source": name, "tier": tier, "images": images, "false_positive_rate": rate(0.1)}
        for name, tier, images in (("a", "seen-source", 30), ("b", "unseen-source", 25), ("c", "unseen-source", 24))
    ]
    text = table(TableSpec("x.md", "sources", (Row("main", "m"),)), {"m": {"photo_sources": sources}})
    assert text.split("\n")[2:] == [
        "| main | b | no | 25 | 10.0 % [9.0, 11.0] |",
        "| main | a | yes | 30 | 10.0 % [9.0, 11.0] |",
    ]


def test_a_table_of_folds_names_a_score() -> None:
    parts = [
        {"score": name, "mean": mean, "worst": 0.4, "generators": 0.7} for name, mean in (("all", 0.6), ("head", 0.5))
    ]
    spec = TableSpec("x.md", "folds", (Row("whole", "h"), Row("head", "h", "head")))
    assert table(spec, {"h": {"plain": parts}}).split("\n")[2:] == [
        "| whole | 0.600 | 0.400 | 0.700 |",
        "| head | 0.500 | 0.400 | 0.700 |",
    ]


def test_a_table_with_holes_is_refused() -> None:
    rows = (Row("one", "a"), Row("two", "b"))
    with pytest.raises(RecordError, match="a: has no ap for other"):
        table(TableSpec("x.md", "generators", rows), {"a": report(0.5), "b": report(0.5, ("other",))})
    with pytest.raises(RecordError, match="holds no mean"):
        table(TableSpec("x.md", "tiers", (Row("one", "a", "none"),)), {"a": {"variants": {}}})


def test_a_page_without_the_mark_is_refused() -> None:
    with pytest.raises(RecordError, match="no mark"):
        fill("# Page", {"a": "| |"})
