"""Markdown made from the records: the page of `data/results`, and tables inside pages that are written by hand.

A table stands between `<!-- table NAME -->` and `<!-- end -->`; `write_pages` fills it from the records that
`results.toml` lists for it, so that no number in it is copied by hand.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from helpers.course import PROJECT
from helpers.course.records import Record, RecordError, Records, Row, TableSpec, read_records
from helpers.course.reproduce import recorded
from helpers.data.files import write_atomic

__all__ = ["TIERS", "fill", "named_table", "pages", "results_page", "table", "write_pages"]

TIERS = {"seen-source": "photo sources seen in training", "unseen-source": "photo sources never seen"}
"""Kind of photographs in a report -> what a table calls it."""

INTRODUCTION = """# Results

Made from `results.toml` by `python -m helpers results --write`; a test proves that both agree.

Each file holds what one command printed: the numbers behind every table and every lesson.
`python -m helpers reproduce NAME` makes one again, trained detectors included, and compares it within its band.
`benchmark` is a set of real photographs and images of named generators that is not part of this project.
The environment variable `NATURAL_TRACES_DATA` says where it lies.
Minutes are those of the last command on one core; `?` where nobody has timed it."""


def results_page(records: Records) -> str:
    """Write the page that lists all records with their steps.

    Args:
        records: As `read_records` returns them.
    """
    lines = [INTRODUCTION, "", "| file | what | where it is stated | band | minutes |", "|---|---|---|---|---|"]
    for name, record in records.records.items():
        minutes = "?" if record.minutes is None else f"{record.minutes:g}"
        lines.append(
            f"| [`{name}.json`](#{_anchor(name)}) | {record.title} | {record.stated} | {_band(record)} | {minutes} |"
        )
    for name in records.records:
        steps = "\n".join(step.command for step in records.steps(name))
        lines += ["", f"## {name}", "", "```", steps, "```"]
    return "\n".join(lines) + "\n"


def _anchor(heading: str) -> str:
    """Name a heading as GitHub and JupyterLab do for headings without spaces: in small letters."""
    return heading.lower()


def _band(record: Record) -> str:
    only = "" if record.band.keys == ("*",) else f" ({', '.join(f'`{key}`' for key in record.band.keys)})"
    return f"{record.band.tolerance:g}{only}"


def table(spec: TableSpec, documents: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out one table, in hundredths with 95 % intervals.

    Args:
        spec: Which rows and columns.
        documents: Name of a record -> its JSON document.

    Returns:
        Markdown; with columns "generators" one table for each kind of photographs.

    Raises:
        RecordError: A record does not hold what the table asks for.
    """
    return _LAYOUTS[spec.columns](spec, documents)


def _tiers(spec: TableSpec, documents: "Documents") -> str:
    """Means alone, one column for each kind of photographs."""
    lines = ["| | " + " | ".join(TIERS.values()) + " |", "|---|" + "---|" * len(TIERS)]
    rows = [_row(row, [_mean(row, documents, tier, spec.metric) for tier in TIERS]) for row in spec.rows]
    return "\n".join(lines + rows)


def _all_generators(spec: TableSpec, documents: "Documents") -> str:
    """One table for each kind of photographs."""
    return "\n\n".join(_by_generator(spec, documents, tier) for tier in TIERS)


Documents = Mapping[str, Mapping[str, Any]]
ENOUGH_PHOTOGRAPHS = 25
"""Photographs that a source needs for a line of its own."""


def _lines(heads: list[str], rows: list[list[str]]) -> str:
    """Lay out a table whose first column is text."""
    cells = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def _rates(spec: TableSpec, documents: Documents) -> str:
    """AUC, photographs called generated and generated pictures recognised; a dash where a set has photographs alone."""
    rows = [[row.label, *_rates_of(row, documents[row.record])] for row in spec.rows]
    return _lines(["", "mean AUC", "photographs called generated", "generated pictures recognised"], rows)


def _rates_of(row: Row, document: Mapping[str, Any]) -> list[str]:
    if "means" not in document:
        rate = next(one for one in document["photographs"] if one["tier"] == row.tier)["false_positive_rate"]
        return ["-", _percent(rate), "-"]
    area, kept, recognised = (
        _mean(row, {row.record: document}, row.tier, name) for name in ("auc", "accuracy_real", "accuracy_fake")
    )
    lost = {"value": 1 - kept["value"], "low": 1 - kept["high"], "high": 1 - kept["low"]}
    return [f"{area['value']:.3f} [{area['low']:.3f}, {area['high']:.3f}]", _percent(lost), _percent(recognised)]


def _percent(rate: Mapping[str, float]) -> str:
    return f"{100 * rate['value']:.1f} % [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def _sources(spec: TableSpec, documents: Documents) -> str:
    """Photographs called generated, source by source, those of unseen sources first."""
    rows = []
    for row in spec.rows:
        many = [one for one in documents[row.record]["photo_sources"] if one["images"] >= ENOUGH_PHOTOGRAPHS]
        for one in sorted(many, key=lambda one: (one["tier"] == "seen-source", one["source"])):
            seen = "yes" if one["tier"] == "seen-source" else "no"
            rows.append([row.label, one["source"], seen, str(one["images"]), _percent(one["false_positive_rate"])])
    return _lines(["track", "photo source", "seen in training", "photographs", "called generated"], rows)


def _folds(spec: TableSpec, documents: Documents) -> str:
    """Mean and worst fold of a hold-out, and the mean over its generators; `variant` names the score."""
    rows = []
    for row in spec.rows:
        wanted = row.variant or "all"
        part = next(one for one in documents[row.record]["plain"] if one["score"] == wanted)
        rows.append([row.label, *(f"{part[name]:.3f}" for name in ("mean", "worst", "generators"))])
    return _lines(["", "mean fold", "worst fold", "mean over generators"], rows)


def _refusals(spec: TableSpec, documents: Documents) -> str:
    """Shares of verdicts with their intervals, and the range over sources (or generators) with enough pictures."""
    rows = []
    for one in (one for row in spec.rows for one in documents[row.record]["rows"]):
        span = "-" if one["lowest"] is None else f"{100 * one['lowest']:.1f} to {100 * one['highest']:.1f} %"
        rows.append([one["name"], f"{one['images']:,}", _percent(one["share"]), span])
    return _lines(["share of", "pictures", "pooled", "over sources"], rows)


_LAYOUTS = {
    "generators": _all_generators,
    "tiers": _tiers,
    "rates": _rates,
    "sources": _sources,
    "folds": _folds,
    "refusals": _refusals,
}
"""What the columns of a table are -> what lays it out; the names are those of `helpers.course.records.COLUMNS`."""


def _by_generator(spec: TableSpec, documents: Mapping[str, Mapping[str, Any]], tier: str) -> str:
    numbers = {row: _generators(documents[row.record], tier, spec.metric) for row in spec.rows}
    names = sorted({name for values in numbers.values() for name in values})
    lines = [f"Against {TIERS[tier]}:", "", "| detector | runs | mean | " + " | ".join(names) + " |"]
    lines.append("|---|---|---|" + "---|" * len(names))
    for row, values in numbers.items():
        if missing := set(names) - set(values):
            raise RecordError(f"{row.record}: has no {spec.metric} for {', '.join(sorted(missing))}")
        mean = _mean(row, documents, tier, spec.metric)
        runs = str(documents[row.record]["runs"])
        lines.append(_row(row, [mean, *(values[name] for name in names)], digits=0, before=[runs]))
    return "\n".join(lines)


def _generators(document: Mapping[str, Any], tier: str, metric: str) -> dict[str, Mapping[str, float]]:
    """Find a metric of each generator against one kind of photographs; none where the report has no such metric."""
    parts = [part for part in document["generators"] if part["tier"] == tier]
    return {part["generator"]: part["metrics"][metric] for part in parts if metric in part["metrics"]}


def _mean(row: Row, documents: Mapping[str, Mapping[str, Any]], tier: str, metric: str) -> Mapping[str, float]:
    """Find a row's mean over the generators that training did not see."""
    document = documents[row.record]
    try:
        means = document["variants"][row.variant]["values"] if row.variant else document["means"]
        one: Mapping[str, float] = next(
            mean["metrics"][metric] for mean in means if (mean["tier"], mean["over"]) == (tier, "unseen")
        )
    except (KeyError, StopIteration):
        raise RecordError(f"{row.record}: holds no mean {metric} for {row.variant or row.label}, {tier}") from None
    return one


def _row(row: Row, values: list[Mapping[str, float]], digits: int = 1, before: list[str] | None = None) -> str:
    cells = [f"{100 * v['value']:.1f} [{100 * v['low']:.{digits}f}, {100 * v['high']:.{digits}f}]" for v in values]
    return "| " + " | ".join([row.label, *(before or []), *cells]) + " |"


def named_table(name: str, metric: str | None = None, folder: Path | None = None) -> str:
    """Make one table of `results.toml`.

    Args:
        name: Of the table.
        metric: Instead of the table's own.
        folder: Holds `results.toml` and the records; `data/results` when None.

    Raises:
        RecordError: There is no such table, or a record does not hold what it asks for.
        ReproduceError: A record is missing.
    """
    tables = read_records(folder).tables
    if name not in tables:
        raise RecordError(f"{name}: no such table (known: {', '.join(tables)})")
    spec = tables[name] if metric is None else replace(tables[name], metric=metric)
    return table(spec, {row.record: recorded(row.record, folder) for row in spec.rows})


def fill(text: str, tables: Mapping[str, str]) -> str:
    r"""Put tables between their marks.

    Args:
        text: Markdown with `<!-- table NAME -->` and `<!-- end -->` around each.
        tables: Name -> Markdown.

    Raises:
        RecordError: A mark is missing.

    >>> fill("<!-- table a -->old<!-- end -->", {"a": "new"})
    '<!-- table a -->\n\nnew\n\n<!-- end -->'
    """
    for name, content in tables.items():
        place = re.compile(rf"(<!-- table {re.escape(name)} -->).*?(<!-- end -->)", re.DOTALL)
        if not place.search(text):
            raise RecordError(f"no mark <!-- table {name} --> with an <!-- end --> after it")
        text = place.sub(lambda match, content=content: f"{match[1]}\n\n{content}\n\n{match[2]}", text)  # type: ignore[misc]
    return text


def pages(project: Path = PROJECT) -> dict[Path, str]:
    """Make every page that depends on the records.

    Args:
        project: Folder of the checkout.

    Returns:
        File -> the text that it should have.

    Raises:
        RecordError: Description, records and pages do not fit together.
    """
    folder = project / "data" / "results"
    records = read_records(folder)
    texts = {folder / "README.md": results_page(records)}
    for name, spec in records.tables.items():
        path = project / spec.file
        before = texts[path] if path in texts else path.read_text(encoding="utf-8")
        texts[path] = fill(before, {name: named_table(name, folder=folder)})
    return texts


def write_pages(project: Path = PROJECT) -> list[Path]:
    """Write every page that depends on the records; return those that changed."""
    texts = pages(project)
    changed = [path for path, text in texts.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in changed:
        write_atomic(path, texts[path].encode())
    return changed
