"""Kept views move pixels, broken views remake them, and the encoding at the end does not know what it encodes."""

import pytest
import torch
from textured_images import SIZE, neighbour_statistics, seeded, textured

from helpers.data.images import decode, encode_jpeg
from helpers.data.protocol import Protocol
from helpers.pixels.views import BREAKERS, break_traces, encode_blind, keep_traces

# ------------------------------------------------------------------------------------------------------ kept views


def test_kept_views_are_the_eight_symmetries_of_the_square_and_nothing_else() -> None:
    img = textured()
    turned = [torch.rot90(img, turns, (1, 2)) for turns in range(4)]
    symmetries = [*turned, *(view.flip(2) for view in turned)]
    result = set()
    for seed in range(64):
        view = keep_traces(img, seeded(seed))
        matches = [number for number, symmetry in enumerate(symmetries) if torch.equal(view, symmetry)]
        assert len(matches) == 1
        result.add(matches[0])
    assert result == set(range(8))


def test_kept_views_own_their_memory() -> None:
    img = textured()
    before = img.clone()
    for seed in range(8):
        keep_traces(img, seeded(seed)).zero_()
    assert torch.equal(img, before)


# ---------------------------------------------------------------------------------------------------- broken views


@pytest.mark.parametrize("kind", BREAKERS)
def test_every_breaker_remakes_pixels_and_changes_what_neighbours_tell(kind: str) -> None:
    for seed in range(4):
        img = textured(seed)
        before = img.clone()
        broken = BREAKERS[kind](img, seeded(seed))
        assert torch.equal(img, before)
        assert (broken.shape, broken.dtype) == (img.shape, torch.uint8)
        assert (broken != img).float().mean() > 0.2
        # The content stays; what changes is the relation of neighbours, which no kept view changes.
        assert torch.corrcoef(torch.stack([broken.flatten().float(), img.flatten().float()]))[0, 1] > 0.9
        change = (neighbour_statistics(broken) / neighbour_statistics(img)).log().abs()
        kept = neighbour_statistics(keep_traces(img, seeded(seed))).sort().values
        assert change.max() > 0.2
        torch.testing.assert_close(kept, neighbour_statistics(img).sort().values)


@pytest.mark.parametrize("kind", BREAKERS)
def test_breakers_are_functions_of_the_generator(kind: str) -> None:
    img = textured()
    views = [BREAKERS[kind](img, seeded(seed)) for seed in (0, 0, 1, 2, 3)]
    assert torch.equal(views[0], views[1])
    assert any(not torch.equal(views[0], view) for view in views[2:])


def test_breaking_uses_the_wanted_ways_alone_and_each_of_them() -> None:
    img = textured()
    for kind in BREAKERS:
        generator = seeded(5)
        torch.randint(1, (), generator=generator)  # the choice among one
        assert torch.equal(break_traces(img, seeded(5), (kind,)), BREAKERS[kind](img, generator))
    used = set()
    for seed in range(24):
        generator = seeded(seed)
        choice = list(BREAKERS)[int(torch.randint(len(BREAKERS), (), generator=generator))]
        assert torch.equal(break_traces(img, seeded(seed)), BREAKERS[choice](img, generator))
        used.add(choice)
    assert used == set(BREAKERS)


# -------------------------------------------------------------------------------------------------------- encoding

PROTOCOL = Protocol(crop=SIZE, qualities=(60, 66), subsamplings=("4:2:0", "4:4:4"))


def test_encoding_draws_the_same_numbers_whatever_the_image_holds() -> None:
    for seed in range(20):
        after = []
        for img in (textured(0), torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)):
            for probability in (0.0, 0.5, 1.0):
                generator = seeded(seed)
                encode_blind(img, PROTOCOL, probability, generator)
                after.append(float(torch.rand((), generator=generator)))
        assert len(set(after)) == 1


def test_encoding_is_one_jpeg_with_settings_of_the_protocol() -> None:
    img, qualities = textured(), set()
    for seed in range(12):
        result = encode_blind(img, PROTOCOL, 1.0, seeded(seed))
        candidates = [
            quality
            for quality in range(60, 67)
            for subsampling in PROTOCOL.subsamplings
            if torch.equal(result, decode(encode_jpeg(img, quality, subsampling)))
        ]
        assert candidates
        qualities.add(candidates[0])
    assert len(qualities) > 3


def test_encoding_happens_as_often_as_asked() -> None:
    img = textured()
    for probability, low, high in ((0.0, 0, 0), (0.3, 0.2, 0.4), (1.0, 1, 1)):
        generator = seeded(7)
        changed = [not torch.equal(encode_blind(img, PROTOCOL, probability, generator), img) for _ in range(200)]
        assert low <= sum(changed) / len(changed) <= high
