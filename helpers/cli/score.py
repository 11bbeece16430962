"""`natural-traces score`: one row for each picture - photograph or generated?"""

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.cli import Status
from helpers.cli.common import (
    BatchSize,
    DetectorName,
    Device,
    InterruptedRunError,
    OnError,
    WhenRefused,
    Workers,
    only_writer,
    tell,
)
from helpers.errors import NaturalTracesError, printable

if TYPE_CHECKING:
    from helpers.api import Detector
    from helpers.detectors.predict import Prediction
    from helpers.detectors.statement import Statement

COLUMNS = ("path", "score", "probability", "verdict", "error")
HEAD = f"{'verdict':<13}{'probability':>11}{'score':>10}  path"
REFUSED = "refused"
P_VALUES = ("p_photograph", "p_generated")


class Form(StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class Engine(StrEnum):
    """Where pictures are scored."""

    HERE = "here"
    RAY = "ray"


@dataclass(frozen=True)
class Row:
    """One picture.

    Attributes:
        path: As it was named.
        score: Higher means more like a generated picture; None where the file was refused.
        probability: Of being generated, where half of all pictures are; None where the file was refused.
        verdict: "photograph", "generated" or "inconclusive"; "" where the file was refused.
        error: Why it was refused, or "".
        more: Further entries of a JSON object, such as p-values.
    """

    path: str
    score: float | None
    probability: float | None
    verdict: str
    error: str
    more: dict[str, Any] = field(default_factory=dict, compare=False)


class RowsError(NaturalTracesError):
    """A file of rows that cannot be begun or continued."""


def score(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, patterns; - for a list on standard input.")],
    detector: DetectorName = None,
    setting: Annotated[
        str, typer.Option(help="default, or fast: fewer windows of a large picture; less sure, several times as fast.")
    ] = "default",
    device: Device = "auto",
    batch: BatchSize = None,
    workers: Workers = None,
    on_error: WhenRefused = OnError.SKIP,
    out: Annotated[
        Path | None, typer.Option(help="Write rows to this file: CSV, or JSON Lines if it ends in .jsonl.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the file of --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values with a head.")] = False,
    explain: Annotated[
        Path | None,
        typer.Option(help="Write a statement on each picture to this folder: JSON, and a page to open in a browser."),
    ] = None,
    base_rate: Annotated[
        float, typer.Option(help="Share of generated pictures that the statements of --explain hold for.")
    ] = 0.5,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")] = False,
    engine: Annotated[
        Engine, typer.Option(help="here, or ray: on several processes or machines; --out is a folder of Parquet then.")
    ] = Engine.HERE,
    shard: Annotated[int, typer.Option(min=1, help="Images of one Parquet file of --engine ray.")] = 4096,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes of --engine ray; one for each core or GPU when left out.")
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each process of --engine ray.")] = 0,
) -> None:
    """Score pictures: one row each, with path, score, probability of being generated, verdict and error.

    A file that cannot be read is a row that says why; exit status 2 if there was one. The probability holds where half
    of all pictures are generated.
    """
    from helpers.data.inputs import find_inputs

    if engine is Engine.RAY:
        if explain is not None:
            raise typer.BadParameter("--explain needs --engine here")
        _score_with_ray(list(_named(paths)), (detector, device, setting), out, (shard, processes, workers, gpus), quiet)
        return
    form = _form(as_json, as_csv, out)
    _check_out(out, resume)
    _check_explain(explain, base_rate)
    inputs = find_inputs(_named(paths))
    if not len(inputs):
        raise NaturalTracesError(f"{', '.join(map(printable, paths))}: no picture found{_left_out(inputs.left_out)}")
    with ExitStack() as stack:
        if out is not None:
            stack.enter_context(only_writer(out))
        finished = _read_rows(out, form) if out is not None and resume and out.exists() else []
        judge = _load(detector, device, setting)
        _check_same(judge, finished)
        write = _writer(form, out, finished, stack)
        known = {row.path for row in finished}
        rest = [path for path in inputs.paths if path not in known]
        refused = {path: reason for path, reason in inputs.refused.items() if path not in known}
        if explain is None:
            rows = _rows(judge, rest, refused, batch, workers)
        else:
            rows = _explained(judge, rest, refused, explain, base_rate)
        counts = _write_all(rows, write, len(rest) + len(refused), on_error, quiet, out)
    if not quiet:
        known_part = f", {len(finished):,} known before" if finished else ""
        tell(f"{_summary(counts)}{known_part}{_left_out(inputs.left_out)}")
    if counts[REFUSED]:
        raise typer.Exit(Status.FAILED)


def _score_with_ray(
    paths: list[str],
    which: tuple[str | None, str, str],
    out: Path | None,
    sizes: tuple[int, int | None, int | None, float],
    quiet: bool,
) -> None:
    """Score by the engine: Parquet files of rows in a folder, and a summary with the peak of memory."""
    from functools import partial

    from tqdm import tqdm

    from helpers.api import detector_folder, load_detector
    from helpers.data.memory import peak_memory
    from helpers.detectors import engine, registry

    if out is None:
        raise typer.BadParameter("--engine ray needs --out FOLDER")
    if out.is_file():
        raise RowsError(f"{out}: a file, where --engine ray needs a folder")
    detector, device, setting = which
    rows, processes, threads, gpus = sizes
    folder = detector_folder(detector).absolute()
    shards = engine.plan(paths, rows)
    config = registry.load_detector(folder).config.at(setting)  # reading it needs no exported network
    identity = json.dumps([registry.weights_hash(folder), config.values()])
    load = partial(load_detector, folder, device="cuda" if gpus else device, setting=setting)

    def progress(done: "Iterable[engine.Done]") -> "Iterable[engine.Done]":
        return tqdm(done, total=len(shards), unit="shard", disable=True if quiet else None, leave=False)

    kept = f"interrupted: {out} keeps the shards that are done; the same command does the rest"
    try:
        done = engine.score_with_ray(
            load, identity, shards, out, workers=processes, threads=threads or 2, gpus=gpus, progress=progress
        )
    except KeyboardInterrupt:
        raise InterruptedRunError(kept) from None
    images, refused = (sum(getattr(one, name) for one in done) for name in ("images", "refused"))
    known = sum(one.images for one in done if not one.seconds)
    peaks = f"peak memory {max(one.peak_mb for one in done):,.0f} MB a worker, {peak_memory() or 0:,.0f} MB here"
    if not quiet:
        tell(f"{images:,} picture(s) in {len(done):,} shard(s), {refused:,} refused, {known:,} known before; {peaks}")
    if refused:
        raise typer.Exit(Status.FAILED)


def _load(which: str | None, device: str, setting: str) -> "Detector":
    from helpers.api import load_detector

    return load_detector(which, device=device, setting=setting)


def _named(paths: Sequence[str]) -> Iterator[str]:
    """Replace `-` by the list on the standard input."""
    from helpers.data.inputs import read_list

    for path in paths:
        if path == "-":
            yield from read_list(sys.stdin.buffer.read())
        else:
            yield path


def _rows(
    judge: "Detector", paths: Sequence[str], refused: dict[str, str], batch: int | None, workers: int | None
) -> Iterator[Row]:
    """Score files one after the other; what names nothing comes first."""
    yield from _refused(refused)
    for one in judge.predict(paths, batch=batch, workers=workers):
        verdict, error = one.verdict or "", one.error or ""
        yield Row(str(one.path), _short(one.score), _short(one.probability), verdict, error, _p_values(one))


def _p_values(said: "Prediction | Statement") -> dict[str, Any]:
    return {name: _short(value) for name in P_VALUES if (value := getattr(said, name)) is not None}


def _refused(reasons: dict[str, str]) -> Iterator[Row]:
    return (Row(path, None, None, "", reason) for path, reason in reasons.items())


def _check_explain(folder: Path | None, base_rate: float) -> None:
    if not 0 < base_rate < 1:
        raise typer.BadParameter("--base-rate lies between 0 and 1")
    if folder is not None and not folder.is_dir():
        if folder.exists() or not folder.parent.is_dir():
            raise RowsError(f"{folder}: --explain needs a folder, or a new name in one")
        folder.mkdir()


def _explained(
    judge: "Detector", paths: Sequence[str], refused: dict[str, str], folder: Path, base_rate: float
) -> Iterator[Row]:
    """Write a statement on each picture; its verdict, which may be a refusal, is that of the row."""
    import numpy as np

    from helpers.api import explain

    yield from _refused(refused)
    for path in paths:
        try:
            statement = explain(path, judge, base_rate)
        except NaturalTracesError as error:
            yield Row(path, None, None, "", str(error).removeprefix(f"{path}: "))
            continue
        _write_statement(statement, folder / _stem(path))
        reasons = {"reasons": list(statement.reasons)} if statement.reasons else {}
        probability = _short(float(judge.probability(np.array([statement.score]))[0]))  # at a base rate of one half
        yield Row(path, _short(statement.score), probability, statement.verdict, "", _p_values(statement) | reasons)


def _write_statement(statement: "Statement", stem: Path) -> None:
    from helpers.data.files import write_atomic

    document = json.dumps(statement.to_dict(), indent=1, ensure_ascii=False) + "\n"
    for ending, text in ((".json", document), (".html", statement.to_html())):
        write_atomic(stem.with_name(stem.name + ending), text.encode("utf-8", "backslashreplace"))


def _stem(path: str) -> str:
    """Name a picture's statement: its own name, made safe, and a part of the hash of its whole path."""
    import hashlib

    mark = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in Path(path).name)
    return f"{name[:80]}-{mark}"


def _short(value: float | None) -> float | None:
    """Keep six digits."""
    return None if value is None else float(f"{value:.6g}")


def _write_all(
    rows: Iterator[Row],
    write: Callable[[Row], None],
    total: int,
    on_error: OnError,
    quiet: bool,
    out: Path | None,
) -> Counter[str]:
    """Write rows as they come; count verdicts and refused files.

    Raises:
        NaturalTracesError: A file was refused, and `on_error` says stop; or Ctrl-C.
    """
    from tqdm import tqdm

    counts: Counter[str] = Counter()
    with tqdm(total=total, unit="image", disable=True if quiet else None, leave=False) as bar:
        try:
            for row in rows:
                with bar.external_write_mode(sys.stdout):
                    write(row)
                counts[row.verdict or REFUSED] += 1
                bar.update()
                if row.error and on_error is OnError.STOP:
                    raise NaturalTracesError(f"{printable(row.path)}: {row.error}")
        except KeyboardInterrupt:
            more = f"; with --resume the rest is added to {out}" if out else "; --out FILE --resume can do the rest"
            raise InterruptedRunError(f"interrupted: {counts.total():,} of {total:,} rows are written{more}") from None
    return counts


def _summary(counts: Counter[str]) -> str:
    return f"{counts.total():,} picture(s)" + "".join(f", {count:,} {name}" for name, count in sorted(counts.items()))


def _left_out(reasons: Counter[str]) -> str:
    parts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
    return f"; left out: {parts}" if parts else ""


# Rows as text


def _form(as_json: bool, as_csv: bool, out: Path | None) -> Form:
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    if as_json or (out is not None and not as_csv and out.suffix in (".jsonl", ".json", ".ndjson")):
        return Form.JSON
    return Form.CSV if as_csv or out is not None else Form.TABLE


def _text(row: Row, form: Form, encoding: str) -> str:
    """Write one row, line end included."""
    values = [getattr(row, name) for name in COLUMNS]
    if form is Form.JSON:
        document = {name: None if value == "" else value for name, value in zip(COLUMNS, values, strict=True)}
        return _json_line(document | row.more, encoding)
    if form is Form.CSV:
        return _csv_line(["" if value is None else value for value in values])
    if row.error:
        return f"{REFUSED:<13}{'-':>11}{'-':>10}  {printable(row.path)}: {row.error}\n"
    return f"{row.verdict:<13}{row.probability:>11.3f}{row.score:>10.3f}  {printable(row.path)}\n"


def _json_line(document: dict[str, Any], encoding: str) -> str:
    line = json.dumps(document, ensure_ascii=False)
    try:
        line.encode(encoding)
    except UnicodeEncodeError:  # a name that is not UTF-8, or a console that cannot show it
        line = json.dumps(document)
    return line + "\n"


def _csv_line(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _writer(form: Form, out: Path | None, finished: Sequence[Row], stack: ExitStack) -> Callable[[Row], None]:
    """Make what writes one row; each row is written whole and at once."""
    head = {Form.TABLE: HEAD + "\n", Form.CSV: _csv_line(COLUMNS), Form.JSON: ""}[form]
    if out is None:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(head)

        def write(row: Row) -> None:
            sys.stdout.write(_text(row, form, encoding))
            sys.stdout.flush()

        return write
    from helpers.data.files import write_atomic

    text = head + "".join(_text(row, form, "utf-8") for row in finished)
    write_atomic(out, text.encode("utf-8", "surrogateescape"))
    file = stack.enter_context(out.open("ab", buffering=0))
    return lambda row: _write_whole(file, _text(row, form, "utf-8").encode("utf-8", "surrogateescape"))


def _write_whole(file: io.RawIOBase | io.FileIO, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += file.write(data[written:]) or 0


# A file that is continued


def _check_out(out: Path | None, resume: bool) -> None:
    if out is None:
        if resume:
            raise typer.BadParameter("--resume needs --out FILE")
        return
    if out.is_dir():
        raise RowsError(f"{out}: a folder, where --out needs a file")
    if not out.parent.is_dir():
        raise RowsError(f"{out.parent}: no such folder")
    if out.exists() and not resume:
        raise RowsError(f"{out}: exists; --resume does what is missing, or choose another file")


def _read_rows(path: Path, form: Form) -> list[Row]:
    """Read the rows of an earlier run; a last row that was cut off is left out.

    Raises:
        RowsError: The file holds something else.
    """
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    whole = text[: text.rfind("\n") + 1]
    try:
        if form is Form.JSON:
            values = [json.loads(line) for line in whole.splitlines()]
            return [Row(*(_or_empty(name, value[name]) for name in COLUMNS)) for value in values]
        head, *lines = list(csv.reader(io.StringIO(whole, newline=""))) or [list(COLUMNS)]
        if tuple(head) != COLUMNS:
            raise ValueError("another head")
        return [
            Row(path, _number(score), _number(probability), verdict, error)
            for path, score, probability, verdict, error in (line for line in lines if len(line) == len(COLUMNS))
        ]
    except (ValueError, KeyError, TypeError, csv.Error):
        raise RowsError(f"{path}: holds no rows of `score` in this form; choose another file") from None


def _or_empty(name: str, value: Any) -> Any:  # noqa: ANN401
    return "" if value is None and name in ("verdict", "error") else value


def _number(text: str) -> float | None:
    return float(text) if text else None


def _check_same(judge: "Detector", finished: Sequence[Row]) -> None:
    """Score one finished picture again: rows of another detector must not be mixed with these.

    Raises:
        RowsError: The score differs.
    """
    row = next((row for row in finished if row.score is not None and Path(row.path).is_file()), None)
    if row is None or row.score is None:
        return
    again = next(iter(judge.predict([row.path]))).score
    if again is None or abs(again - row.score) > 0.02 + 0.02 * abs(row.score):
        raise RowsError(f"{printable(row.path)}: scores differently now; the file is another, or the detector was")
