"""What the page shows: the form, the table of statements, and the same table as CSV."""

import csv
import html
import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from helpers.api import Statement

__all__ = ["COLUMNS", "Limits", "Outcome", "csv_table", "page"]

COLUMNS = (
    *("file", "verdict", "base_rate", "probability", "likelihood_ratio", "ratio_low", "ratio_high"),
    *("p_photograph", "p_generated", "reasons", "error"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would compute."""
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What the page takes at a time.

    Attributes:
        count: Pictures.
        bytes: Of one file.
        total: Bytes of all files together.
    """

    count: int = 20
    bytes: int = 25 * MEGABYTE
    total: int = 100 * MEGABYTE

    def sentence(self) -> str:
        """Say the limits."""
        return (
            f"At most {self.count} pictures at a time, {self.bytes // MEGABYTE} MB each and "
            f"{self.total // MEGABYTE} MB together."
        )


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        name: Of the file, as the browser told it.
        statement: What can be said, or None where the file was refused.
        error: Why it was refused, or "".
    """

    name: str
    statement: Statement | None
    error: str = ""

    def row(self) -> dict[str, Any]:
        """Return the values of its row in the table; None where there is none."""
        row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"file": self.name, "error": self.error or None}
        if (one := self.statement) is not None:
            ratio = one.likelihood_ratio
            row |= {"verdict": one.verdict, "base_rate": one.base_rate, "probability": one.probability}
            row |= {"p_photograph": one.p_photograph, "p_generated": one.p_generated}
            row |= {"reasons": " ".join(one.reasons) or None}
            if ratio is not None:
                row |= {"likelihood_ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high}
        return row


def csv_table(outcomes: Sequence[Outcome]) -> str:
    """Write the table; a name that a spreadsheet would take for a formula gets an apostrophe before it.

    Args:
        outcomes: One for each file.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for outcome in outcomes:
        writer.writerow([_cell(value) for value in outcome.row().values()])
    return text.getvalue()


def _cell(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"'{value}" if str(value).startswith(FORMULA) else str(value)


STYLE = """
:root { color-scheme: light dark; --edge: #767676; --soft: #f2f2f2; --ink: #1a1a1a; --link: #005a9c; }
@media (prefers-color-scheme: dark) { :root { --edge: #9a9a9a; --soft: #262626; --ink: #ececec; --link: #8cc4ff; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; color: var(--ink); }
a { color: var(--link); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; }
form { display: grid; gap: .8rem; }
input[type=file] { display: block; width: 100%; box-sizing: border-box; padding: 2.5rem 1rem;
  border: 2px dashed var(--edge); border-radius: .5rem; background: var(--soft); font: inherit; }
input[type=number] { font: inherit; width: 7em; padding: .3rem; }
button { font: inherit; padding: .5rem 1.2rem; justify-self: start; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .35rem .8rem .35rem 0;
  border-bottom: 1px solid var(--edge); vertical-align: top; }
td:first-child { min-width: 8em; overflow-wrap: anywhere; } td.n { white-space: nowrap; }
summary { cursor: pointer; padding: .4rem 0; overflow-wrap: anywhere; }
iframe { width: 100%; height: 48rem; border: 1px solid var(--edge); background: white; color-scheme: light; }
.error { border-left: .4rem solid #b3261e; padding: .3rem .8rem; background: var(--soft); }
"""


def page(limits: Limits, base_rate: float = 0.5, outcomes: Sequence[Outcome] = (), problem: str = "") -> str:
    """Write the whole page.

    Args:
        limits: What it takes at a time.
        base_rate: What the form's field holds.
        outcomes: What became of the files that were sent.
        problem: Why none were taken, or "".
    """
    parts = [
        "<h1>Photograph or generated?</h1>",
        f'<p class="error" role="alert">{html.escape(problem)}</p>' if problem else "",
        _form(limits, base_rate),
        _results(outcomes) if outcomes else "",
        "<p>Pictures stay in this computer's memory until their statement is written, and are then forgotten. "
        "A statement is evidence with a known error rate, and no proof.</p>",
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Natural Traces</title>'
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>'
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _form(limits: Limits, base_rate: float) -> str:
    return f"""<form method="post" action="/" enctype="multipart/form-data">
<label for="pictures">Drop pictures here, or choose them. {limits.sentence()}</label>
<input type="file" id="pictures" name="pictures" accept="image/*,.heic,.heif,.avif,.jp2" multiple required>
<label>Share of generated pictures among those that you ask about:
<input type="number" name="base_rate" min="0.0001" max="0.9999" step="any" value="{base_rate:g}" required></label>
<button>State what can be said</button>
</form>"""


def _results(outcomes: Sequence[Outcome]) -> str:
    data = b64encode(("\ufeff" + csv_table(outcomes)).encode()).decode()
    link = f'<a href="data:text/csv;charset=utf-8;base64,{data}" download="statements.csv">Download the table (CSV)</a>'
    heads = ("file", "verdict", "probability", "likelihood ratio, 95 % interval", "why")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    rows = "\n".join(map(_row, outcomes))
    table = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'
    return f"<h2>Statements</h2>\n{table}\n<p>{link}</p>\n" + "\n".join(map(_details, outcomes))


def _row(outcome: Outcome) -> str:
    name = f"<td>{html.escape(outcome.name)}</td>"
    one = outcome.statement
    if one is None:
        return f"<tr>{name}<td>refused</td><td>-</td><td>-</td><td>{html.escape(outcome.error)}</td></tr>"
    ratio = one.likelihood_ratio
    odds = "-" if ratio is None else f"{ratio.value:.2g} ({ratio.low:.2g} to {ratio.high:.2g})"
    numbers = f'<td class="n">{one.probability:.3f}</td><td class="n">{odds}</td>'
    return f"<tr>{name}<td>{one.verdict}</td>{numbers}<td>{html.escape(' '.join(one.reasons))}</td></tr>"


def _details(outcome: Outcome) -> str:
    """Fold the whole statement of one picture; its own document has no rights."""
    if outcome.statement is None:
        return ""
    name = html.escape(outcome.name)
    frame = f'<iframe sandbox loading="lazy" title="Statement on {name}" srcdoc="'
    return f'<details><summary>{name}</summary>{frame}{html.escape(outcome.statement.to_html())}"></iframe></details>'
