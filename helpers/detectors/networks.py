"""Networks that look at an image through a residual and describe it by one vector.

    image uint8 -> InputView (what is looked at) -> backbone (features) -> heads

Two small backbones are made for residuals and two cores: "tracenet", a convolutional network that learns its own
statistics, and "cooccurrence", a network on counted statistics (`helpers.statistics.cooccurrence`), which needs far
fewer images.
Any other backbone comes from timm by its name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from helpers.data.images import LUMA_WEIGHTS
from helpers.detectors.linear import Whitening
from helpers.errors import NaturalTracesError
from helpers.statistics.cooccurrence import WIDTH, cooccurrences
from helpers.statistics.residuals import difference_residual, median_residual
from helpers.training import read_weights

__all__ = [
    "INPUT_CHANNELS",
    "Backbone",
    "CooccurrenceView",
    "InputView",
    "NetworkError",
    "TraceNet",
    "backbone_of",
    "build_backbone",
    "fit_whitening",
    "high_pass_bank",
]

TRUNCATION = 4.0
"""Grey levels beyond which a residual is softly cut: edges of objects must not drown the grain."""


class NetworkError(NaturalTracesError):
    """A view or a backbone that cannot be made."""


def high_pass_bank() -> Tensor:
    """Six small high-pass filters: first and second differences along both axes, diagonal, and a Laplacian of them.

    Returns:
        float32 (6, 1, 3, 3); every filter sums to 0, so a flat area gives 0.

    Source: the linear part of the rich models of Fridrich and Kodovsky, IEEE TIFS 7(3), 2012,
        doi 10.1109/TIFS.2012.2190402.
    """
    bank = torch.zeros(6, 1, 3, 3)
    bank[0, 0, 1, 1:] = torch.tensor([-1.0, 1.0])
    bank[1, 0, 1:, 1] = torch.tensor([-1.0, 1.0])
    bank[2, 0, 1] = torch.tensor([1.0, -2.0, 1.0]) / 1.5
    bank[3, 0, :, 1] = torch.tensor([1.0, -2.0, 1.0]) / 1.5
    bank[4, 0, 1:, 1:] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    bank[5, 0] = torch.tensor([[-1.0, 2.0, -1.0], [2.0, -4.0, 2.0], [-1.0, 2.0, -1.0]]) / 3
    return bank


INPUT_CHANNELS = {"rgb": 3, "difference": 3, "median": 3, "bank": 6, "bank+rgb": 9}
"""Name of a view -> its channels."""


class InputView(nn.Module):
    """What the network gets to see of an image.

    Args:
        kind: "rgb" (the pixels), "difference" (neighbouring pixels, per colour), "median" (pixel minus local median,
            per colour), "bank" (six high-pass filters of the luma), "bank+rgb". Residuals are softly truncated.

    Raises:
        NetworkError: There is no such view.
    """

    bank: Tensor
    luma: Tensor

    def __init__(self, kind: str = "bank") -> None:
        super().__init__()
        if kind not in INPUT_CHANNELS:
            raise NetworkError(f"{kind}: no such view (known: {', '.join(INPUT_CHANNELS)})")
        self.kind, self.channels = kind, INPUT_CHANNELS[kind]
        self.register_buffer("bank", high_pass_bank(), persistent=False)
        self.register_buffer("luma", torch.tensor(LUMA_WEIGHTS).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), uint8 or float 0..255 -> float32 (n, channels, H, W), about -1..1."""
        images = images.float()
        if self.kind == "difference":
            return torch.tanh(difference_residual(images) / TRUNCATION)
        if self.kind == "median":
            return torch.tanh(median_residual(images) / TRUNCATION)
        pixels = (images - 110) / 64
        return pixels if self.kind == "rgb" else self._with_bank(images, pixels)

    def _with_bank(self, images: Tensor, pixels: Tensor) -> Tensor:
        brightness = F.pad((images * self.luma).sum(dim=1, keepdim=True), (1, 1, 1, 1), mode="reflect")
        residuals = torch.tanh(F.conv2d(brightness, self.bank) / TRUNCATION)
        return residuals if self.kind == "bank" else torch.cat([residuals, pixels], dim=1)


class Backbone(nn.Module):
    """A network that turns images into features; `width` is their number.

    Args:
        view: What it sees of an image.
        body: What the view returns -> (n, width).
        width: Length of a feature vector.
    """

    def __init__(self, view: nn.Module, body: nn.Module, width: int) -> None:
        super().__init__()
        self.view, self.body, self.width = view, body, width

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), uint8 or float 0..255 -> float (n, width)."""
        return self.body(self.view(images))  # type: ignore[no-any-return]


class TraceNet(nn.Module):
    """Convolutions with batch normalisation; then mean and deviation of every channel over the whole view.

    The first layer keeps the pixel lattice, where traces live; each further layer halves it. Means and deviations do
    not care where in the image a trace was found, nor how large the image is.

    Args:
        channels: Channels of the view.
        widths: Channels of the layers.
    """

    def __init__(self, channels: int, widths: Sequence[int] = (16, 32, 48, 96, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, width in enumerate(widths):
            stride = 1 if number == 0 else 2
            layers += [nn.Conv2d(channels, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.layers, self.width = nn.Sequential(*layers), 2 * channels

    def forward(self, view: Tensor) -> Tensor:
        """(n, channels, H, W), sides at least 32 -> (n, width)."""
        maps = self.layers(view) if self.training else self._folded(view)
        return torch.cat([maps.mean(dim=(2, 3)), (maps.var(dim=(2, 3), correction=0) + 1e-5).sqrt()], dim=1)

    def _folded(self, view: Tensor) -> Tensor:
        """Fold each normalisation, fixed after training, into its convolution: the same maps at less cost."""
        maps = view
        for number in range(0, len(self.layers), 3):
            conv, norm = self.layers[number], self.layers[number + 1]
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            weight, bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            maps = F.relu(F.conv2d(maps, weight, bias, conv.stride, conv.padding), inplace=True)
        return maps


class CooccurrenceView(nn.Module):
    """Co-occurrences of an image; what is a description already, (n, 1092), passes unchanged."""

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255, or (n, 1092) -> float32 (n, 1092)."""
        return images if images.ndim == 2 else cooccurrences(images)


def _cooccurrence_backbone(components: int = 200, width: int = 192) -> Backbone:
    """Counted statistics, whitened, and two layers on top."""
    layers = [nn.Linear(components, width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, width), nn.ReLU()]
    return Backbone(CooccurrenceView(), nn.Sequential(Whitening(WIDTH, components), nn.Dropout(0.15), *layers), width)


def fit_whitening(backbone: Backbone, rows: Tensor) -> None:
    """Fit the whitening of a co-occurrence backbone to descriptions, float (N, 1092); other backbones have none."""
    for layer in backbone.body.modules():
        if isinstance(layer, Whitening):
            layer.fit(rows)


class BackboneSettings(Protocol):
    """The settings that say which backbone a detector has."""

    @property
    def backbone(self) -> str:
        """Its name."""

    @property
    def view(self) -> str:
        """What it sees."""

    @property
    def backbone_weights(self) -> str:
        """File of a timm backbone, or nothing."""


def backbone_of(config: BackboneSettings) -> Backbone:
    """Make the backbone that a configuration names."""
    weights = Path(config.backbone_weights) if config.backbone_weights else None
    return build_backbone(config.backbone, config.view, weights=weights)


def build_backbone(
    name: str = "tracenet", view: str = "bank", *, widths: Sequence[int] | None = None, weights: Path | None = None
) -> Backbone:
    """Make a backbone.

    Args:
        name: "tracenet", "cooccurrence", or any name that `timm.create_model` knows.
        view: One of `INPUT_CHANNELS`; "cooccurrence" has its own.
        widths: Layers of the TraceNet; the default ones when None.
        weights: Safetensors file with weights of a timm model; nothing is ever downloaded.

    Returns:
        Backbone with fresh weights from torch's global generator, or with those of the file.

    Raises:
        NetworkError: Unknown view or model, or weights that do not fit.
        StorageError: The weights file is missing or unsound.
    """
    if name == "cooccurrence":
        return _cooccurrence_backbone()
    seen = InputView(view)
    if name == "tracenet":
        net = TraceNet(seen.channels, widths or (16, 32, 48, 96, 128))
        return Backbone(seen, net, net.width)
    import timm  # seconds to import, and the networks of the course do not need it

    if not timm.is_model(name):
        raise NetworkError(f"{name}: neither tracenet nor cooccurrence nor a model of timm")
    body: Any = timm.create_model(name, pretrained=False, num_classes=0, in_chans=seen.channels)
    if weights is not None:
        tensors = read_weights(weights)[0]
        try:
            missing, _ = body.load_state_dict(tensors, strict=False)
        except RuntimeError as error:  # such as weights for three channels, where the view has six
            raise NetworkError(f"{weights.name}: does not fit {name}: {' '.join(str(error).split())}") from None
        if missing:
            raise NetworkError(f"{weights.name}: lacks {len(missing)} weights of {name}, the first {missing[0]}")
    return Backbone(seen, body, int(body.num_features))
