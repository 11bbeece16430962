"""Figures that everyone can read: one style, colours that stay apart for colour-blind readers, and text beside each."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from cycler import cycler
from IPython.display import display
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

PIXELS_PER_INCH = 100
MOST_COLOUR_SHIFT = 0.25
"""Mean change of a colour value (of 255) up to which a drawing is stored with a palette."""
PALETTE: tuple[str, ...] = tuple(sns.color_palette("colorblind").as_hex())
"""Ten colours that stay apart under the common kinds of colour blindness."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
LINE_STYLES = ("-", "--", "-.", ":")
REAL_STYLE = {"color": PALETTE[0], "marker": "o", "linestyle": "-"}
"""How photographs are drawn in every lesson."""
FAKE_STYLE = {"color": PALETTE[1], "marker": "s", "linestyle": "--"}
"""How generated images are drawn in every lesson."""


def use_style() -> None:
    """Set matplotlib's defaults for the course; a second call changes nothing."""
    sns.set_theme(context="notebook", style="whitegrid", palette=list(PALETTE))
    # Neighbouring lines differ in colour and in dashes, so that no line is told by its colour alone.
    dashes = [LINE_STYLES[index % len(LINE_STYLES)] for index in range(len(PALETTE))]
    plt.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=list(PALETTE)) + cycler(linestyle=dashes),
            "figure.dpi": PIXELS_PER_INCH,
            "savefig.dpi": PIXELS_PER_INCH,
            "figure.constrained_layout.use": True,
            "image.cmap": "viridis",
            "image.interpolation": "nearest",
            "axes.titlesize": 12,
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
        }
    )


def line_style(index: int) -> dict[str, str]:
    """Return colour, marker and dashes for the series with this number, so that it differs in more than colour.

    Args:
        index: number of the series, from 0.

    Returns:
        Keyword arguments for `ax.plot`.
    """
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINE_STYLES[index % len(LINE_STYLES)],
    }


def figure(rows: int = 1, columns: int = 1, *, width: float = 8.0, height: float = 3.5, **options: Any) -> Any:  # noqa: ANN401
    """Open a figure of the course's size.

    Args:
        rows: rows of axes.
        columns: columns of axes.
        width: width of the whole figure in inches; 8 fills the notebook's column.
        height: height of the whole figure in inches.
        options: more arguments for `plt.subplots`, such as `sharey=True`.

    Returns:
        (fig, ax) for one pair of axes, else (fig, array of axes), as `plt.subplots` does.
    """
    return plt.subplots(rows, columns, figsize=(width, height), **options)


def _rendered(fig: Figure) -> Image.Image:
    """Render a figure.

    Drawings are stored with a palette of 256 colours, which makes them three times smaller. A figure that holds a
    picture keeps every colour: its pixels may be what it is about.

    Args:
        fig: any matplotlib figure.

    Returns:
        The picture, with a palette or in RGB.
    """
    drawn = io.BytesIO()
    fig.savefig(drawn, format="png")
    with Image.open(drawn) as picture:
        exact = picture.convert("RGB")
    few = exact.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    shift = np.abs(np.asarray(few.convert("RGB"), dtype=np.int16) - np.asarray(exact, dtype=np.int16)).mean()
    most = 0.0 if any(ax.images for ax in fig.axes) else MOST_COLOUR_SHIFT
    return few if shift <= most else exact


def png_bytes(fig: Figure) -> bytes:
    """Render a figure to a file of its own.

    Args:
        fig: any matplotlib figure.

    Returns:
        The PNG file, without a software tag, so that the same drawing gives the same bytes.
    """
    stored = io.BytesIO()
    _rendered(fig).save(stored, "PNG", optimize=True)
    return stored.getvalue()


def webp_bytes(fig: Figure) -> bytes:
    """Render a figure for a notebook: lossless WebP, about a quarter smaller than PNG, which every browser shows.

    Args:
        fig: any matplotlib figure.

    Returns:
        The WebP file; its pixels are those of `png_bytes`.
    """
    stored = io.BytesIO()
    _rendered(fig).convert("RGB").save(stored, "WEBP", lossless=True, quality=80, method=4)
    return stored.getvalue()


def figure_html(webp: bytes, alt: str, caption: str = "") -> str:
    """Wrap a WebP picture in HTML that carries its alt text twice: for screen readers, and visibly below the picture.

    HTML is needed because JupyterLab sets no `alt` for a bare `image/png` output.

    Args:
        webp: a WebP file, as `webp_bytes` makes it.
        alt: what the picture shows, in one or two sentences.
        caption: optional short title, shown before the alt text.

    Returns:
        A `<figure>` element; the picture is embedded, so that it needs no other file.

    Raises:
        ValueError: if the alt text is too short to describe anything.
    """
    if len(alt.split()) < 4:
        raise ValueError("alt text must describe the figure: write at least four words")
    source = base64.b64encode(webp).decode("ascii")
    title = f"<strong>{html.escape(caption)}</strong> " if caption else ""
    img = f'<img style="max-width:100%" alt="{html.escape(alt)}" src="data:image/webp;base64,{source}"/>'
    text = f"<figcaption>{title}{html.escape(alt, quote=False)}</figcaption>"
    return f'<figure style="margin:0">{img}{text}</figure>'


def display_bundle(data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
    """Send one output to the notebook; a plain console prints its `text/plain`.

    Args:
        data: MIME type -> content; a front end shows the richest type that it knows.
        metadata: stored with the output and not compared by nbval.
    """
    display(dict(data), raw=True, metadata=dict(metadata or {}))  # type: ignore[no-untyped-call]


def show(fig: Figure, alt: str, caption: str = "") -> None:
    """Display a figure with its alt text as a visible caption, then close it.

    nbval compares caption and alt text, not the pixels (notebooks/.nbval-sanitize.cfg cuts them out).

    Args:
        fig: the figure.
        alt: what the figure shows, in one or two sentences: axes, groups, and what can be seen.
        caption: optional short title such as "Figure 2.".
    """
    webp = webp_bytes(fig)
    plt.close(fig)
    markup = figure_html(webp, alt, caption)
    display_bundle({"text/html": markup, "text/plain": f"Figure: {alt}"})


def to_array(img: torch.Tensor | NDArray[Any]) -> NDArray[Any]:
    """Turn an image into what `imshow` takes.

    Args:
        img: (3, H, W) or (1, H, W) or (H, W) tensor, or an array of shape (H, W), (H, W, 3) or (3, H, W);
            uint8 0..255 or float in [0, 1].

    Returns:
        Array of shape (H, W) or (H, W, 3), same dtype.
    """
    array = img.detach().cpu().numpy() if isinstance(img, torch.Tensor) else np.asarray(img)
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = np.moveaxis(array, 0, -1)
    return array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array


def image_grid(
    images: Sequence[torch.Tensor | NDArray[Any]],
    labels: Sequence[str],
    *,
    columns: int = 4,
    zoom: int = 1,
    limits: tuple[float, float] | None = None,
    color_map: str = "gray",
) -> Figure:
    """Lay out images in a grid, a label under each; one image pixel covers exactly `zoom` x `zoom` screen pixels.

    Nothing is resampled, because resampling destroys the very traces that the course looks at.

    Args:
        images: images as for `to_array`; sizes may differ, the largest sets the grid.
        labels: one text per image.
        columns: images per row.
        zoom: whole-number magnification (nearest neighbour).
        limits: (lowest, highest) value for grey images, shared by all; None: 0..255 for uint8, else each image's own.
        color_map: matplotlib colour map for grey images.

    Returns:
        The figure, to be given to `show`.

    Raises:
        ValueError: if there is no image, or not one label per image.
    """
    if not images or len(images) != len(labels):
        raise ValueError(
            f"need one label per image, and at least one image: {len(images)} images, {len(labels)} labels"
        )
    arrays = [to_array(img) for img in images]
    gap, label_height = 8, 18 + 15 * max(label.count("\n") for label in labels)
    cell_width = max(array.shape[1] for array in arrays) * zoom + gap
    cell_height = max(array.shape[0] for array in arrays) * zoom + gap + label_height
    columns = min(columns, len(arrays))
    width, height = columns * cell_width, -(-len(arrays) // columns) * cell_height
    fig = plt.figure(figsize=(width / PIXELS_PER_INCH, height / PIXELS_PER_INCH), dpi=PIXELS_PER_INCH, layout="none")
    for index, (array, label) in enumerate(zip(arrays, labels, strict=True)):
        row, column = divmod(index, columns)
        tall, wide = array.shape[0] * zoom, array.shape[1] * zoom
        left, top = column * cell_width + gap // 2, row * cell_height + gap // 2
        ax = fig.add_axes((left / width, 1 - (top + tall) / height, wide / width, tall / height))
        low, high = limits or ((0, 255) if array.dtype == np.uint8 else (None, None))
        ax.imshow(array, cmap=color_map, vmin=low, vmax=high, interpolation="nearest", aspect="auto")
        ax.set_axis_off()
        ax.text(0.5, -4 / tall, label, transform=ax.transAxes, ha="center", va="top", fontsize=9)
    return fig
