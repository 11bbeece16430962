"""Detectors by name: list them, add one's own, make one from a configuration, load one from disk.

Three kinds of names are known:

- the built-in ones of `BUILT_IN`, imported when they are asked for;
- those that a module of yours has passed to `register`;
- those that an installed package declares as entry points of the group `natural_traces.detectors`, such as
  `brightness = "my_package.detectors:Brightness"`; they too are imported when they are asked for.
"""

import hashlib
import importlib.util
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast, overload

import torch
from torch import Tensor

from helpers.data.files import StorageError
from helpers.detectors.base import CARD, CARD_VERSION, RANGE, WEIGHTS, Detector
from helpers.detectors.config import DetectorConfig, DetectorError, read_values, with_changes
from helpers.detectors.feature_range import FeatureRange
from helpers.evaluation.metrics import Conformal, PlattScaling
from helpers.training import read_weights
from helpers.training.storage import fill

__all__ = [
    "BUILT_IN",
    "ENTRY_POINTS",
    "config_as",
    "config_from",
    "find_detector",
    "list_detectors",
    "load_detector",
    "load_plugin",
    "make_detector",
    "read_config",
    "register",
    "weights_hash",
]

ENTRY_POINTS = "natural_traces.detectors"
"""Group of entry points in which an installed package names its detectors."""

Kind = TypeVar("Kind", bound=type[Detector])
Config = TypeVar("Config", bound=DetectorConfig)


def _ntf() -> type[Detector]:
    from helpers.detectors.ntf.detector import NaturalTraceDetector

    return NaturalTraceDetector


def _pretrained() -> type[Detector]:
    from helpers.detectors.ntf.pretrained import PretrainedTraceDetector

    return PretrainedTraceDetector


def _ensemble() -> type[Detector]:
    from helpers.detectors.ensemble import Ensemble

    return Ensemble


def _baseline(name: str) -> Callable[[], type[Detector]]:
    def load() -> type[Detector]:
        from helpers.detectors.baselines import BASELINES

        return BASELINES[name]

    return load


BUILT_IN: Mapping[str, Callable[[], type[Detector]]] = MappingProxyType(
    {
        "ntf": _ntf,
        "ntf_pretrained": _pretrained,
        "ensemble": _ensemble,
        **{
            name: _baseline(name)
            for name in ("spectrum", "cross_entropy", "supcon", "one_class", "probe", "neighbours")
        },
    }
)
"""Name -> function that imports the class; so listing names imports no network."""

_registered: dict[str, type[Detector]] = {}


def register(kind: Kind) -> Kind:
    """Add a class of detectors under its name; works as a decorator.

    Args:
        kind: With `name`, `Config`, `fit_weights` and `logit`. Where the name is taken, a warning says so, and the new
            class takes it over.

    Returns:
        The class.

    Raises:
        DetectorError: The class has no name or is still abstract.
    """
    if not kind.name:
        raise DetectorError(f"{kind.__qualname__}: a detector needs a name")
    if missing := sorted(getattr(kind, "__abstractmethods__", ())):
        raise DetectorError(f"{kind.name}: {kind.__qualname__} lacks {', '.join(missing)}")
    before = _registered.get(kind.name)
    # A module that is imported anew brings the same class once more: no clash.
    again = before is not None and (before.__module__, before.__qualname__) == (kind.__module__, kind.__qualname__)
    if not again and kind.name in list_detectors():
        warnings.warn(f"{kind.name}: there is a detector of this name; {kind.__qualname__} replaces it", stacklevel=2)
    _registered[kind.name] = kind
    return kind


def load_plugin(name: str) -> None:
    """Import a module of the reader's own, which registers its detectors. Only what the reader names is ever imported.

    Args:
        name: Path of a Python file, or dotted name of an installed module.

    Raises:
        DetectorError: It cannot be imported.
    """
    path = Path(name)
    try:
        if path.suffix == ".py":
            spec = importlib.util.spec_from_file_location(path.stem, path.resolve(strict=True))
        else:
            spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError(f"no module named {name}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # as import does, so that classes find their module
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a module of others may raise
        raise DetectorError(f"plug-in {name}: cannot be imported: {type(error).__name__}: {error}") from error


def _declared() -> dict[str, EntryPoint]:
    """The detectors that installed packages declare."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def list_detectors() -> list[str]:
    """List the names of all detectors that can be made, in alphabetical order."""
    return sorted({*BUILT_IN, *_registered, *_declared()})


def find_detector(name: str) -> type[Detector]:
    """Find a class of detectors by its name.

    Raises:
        DetectorError: There is none, or a package declares one that cannot be imported.
    """
    if name in _registered:
        return _registered[name]
    if name in BUILT_IN:
        if name in _declared():
            warnings.warn(f"{name}: a package declares a detector of a built-in name; it is left out", stacklevel=2)
        return BUILT_IN[name]()
    if point := _declared().get(name):
        return _imported(point)
    raise DetectorError(f"{name}: no such detector (known: {', '.join(list_detectors())})")


def _imported(point: EntryPoint) -> type[Detector]:
    """Import what an installed package declares."""
    try:
        kind = point.load()
    except Exception as error:  # whatever a module of others may raise
        raise DetectorError(f"{point.name}: {point.value} cannot be imported: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Detector) and kind.name == point.name):
        raise DetectorError(f"{point.name}: {point.value} is no detector of that name")
    return _registered.setdefault(point.name, kind)


def config_from(values: Mapping[str, Any], name: str = "configuration") -> DetectorConfig:
    """Make a configuration from plain values, of which `detector` names the kind.

    Args:
        values: Setting -> value.
        name: What the values came from, for the error.

    Returns:
        A configuration of the kind's own class.

    Raises:
        DetectorError: There is no such detector, or it has no such setting.
    """
    rest = dict(values)
    kind = rest.pop("detector", None)
    if not isinstance(kind, str):
        raise DetectorError(f"{name}: needs detector, one of {', '.join(list_detectors())}")
    return find_detector(kind).Config.from_values(rest, name)


@overload
def read_config(path: Path, /, **changes: Any) -> DetectorConfig: ...  # noqa: ANN401
@overload
def read_config(path: Path, wanted: type[Config], /, **changes: Any) -> Config: ...  # noqa: ANN401
def read_config(path: Path, wanted: type[DetectorConfig] = DetectorConfig, /, **changes: Any) -> DetectorConfig:
    """Read a configuration.

    Args:
        path: TOML file; its entry `detector` names the kind, the others are settings of that kind.
        wanted: Class that the configuration must have.
        changes: Entries that replace those of the file.

    Returns:
        The configuration.

    Raises:
        DetectorError: The file is missing, is no TOML, has an unknown or impossible entry, or is of another kind.
    """
    config = config_from(with_changes(read_values(path), changes), path.name)
    if not isinstance(config, wanted):
        raise DetectorError(f"{path.name}: holds settings of {config.kind}, where those of {wanted.kind} are needed")
    return config


def config_as(config: DetectorConfig, detector: str, **changes: Any) -> DetectorConfig:  # noqa: ANN401
    """Make settings of another kind from those of one: what both have is taken over, the rest is as by default.

    Args:
        config: Settings of any kind.
        detector: Name of the wanted kind.
        changes: Settings that differ.

    Returns:
        The configuration.

    Raises:
        DetectorError: There is no such detector, or it has no such setting.
    """
    kind = find_detector(detector).Config
    shared = {name: value for name, value in config.values().items() if name in kind.model_fields}
    return kind.from_values({**shared, **changes})


def make_detector(config: DetectorConfig) -> Detector:
    """Make an untrained detector whose fresh weights depend on the seed alone.

    Raises:
        DetectorError: There is no such detector.
    """
    kind = cast(Callable[[DetectorConfig], Detector], find_detector(config.kind))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return kind(config)


def weights_hash(folder: Path) -> str:
    """Compute the SHA-256 of stored weights, by which a record knows its detector."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def _check_version(version: object) -> None:
    """Refuse a card of another version, and say what helps: a card tells what a detector is, so none is guessed at."""
    if version != CARD_VERSION:
        newer = isinstance(version, int) and version > CARD_VERSION
        advice = "update this package" if newer else "train it anew"
        raise DetectorError(f"its card has version {version}, not {CARD_VERSION}: {advice}")


def load_detector(folder: str | Path) -> Detector:
    """Read a detector that `save` wrote.

    Args:
        folder: Holds weights and card.

    Returns:
        The detector, ready to score.

    Raises:
        DetectorError: There is no readable card, or it was written by another version.
        StorageError: The weights are unsound.
    """
    folder = Path(folder)
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        _check_version(card.get("version"))
        config = config_from({**card["config"], "detector": card["detector"]}, CARD)
        # All weights lie in the folder; the file that a frozen backbone came from need not be here.
        tensors = _fitting_weights(config.without_files(), folder / WEIGHTS)
        detector = make_detector(config.without_files())
        detector.config = config
        detector.threshold = float(card["threshold"])
        detector.calibration = PlattScaling(**card["calibration"])
        detector.history = dict(card["training"])
        detector.conformal = Conformal.from_dict(card["conformal"]) if "conformal" in card else None
        if (folder / RANGE).is_file():
            detector.feature_range = FeatureRange.load(folder / RANGE)
    except StorageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DetectorError(f"{folder}: holds no detector: {reason}") from None
    fill(detector, tensors, WEIGHTS)
    return detector.eval()


def _fitting_weights(config: DetectorConfig, path: Path) -> dict[str, Tensor]:
    """Read weights, and check that they fit the network that a card describes before memory is taken for it."""
    tensors, _ = read_weights(path)
    with torch.device("meta"), warnings.catch_warnings(), suppress(NotImplementedError):
        warnings.simplefilter("ignore")  # nothing is copied, which is what is wanted
        fill(make_detector(config), tensors, path.name)
    return tensors
