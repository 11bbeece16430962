"""First digits of block-DCT coefficients: Benford's law, and the grid of an earlier JPEG that breaks it.

Coefficients are in 8-bit units. Those below 0.01 are dropped: in flat blocks they are rounding errors of the
transform, not of the picture. The default grid starts at (4, 4), half a block off the JPEG grid, so that the
statistic speaks about the photograph; at (0, 0) an earlier JPEG quantisation shows.
"""

import torch
from scipy.fft import dctn
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from helpers.statistics.luminance import StatisticsError, as_luminance

SMALLEST_COEFFICIENT = 0.01
ON_A_BORDER = 1e-9
OFF_GRID = (4, 4)
ON_GRID = (0, 0)


def block_dct(img: Tensor, size: int = 8, offset: tuple[int, int] = ON_GRID) -> Tensor:
    """Orthonormal type-II DCT of non-overlapping blocks, in 8-bit units (as a JPEG encoder sees them, unquantised).

    Args:
        img: image or grey plane, see `as_luminance`.
        size: side of a block in pixels.
        offset: first row and column of the grid; incomplete blocks are dropped.

    Returns:
        float64 tensor (rows, columns, size, size); [..., 0, 0] is the DC term.

    Source: Ahmed, Natarajan and Rao (1974), doi 10.1109/T-C.1974.223784.
    """
    plane = as_luminance(img)[offset[0] :, offset[1] :] * 255 - 128
    rows, columns = plane.shape[0] // size, plane.shape[1] // size
    blocks = plane[: rows * size, : columns * size].reshape(rows, size, columns, size).transpose(1, 2)
    return torch.from_numpy(dctn(blocks.numpy(), type=2, norm="ortho", axes=(-2, -1)))


def first_digits(values: Tensor) -> Tensor:
    """First significant decimal digit of each value that is at least `SMALLEST_COEFFICIENT` in size.

    A value less than a part in 10^9 below the next digit counts as on it. Many coefficients of 8-bit pictures are exact
    decimals such as 0.5; the transform's rounding errors, some 10^-13 of either sign, must not choose their digit.

    Args:
        values: tensor of any shape.

    Returns:
        int64 tensor (kept,) of digits 1..9.
    """
    size = values.abs().flatten().to(torch.float64) * (1 + ON_A_BORDER)
    size = size[size >= SMALLEST_COEFFICIENT]
    mantissa = size / 10 ** size.log10().floor()
    return torch.where(mantissa < 1, 10 * mantissa, mantissa).long().clamp(1, 9)  # log10 may round up to a whole number


def benford_law() -> Tensor:
    """Probability of the first digits 1..9 of numbers whose logarithm is spread evenly: log10(1 + 1 / digit)."""
    return torch.log10(1 + 1 / torch.arange(1, 10, dtype=torch.float64))


def benford_histogram(coefficients: Tensor) -> Tensor:
    """Share of each first digit among the AC coefficients of DCT blocks.

    Args:
        coefficients: tensor (..., size, size) of DCT blocks; the DC term of each block is left out.

    Returns:
        float64 tensor (9,), sums to 1.

    Raises:
        StatisticsError: if no coefficient is large enough.

    Source: Fu, Shi and Su (2007), doi 10.1117/12.704723.
    """
    digits = first_digits(coefficients.flatten(-2)[..., 1:])
    if not digits.numel():
        raise StatisticsError("no AC coefficient is large enough to have a first digit")
    return torch.bincount(digits, minlength=10)[1:].to(torch.float64) / digits.numel()


def benford_divergence(histogram: Tensor) -> float:
    """Jensen-Shannon divergence between digit shares and Benford's law.

    A distance, not a p-value: a photograph has some hundred thousand coefficients, so that every test rejects.

    Args:
        histogram: tensor (9,) that sums to 1.

    Returns:
        Divergence in bits, 0 (equal) to 1.
    """
    return float(jensenshannon(histogram.numpy(), benford_law().numpy(), base=2) ** 2)


def benford_distance(img: Tensor, offset: tuple[int, int] = OFF_GRID) -> float:
    """Divergence of an image's block-DCT first digits from Benford's law, in millibits."""
    return 1000 * benford_divergence(benford_histogram(block_dct(img, offset=offset)))
