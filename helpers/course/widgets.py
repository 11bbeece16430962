"""Sliders and quizzes that are alive in JupyterLab and leave a readable picture everywhere else."""

import html
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from helpers.course.environment import outputs_are_checked
from helpers.course.figures import Picture, caption_bundle, display_bundle, display_picture, picture, picture_html
from helpers.course.numbering import FIGURES

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
LIVE = "natural-traces-live"
"""Class of the box of every widget that is alive."""
SLIDERS = (ipywidgets.IntSlider, ipywidgets.FloatSlider, ipywidgets.FloatLogSlider)
STYLE = f"""<style>
.jp-OutputArea-child:has(.{LIVE}) + .jp-OutputArea-child,
.jp-OutputArea-child:has(.{LIVE}) + .jp-OutputArea-child + .jp-OutputArea-child {{ display: none; }}
.jp-OutputArea-child:has(> .jp-OutputArea-output.jupyter-widgets) {{ display: none; }}
</style>"""
"""JupyterLab shows a live widget in place of the two outputs after it, the picture and its caption.

Where the widget's kernel is gone, JupyterLab says only "model not found"; that line goes, and picture and caption stay.
"""


def display_widget(widget: ipywidgets.Box, still: Picture, note: str, *, number: int | None = None) -> None:
    """Display a widget, and what a reader sees where no kernel runs.

    Three outputs: the live view, the picture, and its caption with the note. A front end with a kernel shows the live
    view in their place. `course refresh` stores no view. A reader's own file may hold one; opened again with a new
    kernel it shows nothing, and the picture is there.

    Args:
        widget: a box of labelled controls and `HTML` widgets.
        still: the picture of the first setting.
        note: what the widget does and which controls it has; nbval compares it.
        number: number of the figure; the next one when None.
    """
    number = FIGURES.next() if number is None else number
    widget.add_class(LIVE)
    display_bundle({WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}})
    display_picture(still, number, live=True)
    caption = caption_bundle(number, still.alt)
    # A stored style would be shown as text where HTML is made safe, so only a live session gets one.
    style = "" if outputs_are_checked() else STYLE
    caption["text/html"] += f" <em>{html.escape(note, quote=False)}</em>{style}"
    caption["text/plain"] += f" {note}"
    display_bundle(caption)


def labelled(control: ipywidgets.Widget, name: str) -> ipywidgets.Widget:
    """Give a control a readable label, and let a slider report only when it is let go.

    The label is also the control's name for screen readers: ipywidgets ties a description to its control.
    """
    control.description = name.replace("_", " ")
    control.style.description_width = "initial"
    if hasattr(control, "continuous_update"):
        control.continuous_update = False
    return control


def accessible(control: ipywidgets.Widget) -> ipywidgets.Widget:
    """Put a labelled number field before a slider.

    ipywidgets gives a slider's handle no name, so a screen reader would say "slider" and nothing else. The field has
    one, and takes numbers and arrow keys.

    Args:
        control: a labelled control.

    Returns:
        A row of field and slider, which follow each other; any other control as it is.
    """
    if not isinstance(control, SLIDERS):
        return control
    is_whole = isinstance(control, ipywidgets.IntSlider)
    logarithmic = isinstance(control, ipywidgets.FloatLogSlider)
    field = (ipywidgets.BoundedIntText if is_whole else ipywidgets.BoundedFloatText)(
        value=control.value,
        min=control.base**control.min if logarithmic else control.min,
        max=control.base**control.max if logarithmic else control.max,
        step=None if logarithmic else control.step,
        description=control.description,
    )
    field.style.description_width = "initial"
    field.layout.width = "14em"
    ipywidgets.link((control, "value"), (field, "value"))
    control.description, control.readout, control.tabbable = "", False, False
    return ipywidgets.HBox([field, control])


def explorer_box(
    draw: Callable[..., Figure],
    alt: str,
    number: int,
    /,
    **controls: Any,  # noqa: ANN401
) -> tuple[ipywidgets.VBox, Picture]:
    """Make the widget of `explorer` without displaying it.

    Args:
        draw: takes one value per control, by name, and returns a matplotlib figure.
        alt: what the figure shows at any setting; the settings are added to it.
        number: number of the figure.
        controls: see `explorer`.

    Returns:
        A box whose children are the controls, then the picture and its caption (`HTML` widgets); and the picture of
        the first setting, as it is stored.

    Raises:
        ValueError: if no control can be made for an argument.
    """
    widgets = {name: labelled(_control(value), name) for name, value in controls.items()}
    image, caption = ipywidgets.HTML(), ipywidgets.HTML()

    def redraw(_change: object = None) -> Picture:
        fig = draw(**{name: widget.value for name, widget in widgets.items()})
        text = f"{alt} Setting: {setting(widgets)}."
        drawn = picture(fig, text)
        image.value, caption.value = picture_html(drawn), caption_bundle(number, text)["text/html"]
        return drawn

    still = redraw()
    for widget in widgets.values():
        widget.observe(redraw, names="value")
    return ipywidgets.VBox([*map(accessible, widgets.values()), image, caption]), still


def explorer(draw: Callable[..., Figure], alt: str, **controls: Any) -> None:  # noqa: ANN401
    """Show a figure with one control per argument; the figure is drawn again whenever a control changes.

    Args:
        draw: takes one value per control, by name, and returns a matplotlib figure.
        alt: what the figure shows at any setting; the settings are added to it.
        controls: for each argument of `draw` an ipywidget, or what `ipywidgets.interact` takes: (low, high) or
            (low, high, step) for a slider, a list or mapping for a menu, True or False for a box to tick.

    Raises:
        ValueError: if no control can be made for an argument.
    """
    number = FIGURES.next()
    box, still = explorer_box(draw, alt, number, **controls)
    names = ", ".join(name.replace("_", " ") for name in controls)
    display_widget(box, still, f"Interactive in JupyterLab: run this cell, then change {names}.", number=number)


def setting(controls: Mapping[str, ipywidgets.Widget]) -> str:
    """Say where controls stand: "scale = 2, colour = red"."""
    return ", ".join(f"{name.replace('_', ' ')} = {_chosen(control)}" for name, control in controls.items())


def _chosen(widget: ipywidgets.Widget) -> str:
    """Say what a control stands at: a menu by the name that it shows, a number without rounding errors."""
    value = getattr(widget, "label", widget.value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _control(value: Any) -> ipywidgets.Widget:  # noqa: ANN401
    """Return a widget as it is, or make one from the short form that `ipywidgets.interact` takes."""
    if isinstance(value, ipywidgets.Widget):
        return value
    widget = ipywidgets.interactive.widget_from_abbrev(value)
    if widget is None:
        raise ValueError(f"no control can be made from {value!r}")
    return widget
