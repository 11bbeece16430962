"""The open registry: own detectors by name, from a module or from an installed package."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from helpers.data.image_set import ImageSet
from helpers.detectors import registry
from helpers.detectors.base import Detector
from helpers.detectors.config import CropConfig, DetectorError
from helpers.detectors.registry import config_from, find_detector, list_detectors, make_detector, register


class Darkness(Detector):
    """Scores by the mean of one colour."""

    name = "darkness"

    class Config(CropConfig):
        """Which colour."""

        colour: int = 1

    def fit_weights(self, train: ImageSet, out: Path) -> None:
        """Nothing is learnt."""

    def logit(self, images: torch.Tensor) -> torch.Tensor:
        return -images[:, self.config.colour].float().mean(dim=(1, 2))


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_registered", {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_an_own_detector_is_listed_and_made() -> None:
    assert "darkness" not in list_detectors()
    assert register(Darkness) is Darkness
    assert list_detectors() == sorted(["darkness", *registry.BUILT_IN])
    detector = make_detector(config_from({"detector": "darkness", "colour": 2}))
    assert isinstance(detector, Darkness)
    assert detector.config.colour == 2
    with pytest.raises(DetectorError, match=r"color: no such setting of darkness \(did you mean colour\?\)"):
        config_from({"detector": "darkness", "color": 2})
    with pytest.raises(DetectorError, match="darkness: judges by no vectors"):
        detector.embed(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_every_built_in_name_leads_to_its_class(name: str) -> None:
    assert find_detector(name).name == name
    assert find_detector(name).Config.kind == name


def test_a_clash_of_names_warns_and_the_last_one_stays() -> None:
    register(Darkness)
    register(Darkness)  # the same again, as after a reload, is no clash

    class Other(Darkness):
        class Config(CropConfig):
            """None of its own."""

    with pytest.warns(UserWarning, match="darkness: there is a detector of this name; .*Other replaces it"):
        register(Other)
    assert find_detector("darkness") is Other

    class Spectrum(Other):
        name = "spectrum"

        class Config(CropConfig):
            """None of its own."""

    with pytest.warns(UserWarning, match="spectrum: there is a detector of this name"):
        register(Spectrum)
    assert find_detector("spectrum") is Spectrum


def test_what_is_no_whole_detector_is_refused() -> None:
    class Half(Detector):
        name = "half"

        def logit(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1).float().mean(dim=1)

    with pytest.raises(DetectorError, match=r"half: .*Half lacks fit_weights"):
        register(Half)
    with pytest.raises(TypeError, match="abstract"):
        Half(Half.Config())

    class Nameless(Darkness):
        name = ""

    with pytest.raises(DetectorError, match="needs a name"):
        register(Nameless)


def test_two_kinds_cannot_share_one_class_of_settings() -> None:
    with pytest.raises(TypeError, match="is the Config of darkness"):

        class Light(Darkness):
            name = "light"
            Config = Darkness.Config


def declare(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    point = EntryPoint(name=name, value=value, group=registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.ENTRY_POINTS else [])


def test_an_installed_package_declares_its_detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, "darkness", f"{__name__}:Darkness")
    assert "darkness" in list_detectors()
    assert find_detector("darkness") is Darkness
    assert find_detector("darkness") is Darkness


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("darkness", "no_such_module:Darkness", "darkness: no_such_module:Darkness cannot be imported: No module"),
        ("darkness", f"{__name__}:Absent", "darkness: .*:Absent cannot be imported"),
        ("darkness", f"{__name__}:declare", "darkness: .* is no detector of that name"),
        ("night", f"{__name__}:Darkness", "night: .* is no detector of that name"),
    ],
)
def test_a_package_that_declares_nonsense_is_named(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(monkeypatch, name, value)
    with pytest.raises(DetectorError, match=message):
        find_detector(name)


def test_no_package_takes_a_built_in_name_over(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, "spectrum", f"{__name__}:Darkness")
    with pytest.warns(UserWarning, match="spectrum: a package declares a detector of a built-in name"):
        assert find_detector("spectrum") is registry.BUILT_IN["spectrum"]()


def test_listing_the_detectors_imports_none_of_them() -> None:
    code = (
        "import sys\nfrom helpers.detectors.registry import list_detectors\nlist_detectors()\n"
        "print([name for name in sys.modules if name in ('helpers.detectors.baselines', 'helpers.detectors.ensemble',"
        " 'helpers.detectors.ntf.detector')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
