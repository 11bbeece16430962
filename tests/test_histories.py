"""Histories know no label, keep the crop's size, and are repeatable."""

import pytest
import torch

from helpers.data.seeds import item_generator
from helpers.pixels.histories import MARGIN, Histories, apply_history

LOSSLESS = Histories(jpeg=0, twice=0, webp=0, resized=0)


def picture(side: int = 80) -> torch.Tensor:
    return torch.randint(0, 256, (3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("index", range(12))
def test_a_crop_has_its_side_whatever_happened(index: int) -> None:
    crop = apply_history(picture(), 64, Histories(resized=0.5), item_generator(0, 0, index))
    assert crop.shape == (3, 64, 64)
    assert crop.dtype == torch.uint8


def test_the_same_generator_gives_the_same_crop() -> None:
    first, second = (apply_history(picture(), 64, Histories(), item_generator(3, 1, 4)) for _ in range(2))
    assert torch.equal(first, second)


def test_a_lossless_history_is_a_native_crop() -> None:
    img = picture()
    crop = apply_history(img, 64, LOSSLESS, item_generator(0, 0, 1))
    windows = img.unfold(1, 64, 1).unfold(2, 64, 1)  # (3, 17, 17, 64, 64)
    assert (windows == crop[:, None, None]).all(dim=(0, 3, 4)).any()


@pytest.mark.parametrize("kind", ["jpeg", "twice", "webp"])
def test_each_kind_changes_pixels(kind: str) -> None:
    img = picture(64)
    shares = {"jpeg": 0.0, "twice": 0.0, "webp": 0.0, "resized": 0.0, kind: 1.0}
    assert not torch.equal(apply_history(img, 64, Histories(**shares), item_generator(0, 0, 2)), img)


def test_grids_lie_at_any_offset() -> None:
    """Without losses the place of the crop shows the offsets: all of them occur."""
    img = torch.arange(72, dtype=torch.uint8).repeat(3, 72, 1)
    offsets = {int(apply_history(img, 64, LOSSLESS, item_generator(0, 0, i))[0, 0, 0]) for i in range(120)}
    assert offsets == set(range(MARGIN + 1))


def test_a_picture_of_the_crops_size_passes() -> None:
    crop = apply_history(picture(64), 64, Histories(resized=1.0), item_generator(0, 0, 0))
    assert crop.shape == (3, 64, 64)
