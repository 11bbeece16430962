"""A statement as one self-contained page of HTML: nothing is fetched, no script runs, and every text is escaped."""

import base64
import html
import io
from functools import cache

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from helpers.data import catalog
from helpers.data.images import Image, to_pil
from helpers.detectors.statement import PatchMap, Statement

__all__ = ["map_picture", "statement_html"]

THUMBNAIL = 120
LOW, HIGH = (0, 114, 178), (213, 94, 0)
"""Blue for windows like photographs, orange for windows like generated pictures."""
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5em auto; max-width: 60em; padding: 0 1em; color: #1a1a1a; }
h1 { font-size: 1.25em; overflow-wrap: anywhere; } h2 { font-size: 1.05em; margin: 1.2em 0 .3em; }
.verdict { border-left: .4em solid #666; padding: .4em .8em; background: #f4f4f4; }
.pictures { display: flex; flex-wrap: wrap; gap: 1em; } figure { margin: 0; }
figcaption { color: #444; font-size: .9em; max-width: 28em; } img { max-width: 100%; height: auto; }
table { border-collapse: collapse; } td, th { padding: .2em .8em .2em 0; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
"""


def map_picture(preview: Image, patches: PatchMap) -> PillowImage.Image:
    """Lay the probabilities of the windows over the small copy, each with its number.

    Args:
        preview: uint8 (3, h, w), a small copy.
        patches: The map.

    Returns:
        The copy in grey with one coloured, numbered box for each window, at the size of the copy or 320 pixels.
    """
    picture = to_pil(preview).convert("L").convert("RGB")
    factor = max(1.0, 320 / max(picture.size))
    picture = picture.resize((round(picture.width * factor), round(picture.height * factor)))
    values = np.array(patches.probabilities)
    rows, columns = values.shape
    colours = PillowImage.new("RGB", (columns, rows))
    colours.putdata([_colour(float(value)) for value in values.ravel()])
    picture = PillowImage.blend(picture, colours.resize(picture.size, PillowImage.Resampling.NEAREST), 0.45)
    draw = ImageDraw.Draw(picture)
    for (row, column), value in np.ndenumerate(values):
        place = (column + 0.5) * picture.width / columns, (row + 0.5) * picture.height / rows
        draw.text(place, f"{100 * value:.0f}", fill="white", anchor="mm", stroke_width=2, stroke_fill="black")
    return picture


def _colour(value: float) -> tuple[int, int, int]:
    """Blend from blue over white to orange."""
    end, share = (HIGH, 2 * value - 1) if value > 0.5 else (LOW, 1 - 2 * value)
    red, green, blue = (round(255 + share * (part - 255)) for part in end)
    return red, green, blue


def statement_html(statement: Statement) -> str:
    """Write the page.

    Args:
        statement: Its texts may come from strangers: they are escaped.

    Returns:
        A whole document.
    """
    name = html.escape(statement.path)
    body = [
        f"<h1>{name}</h1>",
        f'<p class="verdict"><strong>{statement.verdict}</strong>. {html.escape(statement.text)}</p>',
        *(f"<p>{html.escape(reason)}</p>" for reason in statement.reasons),
        _numbers(statement),
        '<div class="pictures">',
        _figure(to_pil(statement.preview), f"The picture, {statement.width} x {statement.height} pixels."),
        _figure(
            map_picture(statement.preview, statement.patches),
            "Windows alone, each with its probability in percent of being generated at a base rate of one half. "
            "One window says less than the whole; look for a part that differs from the rest.",
        ),
        "</div>",
        _near(statement),
        "<h2>What was done to the pixels</h2>",
        _list([trace.text for trace in statement.traces]),
        "<h2>What the file says of itself</h2>",
        _claims(statement),
        "<p>A statement is evidence with a known error rate; it changes with the base rate, and no decision about a "
        "person should rest on it alone.</p>",
    ]
    head = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
    return f"{head}</head><body>\n" + "\n".join(body) + "\n</body></html>\n"


def _numbers(statement: Statement) -> str:
    ratio = statement.likelihood_ratio
    rows = [("base rate", f"{statement.base_rate:.3g}"), ("probability of generated", f"{statement.probability:.3f}")]
    if ratio is not None:
        rows.append(("likelihood ratio", f"{ratio.value:.3g}, 95 % interval {ratio.low:.3g} to {ratio.high:.3g}"))
    if statement.p_photograph is not None and statement.p_generated is not None:
        rows.append(("p-value of photograph", f"{statement.p_photograph:.3f}"))
        rows.append(("p-value of generated", f"{statement.p_generated:.3f}"))
    cells = "".join(f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in rows)
    return f"<table>{cells}</table>"


def _near(statement: Statement) -> str:
    if not statement.neighbours:
        return ""
    figures = []
    for one in statement.neighbours:
        figures.append(_figure(_thumbnail(one.name), f"{one.title}, similarity {one.similarity:.2f}"))
    heading = "<h2>Photographs of the package with the most similar traces</h2>"
    return f'{heading}<div class="pictures">{"".join(figures)}</div>'


@cache
def _thumbnail(name: str) -> PillowImage.Image:
    """Make a small copy of a photograph of the package, once."""
    picture = to_pil(catalog.photograph(name))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    return picture


def _claims(statement: Statement) -> str:
    if not statement.claims:
        return "<p>Nothing about its origin. Most programs take such words out, so that says nothing.</p>"
    return _list([claim.sentences for claim in statement.claims])


def _list(lines: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _figure(picture: PillowImage.Image, caption: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # a third of the time of level 6
    source = base64.b64encode(buffer.getvalue()).decode()
    words = html.escape(caption)
    return f'<figure><img src="data:image/png;base64,{source}" alt="{words}"><figcaption>{words}</figcaption></figure>'
