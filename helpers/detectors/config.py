"""Settings of detectors: one class for each kind, checked when they are read.

Every kind of detector has a configuration class of its own, its `Config`, with the settings that it uses and no other.
The classes here hold what several kinds share: how an image is seen, how training crops are cut, how the loop runs.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import to_jsonable_python

from helpers.data.files import StorageError, read_text
from helpers.data.places import data_dir
from helpers.detectors.crops import Augmentation
from helpers.errors import NaturalTracesError
from helpers.training import FitConfig

__all__ = [
    "SETTINGS",
    "SMALLEST",
    "CropConfig",
    "DetectorConfig",
    "DetectorError",
    "LoopConfig",
    "NetworkConfig",
    "changes_from",
    "config_path",
    "read_values",
]

SETTINGS = ("default", "fast")
"""How a detector can be used: with all its windows, or with few."""
SMALLEST = 32
"""Shortest side of an image that can be scored, in pixels."""

Share = Annotated[float, Field(ge=0, le=1)]
Quality = Annotated[int, Field(ge=1, le=100)]


class DetectorError(NaturalTracesError):
    """A detector that is not known, not trained, or not where it should be."""


class DetectorConfig(BaseModel):
    """What every detector can be told.

    Attributes:
        window: Side of a scoring window in pixels.
        windows: Most windows of one image; two see a large image twice as fast as four.
        fast_windows: The same in the setting "fast"; at most `windows`.
        seed: Seed of weights, crops and order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: ClassVar[str] = ""
    """Name of the detector that is made of these settings; its class fills it in."""
    not_trained: ClassVar[frozenset[str]] = frozenset({"window", "windows", "fast_windows"})
    """Settings that training does not depend on: they may differ when a run is continued."""

    window: int = Field(default=240, ge=SMALLEST)
    windows: int = Field(default=2, ge=1, le=8)
    fast_windows: int = Field(default=2, ge=1, le=8)
    seed: int = Field(default=0, ge=0)

    def at(self, setting: str) -> Self:
        """Return the configuration for a setting.

        Args:
            setting: "default", or "fast" with fewer windows of a large image.

        Raises:
            DetectorError: There is no such setting.
        """
        if setting not in SETTINGS:
            raise DetectorError(f"{setting}: no such setting (known: {', '.join(SETTINGS)})")
        return self if setting == "default" else self.changed(windows=min(self.windows, self.fast_windows))

    @property
    def training_side(self) -> int:
        """Shortest side of an image that can be learnt from, in pixels."""
        return SMALLEST

    @classmethod
    def from_values(cls, values: Mapping[str, Any], name: str = "configuration") -> Self:
        """Make a configuration from plain values, such as a TOML file or a card holds.

        Args:
            values: Setting -> value; lists stand for tuples.
            name: What the values came from, for the error.

        Returns:
            The configuration.

        Raises:
            DetectorError: A setting is unknown, or its value impossible.
        """
        try:
            return cls.model_validate_json(json.dumps(values, default=to_jsonable_python))
        except ValidationError as error:
            raise DetectorError(f"{name}: {_one_line(error, cls)}") from None

    def values(self) -> dict[str, Any]:
        """Give all settings as plain values, of which `from_values` makes the same configuration again."""
        return self.model_dump(mode="json")

    def changed(self, **changes: Any) -> Self:  # noqa: ANN401
        """Replace some settings; the result is checked like any other.

        Raises:
            DetectorError: A setting is unknown, or its value impossible.
        """
        return type(self).from_values({**self.values(), **changes})

    def without_files(self) -> Self:
        """Return the same settings for weights that lie in a detector's folder, not in files of others."""
        return self

    def trained_on(self, device: str) -> Self:
        """Return the same settings with training on a device; without a loop of steps they stay as they are."""
        return self


class CropConfig(DetectorConfig):
    """A detector that learns from crops.

    Attributes:
        size: Side of a training crop in pixels.
        jpeg: Chance that a training crop is encoded once more, label-blind.
        qualities: Lowest and highest quality of that encoding.
        camera: Chance that a training crop is developed once more before, label-blind, see `helpers.pixels.develop`.
    """

    size: int = Field(default=96, ge=16, multiple_of=2)  # ways to break traces work on blocks of 2 x 2 pixels
    jpeg: Share = 0.5
    qualities: tuple[Quality, Quality] = (65, 96)
    camera: Share = 0.0

    @field_validator("qualities")
    @classmethod
    def _rising(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[0] > value[1]:
            raise ValueError("should have the lower quality first")
        return value

    @property
    def training_side(self) -> int:
        """Shortest side of an image that a crop can be cut of, in pixels."""
        return self.size

    @property
    def augmentation(self) -> Augmentation:
        """How training crops are cut and encoded."""
        return Augmentation(self.size, self.jpeg, self.qualities, self.camera)


class LoopConfig(CropConfig):
    """A detector that `helpers.training.fit` trains.

    Attributes:
        steps: Steps of the supervised stage.
        batch_size: Crops per step.
        learning_rate: At its highest.
        num_workers: Processes that load data.
        accelerator: "auto", "cpu", "cuda", "cuda:1", "mps": where the loop runs; "auto" is a GPU if there is one.
        devices: Processes on each machine that train, each on its own device.
        nodes: Machines.
    """

    not_trained: ClassVar[frozenset[str]] = DetectorConfig.not_trained | {
        "num_workers",
        "accelerator",
        "devices",
        "nodes",
    }

    steps: int = Field(default=1500, ge=1)
    batch_size: int = Field(default=48, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0)
    num_workers: int = Field(default=0, ge=0)
    accelerator: str = "auto"
    devices: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)

    def fit_config(self, steps: int, batch_size: int | None = None) -> FitConfig:
        """Settings of one run of the loop."""
        return FitConfig(
            steps=steps,
            batch_size=batch_size or self.batch_size,
            seed=self.seed,
            num_workers=self.num_workers,
            accelerator=self.accelerator,
            devices=self.devices,
            nodes=self.nodes,
            channels_last=True,
            checkpoint_every=250,
            log_every=25,
        )

    def trained_on(self, device: str) -> Self:
        """Return the same settings with the loop on a device."""
        return self.model_copy(update={"accelerator": device})


class NetworkConfig(LoopConfig):
    """A detector with a backbone that is trained.

    Attributes:
        backbone: "tracenet", "cooccurrence" or a timm name.
        view: What the backbone sees, of `helpers.detectors.networks.INPUT_CHANNELS`.
        backbone_weights: Safetensors file for a timm backbone, or "".
        embedding: Length of the embeddings.
        pool: Training crops that are described once and used again and again; 0 draws fresh crops. In stage 1 a third
            as many draws, with four views each.
    """

    backbone: str = "tracenet"
    view: str = "bank"
    backbone_weights: str = ""
    embedding: int = Field(default=64, ge=2)
    pool: int = Field(default=0, ge=0)

    def without_files(self) -> Self:
        """Leave the file out that the backbone started from."""
        return self.changed(backbone_weights="")


_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def _one_line(error: ValidationError, config: type[DetectorConfig]) -> str:
    """Say the first thing that is wrong: which setting, and what it may be."""
    errors = error.errors(include_url=False)
    # A mistyped name comes first, since what seems to be missing is often that very setting.
    first = min(errors, key=lambda one: one["type"] not in _UNKNOWN)
    place = [str(part) for part in first["loc"]]
    if first["type"] in _UNKNOWN:
        return _unknown(place, config)
    if first["type"] == "missing":
        return f"{'.'.join(place)} is missing"
    reason = re.sub(r"^(Value error, |(Input|Tuple|String) (?=should))", "", first["msg"])
    return f"{'.'.join(place)} cannot be {first['input']!r}: {reason}" if place else reason


def _unknown(place: list[str], config: type[DetectorConfig]) -> str:
    """Name an unknown setting and the one that was perhaps meant, or else all."""
    known = _settings(config)
    for part in place[:-1]:
        known = _settings(known[part])
    near = difflib.get_close_matches(place[-1], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"{'.'.join(place)}: no such setting of {config.kind or 'a detector'} ({hint})"


def _settings(kind: Any) -> dict[str, Any]:  # noqa: ANN401
    """List the settings of a configuration, or of a part of one, with their types."""
    if is_dataclass(kind):
        return {entry.name: entry.type for entry in fields(kind)}
    return {name: entry.annotation for name, entry in getattr(kind, "model_fields", {}).items()}


def read_values(path: Path) -> dict[str, Any]:
    """Read a TOML file in UTF-8 or UTF-16.

    Raises:
        DetectorError: The file is missing or is no TOML.
    """
    try:
        return tomllib.loads(read_text(path))
    except StorageError as error:
        raise DetectorError(str(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise DetectorError(f"{path.name}: cannot be read: {error}") from None


def config_path(name: str) -> Path:
    """Find a configuration by its name in the project, or by its path."""
    known = data_dir() / "configs" / f"{name}.toml"
    return known if known.is_file() else Path(name)


def changes_from(settings: list[str]) -> dict[str, Any]:
    """Read `entry=value` settings; values are JSON, or text; `part.entry=value` is one entry of a table.

    Whether there are such settings, the detector knows.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign:
            raise DetectorError(f"{setting!r}: needs entry=value")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        for name in reversed(key.split(".")):
            value = {name: value}
        changes = with_changes(changes, value)
    return changes


def with_changes(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Replace entries; of a table, only those that the changes name."""
    merged = dict(values)
    for name, change in changes.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(change, Mapping)
        merged[name] = with_changes(old, change) if both else change  # type: ignore[arg-type]
    return merged
