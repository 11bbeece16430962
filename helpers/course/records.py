"""The recorded results, as `data/results/results.toml` describes them: what they are, how they are made and repeat.

A record is one JSON file that one command prints. Where that command needs trained detectors, `needs` names the runs
that make them, and a run may need other runs: from these follows the list of steps, in order, from nothing to the
record. In a command, `{seed}` stands for each seed: a run's command is repeated for each, and in a record's command
the option that holds it is.
"""

import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from helpers.data.places import shipped
from helpers.errors import NaturalTracesError

__all__ = ["FILE", "Band", "Record", "RecordError", "Records", "Row", "Run", "Step", "TableSpec", "read_records"]

FILE = "results.toml"
PROGRAM = "python -m helpers "
SEED = "{seed}"


class RecordError(NaturalTracesError):
    """The description of the results is not sound."""


@dataclass(frozen=True)
class Band:
    """How near a number must come to the recorded one.

    Attributes:
        tolerance: Largest absolute difference.
        keys: Patterns of the numbers that are compared, such as `*.ap.value`; see `helpers.course.reproduce.numbers`.
        without: Patterns of numbers that are left out, such as times.
    """

    tolerance: float = 0.02
    keys: tuple[str, ...] = ("*",)
    without: tuple[str, ...] = ("*seconds*", "*minutes*")

    def covers(self, name: str) -> bool:
        """Tell whether a number is compared."""
        return any(fnmatchcase(name, key) for key in self.keys) and not any(
            fnmatchcase(name, key) for key in self.without
        )


@dataclass(frozen=True)
class Step:
    """One command on the way to a record.

    Attributes:
        command: Starts with `python -m helpers`.
        makes: Folders that hold a trained detector afterwards; none for the command that prints the record.
    """

    command: str
    makes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """What trains or combines detectors.

    Attributes:
        command: With `{seed}`: repeated for each seed; without: run once.
        makes: Folder of a detector, with `{seed}`.
        seeds: One detector each.
        needs: Runs whose detectors it reads.
    """

    command: str
    makes: str
    seeds: tuple[int, ...]
    needs: tuple[str, ...] = ()

    def steps(self, seeds: Sequence[int]) -> tuple[Step, ...]:
        """List its commands: one for each of the wanted seeds, or one for all."""
        wanted = [seed for seed in self.seeds if seed in seeds]
        if SEED not in self.command:
            return (Step(self.command, tuple(self.makes.replace(SEED, str(seed)) for seed in wanted)),)
        return tuple(
            Step(self.command.replace(SEED, str(seed)), (self.makes.replace(SEED, str(seed)),)) for seed in wanted
        )


@dataclass(frozen=True)
class Record:
    """One file of results.

    Attributes:
        title: What it tells.
        stated: Where its numbers are stated.
        command: Prints it as one JSON document.
        seeds: What `{seed}` stands for.
        needs: Runs whose detectors it reads.
        band: How near it repeats.
        minutes: What `command` takes on one core, roughly; None where nobody has timed it.
    """

    title: str
    stated: str
    command: str
    seeds: tuple[int, ...] = ()
    needs: tuple[str, ...] = ()
    band: Band = Band()
    minutes: float | None = None

    def step(self) -> Step:
        """Return its command, with every option that holds `{seed}` repeated for each seed."""
        words = shlex.split(self.command)
        full: list[str] = []
        for option, value in zip(words, [*words[1:], ""], strict=True):
            if SEED in value:
                full += [part for seed in self.seeds for part in (option, value.replace(SEED, str(seed)))]
            elif SEED not in option:
                full.append(option)
        return Step(shlex.join(full))


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        label: What the table calls it.
        record: The record that it comes from.
        variant: Which one, in an ablation study.
        tier: Against which photographs, where a row has numbers of one kind alone; see `helpers.course.pages.TIERS`.
    """

    label: str
    record: str
    variant: str = ""
    tier: str = ""


COLUMNS = ("generators", "tiers", "rates", "sources", "folds", "refusals")
"""What the columns of a table may be; see `TableSpec`."""


@dataclass(frozen=True)
class TableSpec:
    """One table of Markdown that is made from records.

    Attributes:
        file: Where it stands, relative to the project; between `<!-- table NAME -->` and `<!-- end -->`.
        columns: "generators" (one table for each kind of photographs), "tiers" (means alone), "rates" (AUC, and what is
            called generated at the stored threshold), "sources" (the same for each photo source with enough
            photographs), "folds" (a hold-out: mean and worst fold) or "refusals" (verdicts that may be inconclusive).
        rows: In order.
        metric: Of `helpers.evaluation.report.METRICS`.
    """

    file: str
    columns: str
    rows: tuple[Row, ...]
    metric: str = "ap"


@dataclass(frozen=True)
class Records:
    """Everything that `results.toml` says.

    Attributes:
        records: Name of a file without its ending -> the record.
        runs: Name -> what makes detectors.
        tables: Name -> a table of Markdown.
    """

    records: Mapping[str, Record]
    runs: Mapping[str, Run]
    tables: Mapping[str, TableSpec] = field(default_factory=dict)

    def steps(self, name: str) -> tuple[Step, ...]:
        """List the commands from nothing to a record, each once, in an order in which they can run.

        Raises:
            RecordError: There is no such record.
        """
        if name not in self.records:
            raise RecordError(f"{name or 'no name'}: no such result (known: {', '.join(self.records)})")
        record = self.records[name]
        before = (step for run in self._ordered(record.needs) for step in self.runs[run].steps(record.seeds))
        return (*before, record.step())

    def _ordered(self, names: Sequence[str], above: tuple[str, ...] = ()) -> tuple[str, ...]:
        """List runs after those that they need."""
        order: dict[str, None] = {}
        for name in names:
            if name in above:
                raise RecordError(f"{FILE}: the runs {' -> '.join((*above, name))} need each other")
            order |= dict.fromkeys((*self._ordered(self.runs[name].needs, (*above, name)), name))
        return tuple(order)


def read_records(folder: Path | None = None) -> Records:
    """Read and check the description of the results.

    Args:
        folder: Holds `results.toml`; `data/results` when None.

    Raises:
        RecordError: It is missing, is no TOML, has an unknown or ill-typed entry, or names a run or record that it
            does not describe.
    """
    path = (folder or shipped("results")) / FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path.name}: cannot be read: {error}") from None
    if unknown := set(document) - {"run", "record", "table"}:
        raise RecordError(f"{path.name}: unknown entries {', '.join(sorted(unknown))}")
    runs = {name: _made(Run, values, name) for name, values in document.get("run", {}).items()}
    records = {name: _record(values, name) for name, values in document.get("record", {}).items()}
    tables = {name: _table(values, name) for name, values in document.get("table", {}).items()}
    described = Records(records, runs, tables)
    for problem in _problems(described):
        raise RecordError(f"{path.name}: {problem}")
    return described


def _made(kind: type[Any], values: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401
    """Make a dataclass of a TOML table; lists become tuples."""
    frozen = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    known = {entry.name for entry in fields(kind)}
    if unknown := set(frozen) - known:
        raise RecordError(f"{name}: unknown entries {', '.join(sorted(unknown))} (known: {', '.join(sorted(known))})")
    try:
        return kind(**frozen)
    except TypeError as error:
        raise RecordError(f"{name}: {error}") from None


def _record(values: Mapping[str, Any], name: str) -> Record:
    inside = {entry.name for entry in fields(Band)}
    band = _made(Band, {key: value for key, value in values.items() if key in inside}, name)
    rest = {key: value for key, value in values.items() if key not in inside}
    if "band" in rest:
        raise RecordError(f"{name}: unknown entries band (its parts are {', '.join(sorted(inside))})")
    made: Record = _made(Record, {**rest, "band": band}, name)
    return made


def _table(values: Mapping[str, Any], name: str) -> TableSpec:
    rows = [_made(Row, row, name) for row in values.get("rows", [])]
    made: TableSpec = _made(TableSpec, {**values, "rows": rows}, name)
    return made


def _problems(described: Records) -> Iterator[str]:
    """Say what does not fit together."""
    entries: list[tuple[str, Run | Record]] = [*described.runs.items(), *described.records.items()]
    for name, entry in entries:
        if not entry.command.startswith(PROGRAM):
            yield f"{name}: the command does not start with {PROGRAM.strip()}"
        if missing := set(entry.needs) - set(described.runs):
            yield f"{name}: needs the unknown runs {', '.join(sorted(missing))}"
            return
        if not entry.seeds and (SEED in entry.command or entry.needs):
            yield f"{name}: has no seeds"
    for name, run in described.runs.items():
        described._ordered([name])
        if SEED not in run.makes and len(run.seeds) > 1:
            yield f"{name}: makes one folder with several seeds"
    for name, table in described.tables.items():
        if missing := {row.record for row in table.rows} - set(described.records):
            yield f"table {name}: unknown records {', '.join(sorted(missing))}"
        if table.columns not in COLUMNS:
            yield f"table {name}: columns are {' or '.join(COLUMNS)}, not {table.columns}"
