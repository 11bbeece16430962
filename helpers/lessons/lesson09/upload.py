"""A widget that takes a picture from the reader and shows its statement; without a reader it shows a given picture.

The bytes stay in this process's memory: nothing is written, and what is larger than the limits is refused in one line.
"""

import html
from collections.abc import Callable

import ipywidgets

from helpers.course.figures import Picture, caption_bundle, picture, picture_html
from helpers.course.numbering import FIGURES
from helpers.course.widgets import accessible, display_widget, labelled
from helpers.detectors.base import Detector
from helpers.detectors.statement import Statement, explain
from helpers.errors import NaturalTracesError, printable
from helpers.lessons.lesson09.figures import panel_figure

__all__ = ["ALT", "MOST_BYTES", "sentences", "upload", "upload_box"]

MOST_BYTES = 30_000_000
ALT = (
    "Panel of one picture: the picture, a map of its windows, the photographs with the nearest traces, and the numbers."
)
_NOTE = "Interactive in JupyterLab: run this cell, choose a picture of your own, and move the base rate."


def sentences(statement: Statement) -> str:
    """Write everything that a statement says as a list in HTML; texts from the file are escaped."""
    lines = [statement.text, *statement.reasons, *(trace.text for trace in statement.traces)]
    lines += [claim.sentences for claim in statement.claims]
    if not statement.claims:
        lines.append("The file says nothing of its origin, and that says nothing.")
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def upload_box(
    first: Statement, judge: Callable[[bytes, str], Statement], number: int
) -> tuple[ipywidgets.VBox, Picture]:
    """Make the widget without displaying it.

    Args:
        first: What is shown until somebody chooses a picture.
        judge: Content and name of a file -> its statement.
        number: Of the figure.

    Returns:
        A box of button, base rate, message, picture, caption and sentences; and the picture that is stored.
    """
    chooser = ipywidgets.FileUpload(accept="image/*", multiple=False, description="Choose a picture")
    chooser.layout.width = "14em"
    rate = labelled(ipywidgets.FloatLogSlider(value=0.5, base=10, min=-3, max=-0.0458, step=0.05), "base_rate")
    message, image, caption, words = (ipywidgets.HTML() for _ in range(4))
    shown = [first]

    def draw(_change: object = None) -> Picture:
        statement = shown[0].with_base_rate(float(rate.value))
        drawn = picture(panel_figure(statement), f"{ALT} Verdict: {statement.verdict}.")
        image.value, words.value = picture_html(drawn), sentences(statement)
        caption.value = caption_bundle(number, drawn.alt)["text/html"]
        return drawn

    def take(_change: object = None) -> None:
        if not chooser.value:
            return
        file = chooser.value[0]
        message.value = ""
        try:
            shown[0] = _judged(judge, file)
            draw()
        except NaturalTracesError as error:
            message.value = f"<strong>{html.escape(str(error))}</strong>"
        finally:
            chooser.value = ()  # the bytes are kept nowhere

    still = draw()
    chooser.observe(take, names="value")
    rate.observe(draw, names="value")
    return ipywidgets.VBox([chooser, accessible(rate), message, image, caption, words]), still


def _judged(judge: Callable[[bytes, str], Statement], file: dict[str, object]) -> Statement:
    content, name = bytes(file["content"]), printable(str(file["name"]))  # type: ignore[call-overload]
    if len(content) > MOST_BYTES:
        raise NaturalTracesError(f"{name}: {len(content):,} bytes are more than the {MOST_BYTES:,} that are taken here")
    return judge(content, name)


def upload(first: Statement, detector: Detector) -> None:
    """Show the widget.

    Args:
        first: Statement that is shown until somebody chooses a picture, and where no kernel runs.
        detector: Judges what is chosen.
    """
    number = FIGURES.next()
    box, still = upload_box(first, lambda data, name: explain(data, detector, name=name), number)
    display_widget(box, Picture(still.png, ALT, still.text_pixels), _NOTE, number=number)
