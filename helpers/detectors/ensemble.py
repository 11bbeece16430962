"""An ensemble of detectors: the mean of the members' standardised scores.

Members that look at an image in different ways (counted statistics, pixels) err on different generators.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import BeforeValidator, Field, InstanceOf, PlainSerializer
from torch import Tensor, nn

from helpers.data.image_set import ImageSet
from helpers.detectors.base import Detector
from helpers.detectors.config import CropConfig, DetectorConfig
from helpers.detectors.crops import BalancedCrops
from helpers.detectors.registry import config_from, make_detector

__all__ = ["Ensemble", "EnsembleConfig"]

SCALE_CROPS = 256


def _member(values: object) -> object:
    """Make a member's configuration from plain values; what else comes in passes on to be refused."""
    return config_from(values, "member") if isinstance(values, dict) else values


def _plain(member: DetectorConfig) -> dict[str, Any]:
    return {"detector": member.kind, **member.values()}


Member = Annotated[InstanceOf[DetectorConfig], BeforeValidator(_member), PlainSerializer(_plain)]


class EnsembleConfig(CropConfig):
    """Settings of an ensemble; the crops are those by which its members' scores are standardised.

    Attributes:
        members: Configurations of the members, of any kinds; as plain values each names its `detector`.
    """

    members: tuple[Member, ...] = Field(min_length=2)

    def without_files(self) -> Self:
        """Leave the files out that the members' backbones started from."""
        return self.model_copy(update={"members": tuple(member.without_files() for member in self.members)})

    def trained_on(self, device: str) -> Self:
        """Return the same settings with the members' loops on a device."""
        return self.model_copy(update={"members": tuple(member.trained_on(device) for member in self.members)})


class Ensemble(Detector):
    """The mean of its members' scores, each minus its mean on training crops and divided by its spread there.

    Args:
        config: `members` holds the members' configurations; their seeds are replaced by `seed`.
    """

    name: ClassVar[str] = "ensemble"
    Config = EnsembleConfig
    config: EnsembleConfig
    centre: Tensor
    spread: Tensor

    def __init__(self, config: EnsembleConfig) -> None:
        super().__init__(config)
        configs = [member.changed(seed=config.seed) for member in config.members]
        self.members = nn.ModuleList(make_detector(one) for one in configs)
        self.register_buffer("centre", torch.zeros(len(configs)))
        self.register_buffer("spread", torch.ones(len(configs)))

    @classmethod
    def from_members(cls, members: Sequence[Detector]) -> "Ensemble":
        """Join trained detectors; `standardise` and `calibrate` must follow.

        Args:
            members: At least two, trained with one seed.

        Returns:
            The ensemble.
        """
        members = [member.for_inference() for member in members]
        configs = tuple(member.config for member in members)
        config = EnsembleConfig(seed=configs[0].seed, members=configs)
        ensemble = cls(
            config.model_copy(update={"size": configs[0].size} if isinstance(configs[0], CropConfig) else {})
        )
        for place, member in zip(ensemble.members, members, strict=True):
            place.load_state_dict(member.state_dict())
        ensemble.history = dict(members[0].history)
        return ensemble

    def fit_weights(self, train: ImageSet, out: Path) -> None:
        """Train the members one after the other."""
        for number, member in enumerate(self.members):
            assert isinstance(member, Detector)
            member.fit_weights(train, out / f"member{number}")
        self.standardise(train)

    @torch.no_grad()
    def standardise(self, train: ImageSet) -> None:
        """Centre and scale the members by their scores on training crops, as many real as fake."""
        self.eval()
        crops = BalancedCrops(train, self.config.augmentation, self.config.seed + 2)
        images = (crops[index]["image"] for index in range(SCALE_CROPS))
        rows = torch.cat([self.member_scores(img[None].to(self.device)) for img in images])
        self.centre, self.spread = rows.mean(dim=0), rows.std(dim=0) + 1e-6

    def member_scores(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> each member's score, (n, members)."""
        scores = []
        for member in self.members:
            assert isinstance(member, Detector)
            scores.append(member.logit(images))
        return torch.stack(scores, dim=1)

    def logit(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> (n,), higher means more fake."""
        return ((self.member_scores(images) - self.centre) / self.spread).mean(dim=1)

    def embed(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> the members' embeddings side by side, (n, d)."""
        embeddings = []
        for member in self.members:
            assert isinstance(member, Detector)
            embeddings.append(member.embed(images))
        return torch.cat(embeddings, dim=1)
