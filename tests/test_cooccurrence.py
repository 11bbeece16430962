"""Counted statistics: against a count by hand, and their symmetries."""

import itertools

import pytest
import torch

from helpers.statistics.cooccurrence import KINDS, WIDTH, cooccurrences, triple_kinds


def noise(n: int = 2, side: int = 40, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator)


def test_a_triple_its_negative_and_its_mirror_image_are_one_kind() -> None:
    kinds = triple_kinds()
    for a, b, c in itertools.product(range(5), repeat=3):
        same = {(a, b, c), (4 - a, 4 - b, 4 - c), (c, b, a), (4 - c, 4 - b, 4 - a)}
        assert len({int(kinds[(x * 5 + y) * 5 + z]) for x, y, z in same}) == 1
    classes = {
        min((a, b, c), (4 - a, 4 - b, 4 - c), (c, b, a), (4 - c, 4 - b, 4 - a))
        for a, b, c in itertools.product(range(5), repeat=3)
    }
    assert len(classes) == KINDS == 39
    assert WIDTH == 2 * 2 * 7 * 39


def test_first_family_agrees_with_a_count_by_hand() -> None:
    img = noise(1, 20)
    luma = torch.einsum("chw,c->hw", img[0].float(), torch.tensor([0.299, 0.587, 0.114]))
    counted = torch.zeros(KINDS)
    kinds, total = triple_kinds(), 0
    for plane in (luma, luma.T):  # horizontal differences along rows, vertical ones along columns
        levels = plane.diff(dim=1).round().clamp(-2, 2).int() + 2
        for row in levels.tolist():
            for a, b, c in zip(row, row[1:], row[2:], strict=False):
                counted[kinds[(a * 5 + b) * 5 + c]] += 1
                total += 1
    assert torch.allclose(cooccurrences(img)[0, :KINDS], (counted / total).sqrt(), atol=1e-6)


def test_squares_of_each_family_sum_to_one() -> None:
    result = cooccurrences(noise()).square().reshape(2, -1, KINDS).sum(dim=2)
    assert torch.allclose(result, torch.ones_like(result), atol=1e-5)


@pytest.mark.parametrize("change", [lambda x: x.flip(3), lambda x: x.flip(2), lambda x: x.transpose(2, 3)])
def test_mirror_images_and_quarter_turns_look_alike(change) -> None:
    img = noise(1, 32)
    native = slice(0, WIDTH // 2)
    changed, same = cooccurrences(change(img))[0], cooccurrences(img)[0]
    # Rounding of exact halves is the only asymmetry left.
    assert float((changed[native] - same[native]).abs().max()) < 0.02


def test_a_flat_image_has_one_kind_of_triple() -> None:
    flat = cooccurrences(torch.full((1, 3, 24, 24), 77, dtype=torch.uint8))[0].reshape(-1, KINDS)
    assert torch.equal((flat > 0).sum(dim=1), torch.ones(len(flat), dtype=torch.int64))


def test_blur_moves_the_description_further_than_another_crop_does() -> None:
    generator = torch.Generator().manual_seed(1)
    base = torch.nn.functional.interpolate(
        torch.rand(1, 3, 30, 30, generator=generator) * 255, (240, 240), mode="bicubic"
    )
    img = (base + 6 * torch.randn(base.shape, generator=generator)).clamp(0, 255).byte()
    blurred = torch.nn.functional.avg_pool2d(img.float(), 3, 1, 1).byte()
    here, there, soft = (cooccurrences(x)[0] for x in (img[..., :120], img[..., 120:], blurred[..., :120]))
    assert float((here - there).norm()) < 0.2 * float((here - soft).norm())


def test_a_description_does_not_hang_on_batch_or_layout() -> None:
    """A last digit of the luma decides where a residual lies between two levels, so it must always be the same."""
    generator = torch.Generator().manual_seed(0)
    # Steps of one grey level are the ties: half of a step of two.
    images = (100 + torch.randint(0, 4, (5, 3, 48, 64), generator=generator)).to(torch.uint8)
    together = cooccurrences(images)
    alone = torch.cat([cooccurrences(img[None]) for img in images])
    last = cooccurrences(images.contiguous(memory_format=torch.channels_last))
    assert torch.equal(together, alone)
    assert torch.equal(together, last)
