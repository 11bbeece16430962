"""Figures that everyone can read: one style, colours that stay apart for colour-blind readers, and text beside each."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from cycler import cycler
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from helpers.course.environment import outputs_are_checked
from helpers.course.numbering import FIGURES

METADATA_KEY = "natural_traces"
"""Key in an output's metadata for what is stored beside it; nbval does not compare metadata."""
PIXELS_PER_INCH = 100
COLOURS = 256
LEAST_ALT_WORDS = 4
PALETTE: tuple[str, ...] = (
    "#0173b2",
    "#b85000",
    "#029e73",
    "#aa3f93",
    "#6e6e6e",
    "#6b3a00",
    "#2a93c9",
    "#c2185b",
    "#8a8600",
    "#332288",
)
"""Ten colours that stand out from white (3:1 or more); neighbours also differ in marker or dashes."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
LINE_STYLES = ("-", "--", "-.", ":")
REAL_STYLE = {"color": PALETTE[0], "marker": "o", "linestyle": "-"}
"""How photographs are drawn in every lesson; the blue reaches 4.5:1 on white, so it serves for text too."""
FAKE_STYLE = {"color": PALETTE[1], "marker": "s", "linestyle": "--"}
"""How generated images are drawn in every lesson; the orange reaches 4.5:1 on white, so it serves for text too."""


def use_style() -> None:
    """Set matplotlib's defaults for the course; a second call changes nothing."""
    plt.style.use(["seaborn-v0_8-whitegrid", "seaborn-v0_8-notebook"])
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
            "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that figures look alike everywhere
            "legend.frameon": True,
            "lines.markersize": 6,
            "lines.markeredgewidth": 1,
            "patch.linewidth": 1,
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


def exact_png(fig: Figure) -> bytes:
    """Render a figure to PNG with every colour, without a software tag."""
    drawn = io.BytesIO()
    fig.savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()


def palette_png(exact: bytes) -> bytes:
    """Store a picture with a palette, which makes it three times smaller; every viewer shows it.

    A picture of at most 256 colours keeps every pixel; of one with more, each pixel takes the nearest of 256 colours,
    chosen for this picture, without dithering.

    Args:
        exact: a PNG file.

    Returns:
        The PNG file; the same picture gives the same bytes.
    """
    stored = io.BytesIO()
    with Image.open(io.BytesIO(exact)) as opened:
        with_palette(opened.convert("RGB")).save(stored, "PNG", optimize=True)
    return stored.getvalue()


def png_bytes(fig: Figure) -> bytes:
    """Render a figure to a file of its own, with a palette; see `palette_png`."""
    return palette_png(exact_png(fig))


def with_palette(picture: Image.Image) -> Image.Image:
    """Reduce a picture to 256 colours.

    Args:
        picture: RGB.

    Returns:
        The picture with a palette; it is exact where 256 colours are enough.
    """
    packed = np.asarray(picture).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    colours, indices = np.unique(packed, return_inverse=True)
    if len(colours) > COLOURS:
        return picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    result = Image.fromarray(indices.reshape(packed.shape).astype(np.uint8))
    result.putpalette(np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8).tobytes())
    return result


def checked_alt(alt: str) -> str:
    """Return an alt text that may describe something.

    Raises:
        ValueError: if it has fewer than four words.
    """
    if len(alt.split()) < LEAST_ALT_WORDS:
        raise ValueError("alt text must describe the figure: write at least four words")
    return alt


def caption_bundle(number: int, alt: str, caption: str = "") -> dict[str, str]:
    """Make the visible text below a figure; a front end that drops most HTML still shows all of it.

    JupyterLab gives a picture no alt text, so the caption says it too: nobody depends on the pixels.

    Args:
        number: number of the figure.
        alt: what the figure shows.
        caption: short title, or "".

    Returns:
        MIME type -> text.
    """
    title = f"Figure {number}: {caption}".rstrip()
    markup = f"<strong>{html.escape(title, quote=False)}</strong> {html.escape(alt, quote=False)}"
    return {"text/html": markup, "text/plain": f"{title} {alt}"}


def display_bundle(data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
    """Send one output to the notebook; a plain console prints its `text/plain`.

    Args:
        data: MIME type -> content; a front end shows the richest type that it knows.
        metadata: stored with the output and not compared by nbval.
    """
    display(dict(data), raw=True, metadata=dict(metadata or {}))  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Picture:
    """A figure that was drawn.

    Attributes:
        png: a PNG file with every colour.
        alt: what it shows.
        text_pixels: height of its smallest text in pixels of the file; 0 if it holds none.
    """

    png: bytes
    alt: str
    text_pixels: float


def picture(fig: Figure, alt: str) -> Picture:
    """Draw a figure, and close it.

    Args:
        fig: any matplotlib figure.
        alt: what it shows, in one or two sentences.

    Raises:
        ValueError: if the alt text is too short to describe anything.
    """
    png = exact_png(fig)
    plt.close(fig)
    return Picture(png, checked_alt(alt), smallest_text(fig))


def picture_html(drawn: Picture) -> str:
    """Make an HTML image for the value of a live widget; nothing of it is stored.

    Args:
        drawn: the picture; it is embedded.

    Returns:
        An `<img>` element.
    """
    source = base64.b64encode(drawn.png).decode("ascii")
    return f'<img style="max-width:100%" alt="{html.escape(drawn.alt)}" src="data:image/png;base64,{source}"/>'


def smallest_text(fig: Figure) -> float:
    """Measure the smallest visible text of a figure, from the size of its font.

    Args:
        fig: a figure that was drawn.

    Returns:
        Pixels of the stored file; 0 if there is no text.
    """
    texts = [text for text in fig.findobj(Text) if text.get_visible() and text.get_text().strip()]
    points = [float(text.get_fontsize()) for text in texts]
    return min(points, default=0.0) * PIXELS_PER_INCH / 72


def display_picture(drawn: Picture, number: int, *, live: bool = False) -> None:
    """Display a picture with its alt text in the metadata, where nbconvert reads it.

    A reader's own run shows every colour; `refresh` stores a palette.

    Args:
        drawn: the picture.
        number: number of the figure.
        live: whether it stands for a widget.
    """
    png = palette_png(drawn.png) if outputs_are_checked() else drawn.png
    bundle = {
        "image/png": base64.b64encode(png).decode("ascii"),
        "text/plain": f"Figure {number}: {drawn.alt}",
    }
    ours = {"text_pixels": round(drawn.text_pixels, 1), "live": live}
    display_bundle(bundle, metadata={"image/png": {"alt": drawn.alt}, METADATA_KEY: ours})


def show(fig: Figure, alt: str, caption: str = "") -> None:
    """Display a figure and below it its number, caption and alt text; then close it.

    The number counts itself, from 1 in each lesson. nbval compares the text, not the pixels.

    Args:
        fig: the figure.
        alt: what the figure shows, in one or two sentences: axes, groups, and what can be seen.
        caption: optional short title, a phrase with a full stop; without "Figure 2", which is added.

    Raises:
        ValueError: if the alt text is too short to describe anything.
    """
    drawn = picture(fig, alt)
    number = FIGURES.next()
    display_picture(drawn, number)
    display_bundle(caption_bundle(number, alt, caption))


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
