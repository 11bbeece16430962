"""Co-occurrences of neighbouring residuals: what a local neighbourhood looks like, counted over a whole image.

A residual is divided by a step, rounded and cut to -2..2. Three neighbours in a row form a triple, one of 125. An image
is described by how often each triple occurs, for seven families of residuals and directions, two steps, and two scales
(native, and halved by averaging whole pixels). A triple, its negative and its mirror image share one count, since
photographs have no preferred sign or direction; 39 kinds remain. In all 7 x 2 x 2 x 39 = 1,092 shares.

Counting is not differentiable, costs some ten milliseconds an image, and has no weights: a small network on top learns
in seconds what a convolutional one learns in an hour.

Source: the spatial rich model of Fridrich and Kodovsky, IEEE TIFS 7(3), 2012, doi 10.1109/TIFS.2012.2190402, in a
small form of ours; co-occurrences of fakes: Nataraj et al. 2019, arXiv 1903.06836.
"""

import functools

import torch
from torch import Tensor

from helpers.data.images import LUMA_WEIGHTS

__all__ = ["KINDS", "WIDTH", "cooccurrences", "triple_kinds"]

REACH = 2
LEVELS = 2 * REACH + 1
STEPS = (1.0, 2.0)
SCALES = 2
_FAMILIES = (
    (("h", 0, 1), ("v", 1, 0)),
    (("h", 1, 0), ("v", 0, 1)),
    (("hh", 0, 1), ("vv", 1, 0)),
    (("hh", 1, 0), ("vv", 0, 1)),
    (("d", 0, 1), ("d", 1, 0)),
    (("k", 0, 1), ("k", 1, 0)),
    (("k", 1, 1), ("k", 1, -1)),
)
"""Residuals (see `_residuals`) and the step from one neighbour to the next in rows and columns; a family, one count."""


@functools.cache
def triple_kinds() -> Tensor:
    """Number the kinds of triples: a triple, its negative, its mirror image and the negative of that are one kind.

    Returns:
        int64 (125,): kind of the triple with code (a * 5 + b) * 5 + c, each of a, b, c in 0..4.
    """
    code = torch.arange(LEVELS**3)
    a, b, c = code // LEVELS**2, code // LEVELS % LEVELS, code % LEVELS
    top = LEVELS - 1

    def encoded(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return (x * LEVELS + y) * LEVELS + z

    alike = torch.stack(
        [code, encoded(top - a, top - b, top - c), encoded(c, b, a), encoded(top - c, top - b, top - a)]
    )
    kinds: Tensor = torch.unique(alike.amin(dim=0), return_inverse=True)[1]
    return kinds


KINDS = int(triple_kinds().max()) + 1
"""Kinds of triples: 39."""
WIDTH = SCALES * len(STEPS) * len(_FAMILIES) * KINDS
"""Length of a description: 1,092."""


def cooccurrences(images: Tensor) -> Tensor:
    """Describe images by the square roots of the shares of triples (so that Euclidean distance is Hellinger's).

    Args:
        images: (n, 3, H, W), 0..255, sides at least 16.

    Returns:
        float32 (n, 1092), on the images' device.
    """
    luma = _luma(images)
    height, width = luma.shape[1] // 2 * 2, luma.shape[2] // 2 * 2
    halved = luma[:, :height, :width].unfold(1, 2, 2).unfold(2, 2, 2).mean(dim=(3, 4))
    kinds = triple_kinds().to(images.device)
    return torch.cat([_counts(planes, kinds) for planes in (luma, halved)], dim=1)


def _luma(images: Tensor) -> Tensor:
    """Weigh the colours: (n, 3, H, W), 0..255 -> float32 (n, H, W), the same to the last bit wherever it is computed.

    A last digit decides where a residual lies between two levels, as it does wherever neighbours differ by one grey
    level, and a matrix product rounds in an order that hangs on batch, layout and processor. So each term is added
    exactly (in float64) and rounded once, red first, as a fused multiply-add does: the product on most processors.
    """
    device = images.device
    planes = images.cpu() if device.type == "mps" else images  # which has no float64
    weights = torch.tensor(LUMA_WEIGHTS).double().tolist()
    total: Tensor = torch.zeros((), device=planes.device)
    for plane, weight in zip(planes.unbind(dim=1), weights, strict=True):
        total = (total.double() + plane.double() * weight).float()
    return total.to(device)


def _residuals(planes: Tensor) -> dict[str, Tensor]:
    """First and second differences, the diagonal difference, and a Laplacian of grey planes (n, H, W)."""
    h, v = planes.diff(dim=2), planes.diff(dim=1)
    up, middle, down = planes[:, :-2], planes[:, 1:-1], planes[:, 2:]
    corners = up[..., :-2] + up[..., 2:] + down[..., :-2] + down[..., 2:]
    sides = up[..., 1:-1] + down[..., 1:-1] + middle[..., :-2] + middle[..., 2:]
    k = sides / 2 - corners / 4 - middle[..., 1:-1]
    return {"h": h, "v": v, "hh": h.diff(dim=2), "vv": v.diff(dim=1), "d": h.diff(dim=1), "k": k}


def _counts(planes: Tensor, kinds: Tensor) -> Tensor:
    """Square roots of the shares of all kinds, families and steps: (n, H, W) -> (n, 546)."""
    histograms, residuals = [], _residuals(planes)
    for step in STEPS:
        levels = {name: _quantised(values, step) for name, values in residuals.items()}
        for family in _FAMILIES:
            codes = torch.cat([_triples(levels[name], down, right) for name, down, right in family], dim=1)
            counts = torch.stack([torch.bincount(row, minlength=LEVELS**3) for row in codes]).float()
            shares = counts.new_zeros(len(planes), KINDS).index_add_(1, kinds, counts) / codes.shape[1]
            histograms.append(shares.sqrt())
    return torch.cat(histograms, dim=1)


def _quantised(values: Tensor, step: float) -> Tensor:
    """Round to whole steps and cut: values 0..4, uint8 (as are the codes of triples, at most 124)."""
    return (values / step).round_().clamp_(-REACH, REACH).add_(REACH).to(torch.uint8)


def _triples(levels: Tensor, down: int, right: int) -> Tensor:
    """Codes of all triples in one direction: (n, H, W) -> (n, N)."""
    if right < 0:
        levels, right = levels.flip(2), -right
    rows, columns = levels.shape[1] - 2 * down, levels.shape[2] - 2 * right
    first, second, third = (
        levels[:, turn * down : turn * down + rows, turn * right : turn * right + columns] for turn in range(3)
    )
    return (first * LEVELS).add_(second).mul_(LEVELS).add_(third).flatten(1)
