"""Figures of the zoo: the generator wall, kernels and their copies, tables of generators, ratios with intervals."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from helpers.course.figures import PALETTE, figure, image_grid, line_style
from helpers.evaluation.metrics import Interval
from helpers.statistics.residuals import kernel_response, upsample

__all__ = ["kernel_figure", "matrix_figure", "mosaic", "ratio_figure", "slider_kernel", "spectra_figure", "wall_figure"]

LABELS: Mapping[str, str] = MappingProxyType(
    {
        "dcgan": "DCGAN\ntransposed convolution",
        "wgan_gp": "WGAN-GP\nnearest neighbour",
        "lsgan": "LSGAN\nbilinear",
        "style": "style-modulated GAN\nnearest neighbour, blur",
        "shuffle": "sub-pixel GAN\nsub-pixel shuffle",
        "translation": "image-to-image GAN\ntransposed convolution",
        "ddpm": "DDPM\nnearest neighbour",
        "cosine": "cosine, velocity\nsub-pixel shuffle",
        "edm": "EDM\nnearest neighbour, blur",
        "flow": "rectified flow\ntransposed convolution",
        "dit": "diffusion transformer\npatches of 8 x 8",
        "latent": "latent diffusion\nnearest neighbour",
        "seen": "photographs\nthe training scenes",
        "unseen": "photographs\nfour other scenes",
    }
)
"""Generators and two sets of photographs: name for people, and how it enlarges."""
WHITE = 255
DECIBELS = 12.0
"""Difference of two spectra at which colours saturate."""
STEP = 3.0
"""Step of colours in spectra, in decibels: fewer colours store in half the bytes."""


def mosaic(images: Sequence[Tensor], columns: int = 2, gap: int = 2) -> Tensor:
    """Lay pictures of one size side by side, without touching a pixel.

    Args:
        images: uint8, each (3, H, W).
        columns: Pictures per row.
        gap: White pixels between them.

    Returns:
        uint8, (3, H', W').
    """
    height, width = images[0].shape[1:]
    rows = -(-len(images) // columns)
    sheet = torch.full((3, rows * (height + gap) - gap, columns * (width + gap) - gap), WHITE, dtype=torch.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def spectrum_picture(difference: Tensor, zoom: int = 2) -> Tensor:
    """Colour a difference of spectra: purple below, white equal, orange above; 12 dB saturate.

    Args:
        difference: (H, W) in decibels.
        zoom: Whole-number magnification.

    Returns:
        uint8, (3, zoom H, zoom W).
    """
    stepped = difference.round()  # whole decibels store in half the bytes
    scaled = (stepped / (2 * DECIBELS) + 0.5).clamp(0, 1).repeat_interleave(zoom, 0).repeat_interleave(zoom, 1)
    colours = mpl.colormaps["PuOr_r"](scaled.numpy(), bytes=True)[..., :3]
    return torch.from_numpy(np.ascontiguousarray(colours)).permute(2, 0, 1)


def wall_figure(images: Mapping[str, Tensor], spectra: Mapping[str, Tensor], reference: Tensor) -> Figure:
    """Draw two images of each set beside its mean spectrum, compared with that of photographs.

    Args:
        images: Name -> uint8, (at least 2, 3, 64, 64); image i of every generator starts from the same random stream.
        spectra: Name -> (64, 64) mean spectrum in decibels, frequency 0 in the middle.
        reference: (64, 64) the spectrum that they are compared with.

    Returns:
        The figure, to be given to `show`.
    """
    cells = []
    for name, shown in images.items():
        framed = torch.full((3, 130, 134), WHITE, dtype=torch.uint8)
        framed[:, 1:129, 5:133] = spectrum_picture(spectra[name] - reference)
        cells.append(torch.cat([mosaic(list(shown[:2]), columns=1), framed], dim=2))
    labels = [LABELS.get(name, name) for name in images]
    return image_grid(
        [*cells, _colour_scale()], [*labels, f"colours, in dB\n-{DECIBELS:g} ... 0 ... +{DECIBELS:g}"], columns=4
    )


def _colour_scale() -> Tensor:
    """Draw the colours of `spectrum_picture` from low to high: uint8 (3, 130, 150)."""
    sheet = torch.full((3, 130, 150), WHITE, dtype=torch.uint8)
    ramp = torch.linspace(-DECIBELS, DECIBELS, 70).expand(10, 70)
    sheet[:, 55:75, 5:145] = spectrum_picture(ramp)
    return sheet


# Kernels


def slider_kernel(blur: float, imbalance: float) -> Tensor:
    """Make a kernel of four taps for doubling: from pixel repetition over bilinear to a box of four.

    Args:
        blur: 0 repeats pixels, 0.25 interpolates, 0.5 averages four neighbours.
        imbalance: How much more every second tap weighs than the others, -1..1; 0 is fair to all pixels.

    Returns:
        float32, (4,); the taps of each phase sum to 1 + imbalance and 1 - imbalance.
    """
    taps = torch.tensor([blur, 1 - blur, 1 - blur, blur])
    return taps * torch.tensor([1 + imbalance, 1 - imbalance, 1 + imbalance, 1 - imbalance])


def level(picture: Tensor) -> Tensor:
    """Power spectrum of a plane in decibels, without a window, frequency 0 in the middle: (H, W) -> (H, W)."""
    power = torch.fft.fft2(picture.double()).abs().square() / picture.numel()
    shifted: Tensor = torch.fft.fftshift(10 * torch.log10(power + 1e-3))
    return shifted


def spectra_figure(planes: Mapping[str, Tensor], limits: tuple[float, float] = (-10, 60)) -> Figure:
    """Draw planes, and their power spectra below, each plane at its own size.

    Args:
        planes: Name -> float (H, W), 0..255.
        limits: Decibels of black and white.

    Returns:
        The figure, to be given to `show`.
    """
    fig: Figure
    fig, axes = figure(2, len(planes), height=4.4)
    for column, (name, plane) in enumerate(planes.items()):
        axes[0, column].imshow(plane.numpy(), cmap="gray", vmin=0, vmax=255)
        axes[0, column].set_title(name)
        axes[0, column].set_axis_off()
        picture = _draw_level(axes[1, column], plane, limits)
        axes[1, column].tick_params(labelleft=column == 0)
    axes[1, 0].set_ylabel("cycles/pixel")
    fig.colorbar(picture, ax=axes, label="power (dB)", shrink=0.6)
    return fig


def _draw_level(ax: mpl.axes.Axes, plane: Tensor, limits: tuple[float, float]) -> mpl.image.AxesImage:
    """Draw the spectrum of a plane with frequencies on its axes."""
    edges = (-0.5, 0.5, 0.5, -0.5)
    stepped = STEP * (level(plane) / STEP).round()
    picture = ax.imshow(stepped.numpy(), extent=edges, vmin=limits[0], vmax=limits[1], cmap="viridis")
    ax.set(xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
    ax.grid(visible=False)
    return picture


def kernel_figure(plane: Tensor, blur: float, imbalance: float) -> Figure:
    """Double a picture by the kernel of `slider_kernel`: the result, its spectrum, and the kernel's response.

    Args:
        plane: float (H, W), 0..255.
        blur: See `slider_kernel`.
        imbalance: See `slider_kernel`.

    Returns:
        The figure.
    """
    kernel = slider_kernel(blur, imbalance)
    large = upsample(plane, kernel)
    fig: Figure
    fig, axes = figure(1, 3, height=2.9)
    axes[0].imshow(large.numpy(), cmap="gray", vmin=0, vmax=255)
    axes[0].set_axis_off()
    axes[0].set_title("enlarged picture")
    picture = _draw_level(axes[1], large, (-10, 60))
    fig.colorbar(picture, ax=axes[1], label="power (dB)", shrink=0.8)
    axes[1].set_title("its spectrum")
    axes[1].set_xlabel("frequency (cycles/pixel)")
    response = kernel_response(kernel, 128, 128)[:65, 0].abs()
    axes[2].plot(np.arange(65) / 128, response.numpy() / 4, **{**line_style(0), "marker": ""})
    axes[2].set(xlabel="frequency (cycles/pixel)", ylim=(-0.03, 1.05), title="what passes")
    axes[2].axvline(0.25, color="0.5", linestyle=":")
    return fig


# Tables of generators


def matrix_figure(
    values: NDArray[np.float64],
    names: Sequence[str],
    *,
    rows: str,
    columns: str,
    limits: tuple[float, float],
    decimals: int = 0,
    color_map: str = "Blues",
) -> Figure:
    """Draw a square table of generators as a heat map with its numbers written in.

    Args:
        values: (k, k).
        names: Generators.
        rows: Label of the vertical axis.
        columns: Label of the horizontal axis.
        limits: Values of the lightest and the darkest colour.
        decimals: Digits after the point; numbers that round to 0 are left out if there are none.
        color_map: Matplotlib colour map.

    Returns:
        The figure.
    """
    fig: Figure
    fig, ax = figure(width=7, height=5.6)
    ax.pcolormesh(values, cmap=color_map, vmin=limits[0], vmax=limits[1])
    ax.invert_yaxis()
    for (row, column), value in np.ndenumerate(values):
        if decimals or round(value):
            red, green, blue, _ = mpl.colormaps[color_map]((value - limits[0]) / (limits[1] - limits[0]))
            dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
            shown = f"{value:.{decimals}f}"
            ax.text(
                column + 0.5, row + 0.5, shown, ha="center", va="center", fontsize=9, color="white" if dark else "black"
            )
    ticks = np.arange(len(names)) + 0.5
    ax.set(xticks=ticks, yticks=ticks, yticklabels=names, xlabel=columns, ylabel=rows, aspect="equal")
    ax.set_xticklabels(names, rotation=45, ha="right", rotation_mode="anchor")
    ax.grid(visible=False)
    return fig


def ratio_figure(ratios: Mapping[str, Mapping[str, Interval]]) -> Figure:
    """Draw ratios of variance with their intervals on a logarithmic axis.

    Args:
        ratios: Series -> place -> ratio.

    Returns:
        The figure.
    """
    fig: Figure
    fig, ax = figure(width=7.5, height=3.8)
    for index, (series, intervals) in enumerate(ratios.items()):
        places = np.arange(len(intervals)) + 0.16 * (index - (len(ratios) - 1) / 2)
        values = np.array([ratio.value for ratio in intervals.values()])
        ends = np.array([[ratio.low, ratio.high] for ratio in intervals.values()]).T
        style = {**line_style(index), "linestyle": "none"}
        ax.errorbar(places, values, np.abs(ends - values), label=series, capsize=3, **style)
    ax.axhline(1, color=PALETTE[7], linestyle="--")
    ax.set(yscale="log", ylim=(0.01, 200), ylabel="variance between generators\nover that between photographs")
    ax.set(xticks=range(len(next(iter(ratios.values())))), xticklabels=list(next(iter(ratios.values()))))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.22), ncols=len(ratios))
    return fig
