"""Whether a picture resembles any that a detector learnt from: how far its features lie from where theirs lie.

A score says which of two known kinds a picture is nearer to; of noise, a chart or a pattern, which are far from both,
it says nothing, and yet it is a number. So the features of known pictures, photographs and generated ones, are
modelled by their main directions, and what a picture has outside these is measured (the reconstruction error of
principal components, as in ViM: Wang et al., CVPR 2022, arXiv 2203.10807). The limit is fixed on pictures whose source
or generator took no part in the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from helpers.data.files import StorageError
from helpers.detectors.config import DetectorError
from helpers.detectors.linear import TraceSubspace
from helpers.evaluation.metrics.conformal import weighted_quantiles
from helpers.training import read_weights, save_weights
from helpers.training.storage import fill

__all__ = ["FeatureRange", "fit_range"]

DIRECTIONS, FOLDS, SHARE = 128, 5, 0.99


@dataclass(frozen=True, eq=False)
class FeatureRange:
    """Where the features of known pictures lie.

    Attributes:
        subspace: Their main directions.
        limit: Root mean square of what known pictures have outside these, that `share` of them stay below.
        share: Of known pictures of held-out sources and generators, all sources and generators weighing alike.
    """

    subspace: TraceSubspace
    limit: float
    share: float

    @torch.inference_mode()
    def ratio(self, features: Tensor) -> float:
        """Measure how far features lie outside, as a multiple of the limit; above 1 the picture resembles no known one.

        Args:
            features: Of one or more windows of a picture, float (n, d).

        Returns:
            The mean over the windows.
        """
        return float(_outside(self.subspace, features).mean()) / self.limit

    def save(self, path: Path) -> None:
        """Write a safetensors file, in half precision."""
        save_weights(self.subspace, path, metadata={"limit": self.limit, "share": self.share}, half=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            StorageError: The file is unsound.
        """
        tensors, metadata = read_weights(path)
        try:
            directions, width = tensors["basis"].shape
            limit, share = float(metadata["limit"]), float(metadata["share"])
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{path.name}: holds no range of features: {error}") from None
        subspace = TraceSubspace(width, directions)
        fill(subspace, tensors, path.name)
        return cls(subspace, limit, share)


def _outside(subspace: TraceSubspace, features: Tensor) -> Tensor:
    """Root mean square of what features have outside a subspace: (n, d) -> (n,)."""
    distances: Tensor = (subspace(features.float()) / 2).exp()
    return distances


def fit_range(
    features: Tensor,
    groups: Sequence[str],
    *,
    directions: int = DIRECTIONS,
    folds: int = FOLDS,
    share: float = SHARE,
    seed: int = 0,
) -> FeatureRange:
    """Model the features of known pictures, and fix the limit on groups that are left out in turn.

    Args:
        features: Of windows of known pictures, float (N, d).
        groups: Photo source or generator of each, (N,).
        directions: That are kept.
        folds: Parts into which the groups fall; each is left out once.
        share: Of left-out pictures that lie inside, every group weighing alike.
        seed: Which groups make a fold.

    Returns:
        The range.

    Raises:
        DetectorError: There are too few groups, or too few pictures beside a fold.
    """
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < folds:
        raise DetectorError(f"{len(names)} photo sources and generators are too few: {folds} are needed")
    fold_of = np.random.default_rng(seed).permutation(len(names))[members] % folds
    distances = np.empty(len(features))
    for fold in range(folds):
        left_out = torch.from_numpy(fold_of == fold)
        distances[left_out.numpy()] = _outside(_model(features[~left_out], directions), features[left_out]).numpy()
    (limit,) = weighted_quantiles(distances, 1 / np.bincount(members)[members], [share])
    return FeatureRange(_model(features, directions), float(limit), share)


def _model(features: Tensor, directions: int) -> TraceSubspace:
    if len(features) <= directions:
        raise DetectorError(f"{len(features)} pictures are too few for {directions} directions")
    subspace = TraceSubspace(features.shape[1], directions)
    subspace.fit(features.float())
    return subspace
