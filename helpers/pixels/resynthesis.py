"""Re-synthesised photographs: a generator in miniature.

A decoder learns from photographs what small pieces of them look like, and paints an image from few numbers per piece.
The model here is the smallest such autoencoder: principal components of 8 x 8 colour patches. Its copies keep the
content of a photograph and lose what lies outside the learnt components: fine grain, and the chance relations between
neighbouring pixels. It stands in for the generators of lesson 02 where only the content-matched pair matters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from helpers.data.images import Image, random_crop, to_float, to_uint8
from helpers.errors import NaturalTracesError

__all__ = ["PatchModel", "ResynthesisError", "fit_patch_model", "resynthesise"]


class ResynthesisError(NaturalTracesError):
    """Photographs or settings that no copies can be made of."""


@dataclass(frozen=True)
class PatchModel:
    """Mean and principal components of colour patches.

    Attributes:
        mean: float32 (3 * size * size,), values in [0, 1].
        components: float32 (K, 3 * size * size), orthonormal rows, most important first.
        size: Side of a patch in pixels.
    """

    mean: Tensor
    components: Tensor
    size: int


def fit_patch_model(
    photographs: Sequence[Image], *, size: int = 8, components: int = 96, patches: int = 4000, seed: int = 0
) -> PatchModel:
    """Learn the principal components of random patches.

    Args:
        photographs: Images, uint8 (3, H, W), each side at least `size`.
        size: Side of a patch in pixels.
        components: Number of components, at most 3 * size * size.
        patches: Patches per photograph.
        seed: Seed of their places.

    Returns:
        The model.

    Raises:
        ResynthesisError: There are no photographs, or fewer patch values than components.
    """
    from sklearn.decomposition import PCA

    if not photographs or not 1 <= components <= 3 * size * size:
        raise ResynthesisError(f"needs photographs and 1 to {3 * size * size} components, got {components}")
    generator = torch.Generator().manual_seed(seed)
    views = [random_crop(img, size, generator) for img in photographs for _ in range(patches)]
    rows = to_float(torch.stack(views)).flatten(1).double().numpy()
    fitted = PCA(components, svd_solver="covariance_eigh").fit(rows)
    return PatchModel(torch.from_numpy(fitted.mean_).float(), torch.from_numpy(fitted.components_).float(), size)


def resynthesise(img: Image, model: PatchModel, components: int = 24, stride: int = 4) -> Image:
    """Paint an image anew from few numbers per patch; overlapping patches are averaged.

    Args:
        img: uint8 (3, H, W).
        model: Patch model.
        components: How many numbers describe a patch; fewer make a poorer copy.
        stride: Step between patches in pixels, a divisor of the patch's side.

    Returns:
        Copy of the same size, uint8 (3, H, W).

    Raises:
        ResynthesisError: More components than the model has, or a stride that leaves gaps.
    """
    if not 1 <= components <= len(model.components) or model.size % stride:
        raise ResynthesisError(f"{components} components with stride {stride} do not fit this model")
    height, width = img.shape[1:]
    # Mirror the edges so that every pixel lies in equally many patches.
    margin = model.size - stride
    below, right = -(height + 2 * margin - model.size) % stride, -(width + 2 * margin - model.size) % stride
    padded = functional.pad(to_float(img)[None], (margin, margin + right, margin, margin + below), mode="reflect")
    columns = functional.unfold(padded, model.size, stride=stride)[0].T - model.mean
    basis = model.components[:components]
    painted = ((columns @ basis.T) @ basis + model.mean).T[None]
    shape, size = padded.shape[2:], model.size
    overlap = functional.fold(torch.ones_like(painted), shape, size, stride=stride)
    copy = (functional.fold(painted, shape, size, stride=stride) / overlap)[0]
    return to_uint8(255 * copy[:, margin : margin + height, margin : margin + width])
