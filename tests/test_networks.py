"""What a network sees agrees with direct computation; what it returns does not depend on size or order."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from scipy.ndimage import convolve, median_filter

from helpers.detectors.linear import Whitening
from helpers.detectors.networks import (
    INPUT_CHANNELS,
    TRUNCATION,
    InputView,
    NetworkError,
    TraceNet,
    build_backbone,
    fit_whitening,
    high_pass_bank,
)
from helpers.statistics.cooccurrence import WIDTH, cooccurrences
from helpers.training import StorageError

SMALL = "test_resnet"
"""timm's own tiny network for tests."""


def pictures(count: int = 2, height: int = 40, width: int = 48, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


# ----------------------------------------------------------------------------------------------------------- views


def test_every_filter_of_the_bank_is_blind_to_brightness() -> None:
    bank = high_pass_bank()
    assert bank.shape == (6, 1, 3, 3)
    assert bank.sum(dim=(1, 2, 3)).abs().max() < 1e-6
    assert torch.linalg.matrix_rank(bank.flatten(1)) >= 5


def test_second_differences_and_laplacian_ignore_slopes() -> None:
    rows, columns = torch.meshgrid(torch.arange(3.0), torch.arange(3.0), indexing="ij")
    for slope in (rows, columns, rows + 2 * columns):
        assert (high_pass_bank()[2:] * slope).sum(dim=(1, 2, 3)).abs().max() < 1e-5


@pytest.mark.parametrize(("kind", "channels"), INPUT_CHANNELS.items())
def test_views_keep_the_lattice_and_take_bytes_or_floats(kind: str, channels: int) -> None:
    images, view = pictures(), InputView(kind)
    seen = view(images)
    assert (view.channels, seen.shape, seen.dtype) == (channels, (2, channels, 40, 48), torch.float32)
    assert torch.equal(seen, view(images.double().float()))
    assert not view.state_dict()  # nothing of a view is stored with the weights
    if "rgb" not in kind:
        assert seen.abs().max() <= 1


def test_the_pixel_view_is_a_shift_and_a_scale() -> None:
    images = pictures()
    assert torch.allclose(InputView("rgb")(images), (images.double() - 110).float() / 64)


def test_the_difference_view_agrees_with_loops() -> None:
    images = pictures(1, 34, 36)
    seen, pixels = InputView("difference")(images)[0], images[0].double()
    for row, column in ((0, 0), (5, 7), (20, 11)):
        right, below = pixels[:, row, column + 1], pixels[:, row + 1, column]
        expected = torch.tanh((pixels[:, row, column] - (right + below) / 2) / TRUNCATION)
        assert torch.allclose(seen[:, row, column].double(), expected, atol=1e-6)


def test_the_median_view_agrees_with_scipy() -> None:
    images = pictures(1, 34, 36)
    seen, pixels = InputView("median")(images)[0], images[0].double().numpy()
    for channel in range(3):
        residual = pixels[channel] - median_filter(pixels[channel], 3, mode="mirror")
        assert torch.allclose(seen[channel].double(), torch.tanh(torch.from_numpy(residual) / TRUNCATION), atol=1e-6)


@pytest.mark.parametrize("kind", ["bank", "bank+rgb"])
def test_the_bank_view_agrees_with_scipy(kind: str) -> None:
    images = pictures(1, 34, 36)
    seen = InputView(kind)(images)[0]
    luma = (torch.tensor([0.299, 0.587, 0.114]).double()[:, None, None] * images[0].double()).sum(0).numpy()
    for number, kernel in enumerate(high_pass_bank()[:, 0].double().numpy()):
        residual = torch.from_numpy(convolve(luma, kernel[::-1, ::-1], mode="mirror"))
        assert torch.allclose(seen[number].double(), torch.tanh(residual / TRUNCATION), atol=1e-4)
    if kind == "bank+rgb":
        assert torch.equal(seen[6:], InputView("rgb")(images)[0])


# --------------------------------------------------------------------------------------------------------- TraceNet


def test_tracenet_takes_any_size_and_never_mixes_images() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("tracenet", "bank", widths=(4, 6, 8)).eval()
    assert backbone.width == 16
    for height, width in ((32, 32), (33, 57), (96, 48)):
        images = pictures(5, height, width)
        with torch.inference_mode():
            features = backbone(images)
            shuffled = backbone(images[[3, 1, 4, 0, 2]])
            single = torch.cat([backbone(images[i : i + 1]) for i in range(5)])
        assert features.shape == (5, 16)
        assert torch.allclose(shuffled, features[[3, 1, 4, 0, 2]], atol=1e-5)
        assert torch.allclose(single, features, atol=1e-5)
        assert (features[:, 8:] > 0).all()  # deviations


def test_tracenet_pools_means_and_deviations_of_its_last_maps() -> None:
    torch.manual_seed(1)
    net = TraceNet(6, (4, 8)).eval()
    view = InputView("bank")(pictures(2))
    with torch.inference_mode():
        maps, features = net.layers(view).double(), net(view).double()
    assert torch.allclose(features[:, :8], maps.mean(dim=(2, 3)), atol=1e-5)
    assert torch.allclose(features[:, 8:], maps.flatten(2).std(dim=2, correction=0), atol=2e-3)


def test_folding_the_normalisation_into_the_convolution_changes_neither_maps_nor_gradient() -> None:
    torch.manual_seed(2)
    net = TraceNet(6, (4, 8))
    for layer in net.layers:
        if isinstance(layer, torch.nn.BatchNorm2d):
            for values, low, high in ((layer.running_mean, -1, 1), (layer.running_var, 0.3, 3), (layer.weight, -2, 2)):
                torch.nn.init.uniform_(values, low, high)
            torch.nn.init.normal_(layer.bias)
    net.eval()
    folded, plain = (InputView("bank")(pictures(2)).requires_grad_() for _ in range(2))
    maps = net.layers(plain)
    expected = torch.cat([maps.mean(dim=(2, 3)), (maps.var(dim=(2, 3), correction=0) + 1e-5).sqrt()], dim=1)
    result = net(folded)
    assert torch.allclose(result, expected, atol=1e-4)
    result.sum().backward()
    expected.sum().backward()
    assert torch.allclose(folded.grad, plain.grad, atol=1e-4)


def test_in_training_the_normalisation_follows_the_batch() -> None:
    torch.manual_seed(3)
    net, view = TraceNet(6, (4, 8)), InputView("bank")(pictures(4))
    net(view).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert any((layer.running_mean != 0).any() for layer in net.layers if isinstance(layer, torch.nn.BatchNorm2d))


def test_mirror_images_of_a_flat_area_look_alike_whatever_its_brightness() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("tracenet", "bank", widths=(4, 6)).eval()
    flat = torch.tensor([20, 120, 240]).view(3, 1, 1, 1).expand(3, 3, 40, 40)
    with torch.inference_mode():
        features = backbone(flat)
    assert torch.allclose(features[0], features[2], atol=1e-4)


# -------------------------------------------------------------------------------------------------------------- timm


def test_a_timm_backbone_takes_weights_from_a_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    torch.manual_seed(0)
    donor = timm.create_model(SMALL, num_classes=7).eval()  # as published: with a classifier, which is left out
    save_file(donor.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(1)
    fresh = build_backbone(SMALL, "rgb").eval()
    filled = build_backbone(SMALL, "rgb", weights=tmp_path / "weights.safetensors").eval()
    images = pictures(2, 64, 64)
    with torch.inference_mode():
        expected = donor.forward_head(donor.forward_features(InputView("rgb")(images)), pre_logits=True)
        assert torch.allclose(filled(images), expected, atol=1e-5)
        assert not torch.allclose(fresh(images), expected, atol=1e-2)
    assert filled(images).shape == (2, filled.width)
    assert build_backbone(SMALL, "bank")(images).shape == (2, filled.width)


def test_backbones_that_cannot_be_made_say_why(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"no-such-net: neither tracenet"):
        build_backbone("no-such-net")
    with pytest.raises(NetworkError, match="sepia: no such view"):
        build_backbone("tracenet", "sepia")
    with pytest.raises(StorageError, match=r"absent\.safetensors: cannot be read"):
        build_backbone(SMALL, "rgb", weights=tmp_path / "absent.safetensors")
    torch.manual_seed(0)
    weights = timm.create_model(SMALL, num_classes=0).state_dict()
    first, *others = weights
    save_file({name: weights[name] for name in others}, tmp_path / "part.safetensors")
    with pytest.raises(NetworkError, match=rf"part\.safetensors: lacks 1 weights of {SMALL}, the first {first}"):
        build_backbone(SMALL, "rgb", weights=tmp_path / "part.safetensors")
    save_file(weights, tmp_path / "whole.safetensors")
    with pytest.raises(NetworkError, match=r"whole\.safetensors: .*size mismatch") as result:  # six channels, not three
        build_backbone(SMALL, "bank", weights=tmp_path / "whole.safetensors")
    assert "\n" not in str(result.value)


# ---------------------------------------------------------------------------------------- statistics as a backbone


def described(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    latent = torch.randn(count, 40, generator=generator)
    mixing = torch.randn(40, 60, generator=generator) * torch.logspace(-2, 1, 60)
    return latent @ mixing + 5


def test_whitening_keeps_the_largest_components_of_the_scaled_columns() -> None:
    rows = described(400).double()
    standard = (rows - rows.mean(dim=0)) / rows.std(dim=0)
    expected = torch.linalg.eigh(torch.cov(standard.T)).eigenvectors.flip(1)[:, :5]
    whitening = Whitening(60, 5)
    whitening.fit(rows.float())
    result = whitening(rows.float()).double()
    correlation = torch.corrcoef(torch.cat([result, standard @ expected], dim=1).T)[:5, 5:]
    assert torch.allclose(correlation.diagonal().abs(), torch.ones(5).double(), atol=1e-3)


def test_the_cooccurrence_backbone_takes_images_or_their_descriptions() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("cooccurrence").eval()
    images = pictures(3, 48, 48)
    assert cooccurrences(images).shape == (3, WIDTH)
    fit_whitening(backbone, torch.randn(300, WIDTH, generator=torch.Generator().manual_seed(0)))
    with torch.inference_mode():
        assert torch.equal(backbone(images), backbone(cooccurrences(images)))
        assert backbone(images).std(dim=0).max() > 0
