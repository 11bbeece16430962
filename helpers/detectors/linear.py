"""Linear models on features: fitted once in closed form or by scikit-learn, run by torch."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["LinearScore", "TraceSubspace", "Whitening"]


class Whitening(nn.Module):
    """Principal components with unit variance; fitted once, then fixed.

    Args:
        width: Length of what comes in.
        count: Components that are kept.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("matrix", torch.zeros(width, count))

    def fit(self, rows: Tensor) -> None:
        """Fit to float (N, width), N above `count`; every column is scaled to unit variance first."""
        spread = rows.std(dim=0) + 1e-5
        values = ((rows - rows.mean(dim=0)) / spread).double()
        _, scale, directions = torch.linalg.svd(values, full_matrices=False)
        count = self.matrix.shape[1]
        matrix = directions[:count].T * (len(rows) ** 0.5 / scale[:count]) / spread[:, None].double()
        self.mean.copy_(rows.mean(dim=0))
        self.matrix.copy_(matrix)

    def forward(self, rows: Tensor) -> Tensor:
        """(n, width) -> (n, count)."""
        return (rows - self.mean) @ self.matrix


class TraceSubspace(nn.Module):
    """A linear model of photographs: the directions in which their descriptions vary, and the rest, where they agree.

    What varies tells photographs apart (content, camera, compression): the heterogeneous part. Outside these directions
    photographs are all alike: the homogeneous part. An image that has much there is unlike any photograph.

    Args:
        width: Length of a description.
        count: Directions of the heterogeneous part.
    """

    mean: Tensor
    spread: Tensor
    basis: Tensor

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("basis", torch.zeros(count, width))

    def fit(self, rows: Tensor) -> None:
        """Fit to descriptions of photographs, float (N, width), N above `count`."""
        self.mean.copy_(rows.mean(dim=0))
        self.spread.copy_(rows.std(dim=0) + 1e-5)
        directions = torch.linalg.svd(((rows - self.mean) / self.spread).double(), full_matrices=False)[2]
        self.basis.copy_(directions[: len(self.basis)])

    def forward(self, rows: Tensor) -> Tensor:
        """(n, width) -> logarithm of the mean square outside the subspace, (n,); higher means less like photographs."""
        values = (rows - self.mean) / self.spread
        rest = values - (values @ self.basis.T) @ self.basis
        return (rest.square().mean(dim=1) + 1e-9).log()


class LinearScore(nn.Module):
    """Standardise features, then weigh them; fitted by scikit-learn, run by torch."""

    mean: Tensor
    spread: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("mean", "spread", "weight"):
            self.register_buffer(name, torch.zeros(width))
        self.register_buffer("bias", torch.zeros(()))

    def fit(self, features: Tensor, labels: NDArray[np.int64], strength: float = 0.1) -> None:
        """Fit by logistic regression; `strength` is scikit-learn's C."""
        from sklearn.linear_model import LogisticRegression

        self.mean, self.spread = features.mean(dim=0), features.std(dim=0) + 1e-6
        rows = ((features - self.mean) / self.spread).double().numpy()
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=3000).fit(rows, labels)
        self.weight = torch.from_numpy(model.coef_[0]).float()
        self.bias = torch.tensor(float(model.intercept_[0]))

    def forward(self, features: Tensor) -> Tensor:
        """(n, width) -> logits (n,)."""
        return ((features - self.mean) / self.spread) @ self.weight + self.bias
