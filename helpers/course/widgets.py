"""Sliders and quizzes that are alive in JupyterLab and leave a readable picture everywhere else."""

from collections.abc import Callable
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from helpers.course.figures import display_bundle, figure_html, webp_bytes

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def display_widget(widget: ipywidgets.Widget, static_html: str, note: str) -> None:
    """Display a widget together with what a reader sees where no kernel runs.

    JupyterLab shows the widget. GitHub, and the stored notebook, show `static_html`: `course refresh` removes the
    widget's view, because without a kernel it would only say that its model is missing.

    Args:
        widget: any ipywidget, usually a box of labelled controls and an `HTML` widget.
        static_html: a readable stand-in, for example the picture of the first setting.
        note: what the widget does and which controls it has; also the text of plain consoles. nbval compares it.
    """
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    markup = f"{static_html}<p><em>{note}</em></p>"
    display_bundle({WIDGET_VIEW: view, "text/html": markup, "text/plain": note})


def labelled(control: ipywidgets.Widget, name: str) -> ipywidgets.Widget:
    """Give a control a readable label, and let a slider report only when it is let go."""
    control.description = name.replace("_", " ")
    control.style.description_width = "initial"
    if hasattr(control, "continuous_update"):
        control.continuous_update = False
    return control


def explorer_box(draw: Callable[..., Figure], alt: str, **controls: Any) -> ipywidgets.VBox:  # noqa: ANN401
    """Make the widget of `explorer` without displaying it.

    Args:
        draw: takes one value per control, by name, and returns a matplotlib figure.
        alt: what the figure shows at any setting; the settings are added to it.
        controls: see `explorer`.

    Returns:
        A box whose children are the controls, then the picture (an `HTML` widget).

    Raises:
        ValueError: if no control can be made for an argument.
    """
    widgets = {name: labelled(_control(value), name) for name, value in controls.items()}
    picture = ipywidgets.HTML()

    def redraw(_change: object = None) -> None:
        values = {name: widget.value for name, widget in widgets.items()}
        setting = ", ".join(f"{one.description} = {_chosen(one)}" for one in widgets.values())
        fig = draw(**values)
        picture.value = figure_html(webp_bytes(fig), f"{alt} Setting: {setting}.")
        plt.close(fig)

    for widget in widgets.values():
        widget.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*widgets.values(), picture])


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
    box = explorer_box(draw, alt, **controls)
    *widgets, picture = box.children
    names = ", ".join(widget.description for widget in widgets)
    display_widget(box, picture.value, f"Interactive in JupyterLab: run this cell, then change {names}.")


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
