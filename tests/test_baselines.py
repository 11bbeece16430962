"""Every baseline learns an easy mark from few images, through one interface."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from tiny_images import made_up
from torchvision.transforms.v2.functional import gaussian_blur

from helpers.data.image_set import ImageSet
from helpers.data.images import luminance
from helpers.detectors import baselines
from helpers.detectors.base import Detector
from helpers.detectors.baselines import SupConTask
from helpers.detectors.config import DetectorConfig, DetectorError
from helpers.detectors.linear import LinearScore
from helpers.detectors.networks import build_backbone
from helpers.detectors.ntf.detector import NaturalTraceConfig
from helpers.detectors.ntf.stage2 import Student
from helpers.detectors.registry import config_as, load_detector, make_detector
from helpers.evaluation.metrics import auc

TINY = NaturalTraceConfig(
    size=32, jpeg=0.0, window=48, embedding=8, prototypes=4, batch_size=8, mapping_steps=25, steps=25, view="difference"
)
SMALL = "test_resnet"


@pytest.fixture(autouse=True)
def _few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    original = baselines.examples
    monkeypatch.setattr(baselines, "examples", lambda crops, count: original(crops, min(count, 160)))


def kept(value: torch.Tensor) -> torch.Tensor:
    """What half precision leaves of a weight."""
    return value.half().to(value.dtype) if value.is_floating_point() else value


def sets(strength: float = 14.0) -> list:
    return [made_up(split, strength=strength) for split in ("train", "val", "test")]


def fitted(config: DetectorConfig, out: Path) -> Detector:
    train, val, _ = sets()
    return make_detector(config).fit(train, val, out)


def check(detector: Detector, folder: Path, test: ImageSet | None = None, least: float = 0.9) -> None:
    """The mark is found on test images, and a copy from disk finds it as well."""
    test = test or sets()[2]
    scores = detector.score(test.images())
    assert scores.shape == (32,)
    assert auc(test.labels, scores) > least
    images = torch.stack(list(test.images()))
    vectors = detector.embed(images)
    assert vectors.shape[0] == 32
    assert torch.isfinite(vectors).all()
    detector.save(folder)
    again = load_detector(folder).score(test.images())
    assert again == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "supcon"])
def test_trained_baselines_find_the_mark(name: str, tmp_path: Path) -> None:
    check(fitted(config_as(TINY, name), tmp_path / "run"), tmp_path / "kept")


def soft(split: str) -> ImageSet:
    """Photographs, and fakes that lack the finest detail."""
    plain = made_up(split, strength=0.0)
    rows = plain.manifest["label"].tolist()
    images = [
        gaussian_blur(img, [3, 3]) if label == "fake" else img for img, label in zip(plain.images(), rows, strict=True)
    ]
    return ImageSet.of(images, plain.manifest)


def test_the_spectrum_finds_fakes_that_lack_fine_detail(tmp_path: Path) -> None:
    detector = make_detector(config_as(TINY, "spectrum")).fit(soft("train"), soft("val"), tmp_path / "run")
    check(detector, tmp_path / "kept", soft("test"))


def test_one_class_sees_no_fake_and_still_finds_what_is_unlike_photographs(tmp_path: Path) -> None:
    config = config_as(TINY, "one_class", breakers=("periodic", "blur"))
    result = fitted(config, tmp_path / "run")
    check(result, tmp_path / "kept", least=0.7)
    others = make_detector(config)
    others.fit_weights(made_up(strength=3.0), tmp_path / "other")  # other fakes, the same photographs
    left, right = result.state_dict(), others.state_dict()
    assert all(torch.equal(left[name], kept(right[name])) for name in left)


def test_the_gaussian_of_one_class_gives_mahalanobis_distances(tmp_path: Path) -> None:
    detector = make_detector(config_as(TINY, "one_class", mapping_steps=1))
    detector.fit_weights(made_up(), tmp_path)
    images = torch.stack(list(made_up("test").images()))
    with torch.no_grad():
        features = (detector.teacher.backbone(images) - detector.mean).double().numpy()
        whitening = detector.whitening.double().numpy()
        precision = whitening @ whitening.T
        expected = np.sqrt(np.einsum("ni,ij,nj->n", features, precision, features) / features.shape[1])
        assert detector.logit(images).numpy() == pytest.approx(expected, rel=1e-3)


# --------------------------------------------------------------------------------------------------------- spectrum


def test_rings_of_the_spectrum_agree_with_loops() -> None:
    images = torch.stack(list(made_up("test").images()))[:2]
    result = make_detector(config_as(TINY, "spectrum")).embed(images).double()
    side = images.shape[-1]
    window = np.outer(np.hanning(side + 1)[:-1], np.hanning(side + 1)[:-1])
    for number, plane in enumerate(luminance(images).double().numpy()):
        power = np.abs(np.fft.fft2((plane - plane.mean()) * window)) ** 2
        rings: list[list[float]] = [[] for _ in range(32)]
        for row in range(side):
            for column in range(side // 2 + 1):
                radius = np.hypot(min(row, side - row), column) / side
                if radius * 64 < 32:
                    rings[int(np.float32(radius * 64))].append(np.log10(power[row, column] + 1e-30))
        expected = np.array([np.mean(ring) for ring in rings])
        shift = result[number].numpy() - expected  # the periodogram's scale is one constant
        assert np.ptp(shift[2:]) < 0.05


def test_a_checkerboard_lies_in_the_corner_beyond_all_rings() -> None:
    detector = make_detector(config_as(TINY, "spectrum"))
    plain, marked = (torch.stack(list(made_up("test", strength=s).images()))[16:] for s in (0.0, 20.0))
    difference = (detector.embed(marked) - detector.embed(plain)).mean(dim=0)
    assert difference.abs().max() < 0.1


# ------------------------------------------------------------------------------------------------------ linear head


def test_the_linear_score_is_scikit_learns_decision() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 6, generator=generator) * torch.tensor([1.0, 5, 0.1, 1, 1, 0]) + 3
    labels = (features[:, 0] + 0.3 * torch.randn(200, generator=generator) > 3.5).long().numpy()
    score = LinearScore(6)
    score.fit(features, labels)
    rows = ((features - features.mean(dim=0)) / (features.std(dim=0) + 1e-6)).double().numpy()
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=3000).fit(rows, labels)
    assert score(features).double().numpy() == pytest.approx(model.decision_function(rows), abs=1e-4)


# -------------------------------------------------------------------------------------------------- SupCon's loss


def test_supcon_agrees_with_its_sums() -> None:
    torch.manual_seed(0)
    student = Student(build_backbone("tracenet", "bank", widths=(4, 6)), 8).eval()
    images, labels = torch.stack(list(made_up().images()))[10:20], torch.tensor([0] * 6 + [1] * 4)
    task = SupConTask(student, 1e-3, temperature=0.3)
    result = task.losses("main", {"image": images, "label": labels}, torch.Generator())["loss"]
    with torch.no_grad():
        rows = student(images)[0].double()
        similarity = (rows @ rows.T / 0.3).numpy()
    total = 0.0
    for i in range(10):
        others = [j for j in range(10) if j != i]
        denominator = np.log(sum(np.exp(similarity[i, j]) for j in others))
        positives = [j for j in others if labels[j] == labels[i]]
        total -= np.mean([similarity[i, j] - denominator for j in positives])
    assert float(result.detach()) == pytest.approx(total / 10, rel=1e-4)


def test_supcon_leaves_out_an_image_without_a_partner() -> None:
    torch.manual_seed(0)
    student = Student(build_backbone("tracenet", "bank", widths=(4, 6)), 8)
    images = torch.stack(list(made_up().images()))[:5]
    task = SupConTask(student, 1e-3)
    loss = task.losses("main", {"image": images, "label": torch.tensor([0, 0, 0, 0, 1])}, torch.Generator())["loss"]
    assert torch.isfinite(loss)
    assert not any(parameter.requires_grad for parameter in task.average.parameters())


# ------------------------------------------------------------------------------------------- foundation backbones


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "foundation.safetensors"
    save_file(timm.create_model(SMALL, num_classes=5).state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["probe", "neighbours"])
def test_a_foundation_model_is_judged_from_a_local_file(
    name: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines.FoundationNeighbours, "count", 160)
    config = config_as(TINY, name, backbone=SMALL, view="rgb", backbone_weights=str(weights), size=48)
    detector = fitted(config, tmp_path / "run")
    frozen = timm.create_model(SMALL, num_classes=0)
    stored = detector.backbone.body.state_dict()
    torch.manual_seed(0)
    donor = timm.create_model(SMALL, num_classes=5).state_dict()
    assert all(torch.equal(stored[key], kept(donor[key])) for key in frozen.state_dict())
    weights.unlink()  # what was saved is whole: the file is needed for training alone
    check(detector, tmp_path / "kept", least=0.7)


@pytest.mark.parametrize("name", ["probe", "neighbours"])
def test_a_foundation_model_without_weights_is_refused(name: str, tmp_path: Path) -> None:
    config = config_as(TINY, name, backbone=SMALL, view="rgb")
    with pytest.raises(DetectorError, match=f"{name}: needs backbone_weights, a local safetensors file"):
        fitted(config, tmp_path)


def test_neighbours_compare_the_nearest_of_either_label() -> None:
    detector = make_detector(config_as(TINY, "neighbours"))
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(40, detector.backbone.width, generator=generator), dim=1)
    fake = torch.arange(40) % 2 == 1
    detector.rows, detector.fake = rows, fake
    images = torch.stack(list(made_up("test").images()))[:3]
    with torch.no_grad():
        similarity = (F.normalize(detector.embed(images.float()), dim=1) @ rows.T).numpy()
        result = detector.logit(images).numpy()
    for one, row in zip(result, similarity, strict=True):
        of_fake, of_real = (np.sort(row[chosen.numpy()])[-9:].mean() for chosen in (fake, ~fake))
        assert one == pytest.approx(of_fake - of_real, abs=1e-5)
