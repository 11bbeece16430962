import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from helpers.data import catalog, images
from helpers.pixels import resynthesis
from helpers.pixels.resynthesis import ResynthesisError


@pytest.fixture(scope="module")
def photograph() -> torch.Tensor:
    return images.center_crop(catalog.photograph("coffee"), 230)


@pytest.fixture(scope="module")
def model(photograph: torch.Tensor) -> resynthesis.PatchModel:
    return resynthesis.fit_patch_model([photograph], patches=1500, components=192)


def test_components_are_orthonormal_and_agree_with_scikit_learn(photograph, model) -> None:
    product = model.components @ model.components.T
    assert torch.allclose(product, torch.eye(192), atol=1e-4)
    generator = torch.Generator().manual_seed(0)
    rows = torch.stack([images.random_crop(photograph, 8, generator) for _ in range(1500)]).flatten(1).double() / 255
    other = PCA(3, svd_solver="full").fit(rows.numpy())
    agreement = np.abs((other.components_ * model.components[:3].double().numpy()).sum(1))
    assert agreement == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (61, 83), (97, 70)])
def test_all_components_give_the_image_back(model, photograph, height: int, width: int) -> None:
    img = photograph[:, :height, :width]
    copy = resynthesis.resynthesise(img, model, 192)
    assert copy.shape == img.shape
    assert (copy.int() - img.int()).abs().max() <= 1


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_copy_without_overlap_is_a_projection(model, photograph, stride: int) -> None:
    img = photograph[:, :64, :64]
    errors = [
        float((resynthesis.resynthesise(img, model, count, stride).float() - img.float()).pow(2).mean())
        for count in (4, 16, 64, 192)
    ]
    assert errors == sorted(errors, reverse=True)
    if stride == 8:  # against a plain loop over patches
        basis = model.components[:16]
        patch = img[:, 8:16, 16:24].flatten().float() / 255 - model.mean
        expected = ((patch @ basis.T) @ basis + model.mean).clamp(0, 1).reshape(3, 8, 8) * 255
        got = resynthesis.resynthesise(img, model, 16, 8)[:, 8:16, 16:24]
        assert (got.float() - expected).abs().max() <= 0.51


def test_copies_are_smoother_and_keep_the_content(model, photograph) -> None:
    copy = resynthesis.resynthesise(photograph, model, 12)
    rough = [float(images.luminance(img).diff(dim=1).abs().mean()) for img in (photograph, copy)]
    assert rough[1] < rough[0]
    assert (copy.float().mean((1, 2)) - photograph.float().mean((1, 2))).abs().max() < 3


def test_impossible_settings(model, photograph) -> None:
    with pytest.raises(ResynthesisError):
        resynthesis.fit_patch_model([])
    with pytest.raises(ResynthesisError):
        resynthesis.fit_patch_model([photograph], components=193)
    for components, stride in ((0, 4), (193, 4), (8, 3)):
        with pytest.raises(ResynthesisError):
            resynthesis.resynthesise(photograph, model, components, stride)
