"""Settings of a detector: read, checked, changed."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from helpers.data import catalog
from helpers.detectors.crops import Augmentation
from helpers.detectors.ntf.stage1 import TraceTerms
from helpers.detectors.ntf.stage2 import TransferTerms
from helpers.errors import NaturalTracesError
from helpers.pixels.views import BREAKERS
from helpers.training import FitConfig

__all__ = [
    "CONFIGS",
    "SCORES",
    "SMALLEST",
    "DetectorConfig",
    "DetectorError",
    "changes_from",
    "config_from",
    "config_path",
    "read_config",
]

SCORES = ("head", "proximity", "both", "stage1", "subspace", "all")
"""What `ntf` judges by: the classifying head; the distance from the natural traces after stage 2; the mean of these
two; the distance after stage 1 alone; the distance from the linear model of photographs; the mean of all four."""


SMALLEST = 32
"""Shortest side of an image that can be scored, in pixels."""


class DetectorError(NaturalTracesError):
    """A detector that is not known, not trained, or not where it should be."""


@dataclass(frozen=True)
class DetectorConfig:
    """Everything that decides what a detector becomes, apart from the images.

    Attributes:
        detector: One of `DETECTORS`.
        backbone: "tracenet", "cooccurrence" or a timm name.
        view: What the backbone sees, of `helpers.detectors.networks.INPUT_CHANNELS`.
        backbone_weights: Safetensors file for a timm backbone, or "".
        embedding: Length of the embeddings.
        size: Side of a training crop in pixels.
        jpeg: Chance that a training crop is encoded once more, label-blind.
        qualities: Lowest and highest quality of that encoding.
        camera: Chance that a training crop is developed once more before, label-blind, see `helpers.pixels.develop`.
        window: Side of a scoring window in pixels.
        windows: Most windows of one image; two see a large image twice as fast as four.
        steps: Steps of the supervised stage.
        mapping_steps: Steps of stage 1.
        batch_size: Crops per step; in stage 1 a quarter as many photographs, with four views each.
        learning_rate: At its highest.
        seed: Seed of weights, crops and order.
        terms: Weights of stage 1, see `helpers.detectors.ntf.stage1.TraceTerms`.
        breakers: Ways to break traces in stage 1; empty for all.
        prototypes: Size of the bank of natural traces.
        subspace: Directions of the linear model of photographs; 0 leaves it out.
        pool: Training crops that are described once and used again and again; 0 draws fresh crops. In stage 1 a third
            as many draws, with four views each.
        transfer: Weights and temperatures of stage 2, see `helpers.detectors.ntf.stage2.TransferTerms`.
        score: One of `SCORES`.
        teacher: Keep the encoder of stage 1, which the scores "stage1", "subspace" and "all" ask, and training needs.
        num_workers: Processes that load data.
        members: Configurations of an ensemble's members.
    """

    detector: str = "ntf"
    backbone: str = "tracenet"
    view: str = "bank"
    backbone_weights: str = ""
    embedding: int = 64
    size: int = 96
    jpeg: float = 0.5
    qualities: tuple[int, int] = (65, 96)
    camera: float = 0.0
    window: int = 240
    windows: int = 2
    steps: int = 1500
    mapping_steps: int = 500
    batch_size: int = 48
    learning_rate: float = 2e-3
    seed: int = 0
    terms: Mapping[str, float] = field(default_factory=dict)
    breakers: tuple[str, ...] = ()
    prototypes: int = 16
    subspace: int = 0
    pool: int = 0
    transfer: Mapping[str, Any] = field(default_factory=dict)
    score: str = "both"
    teacher: bool = True
    num_workers: int = 0
    members: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        _check_types(self)
        least = {"embedding": 2, "prototypes": 1, "steps": 1, "batch_size": 2, "size": 16, "window": SMALLEST}
        for name in ("mapping_steps", "subspace", "pool", "num_workers", "seed", *least):
            if getattr(self, name) < least.get(name, 0):
                raise DetectorError(f"{name} must be at least {least.get(name, 0)}, not {getattr(self, name)}")
        rules = {
            "size must be even": self.size % 2 == 0,  # ways to break traces work on blocks of 2 x 2 pixels
            "windows must be 1 to 4": 1 <= self.windows <= 4,
            "jpeg must be 0 to 1": 0 <= self.jpeg <= 1,
            "camera must be 0 to 1": 0 <= self.camera <= 1,
            "learning_rate must be above 0": self.learning_rate > 0,
            "qualities must be two of 1 to 100, the lower first": len(self.qualities) == 2
            and all(isinstance(quality, int) for quality in self.qualities)
            and 1 <= self.qualities[0] <= self.qualities[1] <= 100,
            f"breakers must be of {', '.join(BREAKERS)}": set(self.breakers) <= set(BREAKERS),
            f"score must be one of {', '.join(SCORES)}": self.score in SCORES,
            "score subspace needs a subspace": self.score != "subspace" or self.subspace > 0,
        }
        for rule, holds in rules.items():
            if not holds:
                raise DetectorError(f"{rule}, not {getattr(self, rule.split()[0])}")
        try:
            TraceTerms(**self.terms), TransferTerms(**self.transfer)
        except TypeError as error:  # it names the entry
            raise DetectorError(f"terms or transfer: {str(error).partition('() ')[2]}") from None

    @property
    def augmentation(self) -> Augmentation:
        """How training crops are cut and encoded."""
        return Augmentation(self.size, self.jpeg, self.qualities, self.camera)

    def fit_config(self, steps: int, batch_size: int | None = None) -> FitConfig:
        """Settings of one run of the loop."""
        return FitConfig(
            steps=steps,
            batch_size=batch_size or self.batch_size,
            seed=self.seed,
            num_workers=self.num_workers,
            channels_last=True,
            checkpoint_every=250,
            log_every=25,
        )


def _check_types(config: DetectorConfig) -> None:
    """Compare each entry with the type of its default; whole numbers pass for floating-point ones."""
    for entry in fields(config):
        value = getattr(config, entry.name)
        if entry.default is MISSING:
            wanted: type | tuple[type, ...] = Mapping
        else:
            wanted = (int, float) if isinstance(entry.default, float) else type(entry.default)
        if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(entry.default, bool):
            raise DetectorError(f"{entry.name} cannot be {value!r}")


def read_config(path: Path, **changes: Any) -> DetectorConfig:  # noqa: ANN401
    """Read a configuration.

    Args:
        path: TOML file with entries of `DetectorConfig`.
        changes: Entries that replace those of the file.

    Returns:
        The configuration.

    Raises:
        DetectorError: The file is missing, is no TOML, or has an unknown or impossible entry.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DetectorError(f"{path.name}: cannot be read: {error}") from None
    return replace(config_from(values, path.name), **changes)


def config_from(values: Mapping[str, Any], name: str = "configuration") -> DetectorConfig:
    """Make a configuration from plain values; lists become tuples."""
    unknown = set(values) - {entry.name for entry in fields(DetectorConfig)}
    if unknown:
        raise DetectorError(f"{name}: unknown entries {', '.join(sorted(unknown))}")
    plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return DetectorConfig(**plain)


CONFIGS = catalog.data_dir() / "configs"


def config_path(name: str) -> Path:
    """Find a configuration by its name in the project, or by its path."""
    known = CONFIGS / f"{name}.toml"
    return known if known.is_file() else Path(name)


def changes_from(settings: list[str]) -> dict[str, Any]:
    """Read `entry=value` settings; values are JSON, or text."""
    changes: dict[str, Any] = {}
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign:
            raise DetectorError(f"{setting!r}: needs entry=value")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        changes[key] = tuple(value) if isinstance(value, list) else value
    unknown = set(changes) - set(DetectorConfig.__dataclass_fields__)
    if unknown:
        raise DetectorError(f"unknown entries {', '.join(sorted(unknown))}")
    return changes
