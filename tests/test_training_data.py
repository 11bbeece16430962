"""Training examples: in balance, functions of (seed, epoch, index), photographs alone where no fake may be seen."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chisquare
from tiny_images import in_memory, made_up

from helpers.data.image_set import ImageSet, Pictures, PixelCache, TrainingDataError
from helpers.data.images import encode_png
from helpers.detectors import crops as training_data
from helpers.detectors.crops import Augmentation, BalancedCrops, PhotographViews

PLAIN = Augmentation(size=32, jpeg=0.0)


def flat(values: list[int], rows: list[dict[str, str]]) -> ImageSet:
    """Images that show their row number as their one colour."""
    return in_memory([torch.full((3, 34, 34), value, dtype=torch.uint8) for value in values], rows, "train")


def real(source: str) -> dict[str, str]:
    return {"label": "real", "generator": "", "family": "", "source": source}


def fake(generator: str, source: str = "prompts") -> dict[str, str]:
    return {"label": "fake", "generator": generator, "family": "gan", "source": source}


UNEQUAL = [real("large")] * 40 + [real("small")] * 4 + [fake("one")] * 30 + [fake("two")] * 6 + [fake("three")] * 3


# ---------------------------------------------------------------------------------------------------------- the set


def test_an_image_is_read_once_and_found_by_its_row(tmp_path: Path) -> None:
    images = [torch.full((3, 40, 33), value, dtype=torch.uint8) for value in (10, 20)]
    for name, img in zip("ab", images, strict=True):
        (tmp_path / f"{name}.png").write_bytes(encode_png(img))
    df = pd.DataFrame([{"path": "b.png", **real("s")}, {"path": "a.png", **fake("g")}])
    result = ImageSet(df, tmp_path)
    assert torch.equal(result.image(0), images[1])
    (tmp_path / "b.png").unlink()
    assert [int(img[0, 0, 0]) for img in result.images()] == [20, 10]
    assert result.labels.tolist() == [0, 1]
    assert len(result) == 2


def test_sets_in_memory_get_paths_and_keep_their_rows() -> None:
    df = pd.DataFrame([real("s"), fake("g")], index=[7, 3])
    result = ImageSet.of([torch.zeros(3, 32, 32, dtype=torch.uint8)] * 2, df)
    assert result.manifest["path"].is_unique
    assert result.manifest["generator"].tolist() == ["", "g"]
    kept = ImageSet.of([torch.zeros(3, 32, 32, dtype=torch.uint8)] * 2, df.assign(path=["x", "y"]))
    assert kept.manifest["path"].tolist() == ["x", "y"]


def test_groups_are_sources_of_photographs_and_generators_of_fakes() -> None:
    images = flat(list(range(len(UNEQUAL))), UNEQUAL)
    assert sorted(len(rows) for rows in images.groups("real")) == [4, 40]
    assert sorted(len(rows) for rows in images.groups("fake")) == [3, 6, 30]
    both = [real("a"), fake("g", "a"), fake("g", "b"), real("b"), fake("h", "a")]
    groups = flat([0, 1, 2, 3, 4], both).groups("fake")
    assert sorted(rows.tolist() for rows in groups) == [[1], [2], [4]]


# ------------------------------------------------------------------------------------------------------- in balance


def test_labels_alternate_and_every_group_is_equally_likely() -> None:
    images = flat(list(range(len(UNEQUAL))), UNEQUAL)
    crops = BalancedCrops(images, PLAIN, seed=3)
    items = [crops[index] for index in range(1800)]
    assert [item["label"] for item in items] == [0, 1] * 900
    assert all(int(item["image"][0, 0, 0]) == item["row"] for item in items)  # the pixels are those of the row
    names = images.manifest["generator"] + images.manifest["source"].where(images.manifest["label"] == "real", "")
    counts = Counter(names[item["row"]] for item in items)
    assert chisquare([counts["large"], counts["small"]]).pvalue > 0.01
    assert chisquare([counts["one"], counts["two"], counts["three"]]).pvalue > 0.01
    rows = Counter(item["row"] for item in items if names[item["row"]] == "one")
    assert chisquare([rows[row] for row in range(44, 74)]).pvalue > 0.01


def test_where_every_photograph_is_a_source_all_photographs_are_equally_likely() -> None:
    rows = [real(f"photograph {number}") for number in range(30)] + [fake("one", f"p{n}") for n in range(27)]
    rows += [fake("two", f"p{n}") for n in range(3)]
    images = flat(list(range(60)), rows)
    crops = BalancedCrops(images, PLAIN)
    drawn = Counter(crops[index]["row"] for index in range(1200))
    assert chisquare([drawn[row] for row in range(30)]).pvalue > 0.01
    assert chisquare([sum(drawn[row] for row in part) for part in (range(30, 57), range(57, 60))]).pvalue > 0.01


def equal(first: dict, second: dict) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(torch.as_tensor(first[key]), torch.as_tensor(second[key])) for key in first)


@pytest.mark.parametrize("kind", [BalancedCrops, PhotographViews])
def test_examples_are_functions_of_seed_epoch_and_index(kind: type) -> None:
    images, augmentation = made_up(), Augmentation(size=32, jpeg=0.5)
    first, second = kind(images, augmentation, seed=1), kind(images, augmentation, seed=1)
    forwards = [first[index] for index in range(5)]
    torch.rand(7)  # the global generator plays no part
    backwards = [second[index] for index in reversed(range(5))][::-1]
    assert all(map(equal, forwards, backwards))
    assert not equal(forwards[0], forwards[2])
    assert not equal(forwards[0], kind(images, augmentation, seed=2)[0])
    second.epoch = 1
    assert not equal(forwards[0], second[0])
    second.epoch = 0
    assert equal(forwards[0], second[0])


def test_crops_are_native_pixels_up_to_symmetry() -> None:
    img = torch.arange(40 * 40).reshape(1, 40, 40).expand(3, -1, -1) % 251
    images = in_memory([img.to(torch.uint8)] * 2, [real("s"), fake("g")], "train")
    crops = BalancedCrops(images, PLAIN)
    windows = img[0].unfold(0, 32, 1).unfold(1, 32, 1).reshape(-1, 32, 32)
    for index in range(6):
        crop = crops[index]["image"][0]
        turned = [torch.rot90(view, turns) for view in (crop, crop.flip(1)) for turns in range(4)]
        assert any(bool((windows == view).all(dim=(1, 2)).any()) for view in turned)


def test_the_last_step_is_blind_to_the_label(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: list[tuple[int, str]] = []

    def note(img: torch.Tensor, quality: int, subsampling: str) -> bytes:
        settings.append((quality, subsampling))
        return encode_png(img)

    monkeypatch.setattr("helpers.pixels.views.encode_jpeg", note)
    augmentation = Augmentation(size=32, jpeg=1.0, qualities=(70, 75))
    rows = [real("s"), fake("g")]
    same = [torch.full((3, 32, 32), 9, dtype=torch.uint8)] * 2
    for order in (rows, rows[::-1]):
        crops = BalancedCrops(in_memory(same, order, "train"), augmentation, seed=4)
        for index in range(40):
            crops[index]
    assert settings[:40] == settings[40:]
    assert {quality for quality, _ in settings} == set(range(70, 76))


def test_developing_is_blind_to_the_label_and_as_frequent_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    developed: list[float] = []

    def note(img: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        developed.append(float(torch.rand((), generator=generator)))
        return 255 - img

    monkeypatch.setattr(training_data, "develop", note)
    rows, same = [real("s"), fake("g")], [torch.full((3, 32, 32), 9, dtype=torch.uint8)] * 2
    augmentation = replace(PLAIN, camera=0.6)
    result = []
    for order in (rows, rows[::-1]):
        crops = BalancedCrops(in_memory(same, order, "train"), augmentation, seed=4)
        result.append([int(crops[index]["image"].max()) for index in range(200)])
    assert result[0] == result[1]
    assert developed[: len(developed) // 2] == developed[len(developed) // 2 :]
    assert set(result[0]) == {9, 246}
    assert chisquare([result[0].count(246), result[0].count(9)], [120, 80]).pvalue > 0.01


@pytest.mark.parametrize("kind", [BalancedCrops, PhotographViews])
def test_without_a_camera_no_number_is_drawn_for_it(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    images, seldom = made_up(), replace(PLAIN, jpeg=0.5, camera=1e-9)
    plain = kind(images, replace(PLAIN, jpeg=0.5))[5]
    assert not equal(plain, kind(images, seldom)[5])  # a number was drawn, and moved all that follow
    monkeypatch.setattr(training_data, "develop", lambda *_: pytest.fail("developed"))
    assert equal(plain, kind(images, replace(PLAIN, jpeg=0.5, camera=0.0))[5])


def test_both_labels_are_needed() -> None:
    with pytest.raises(TrainingDataError, match="both real and fake"):
        BalancedCrops(flat([1, 2], [real("s")] * 2), PLAIN)
    with pytest.raises(TrainingDataError, match="both real and fake"):
        BalancedCrops(flat([1, 2], [fake("g")] * 2), PLAIN)


# -------------------------------------------------------------------------------------------- views of photographs


def test_stage_one_reads_photographs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    images, read = made_up(), set()
    original = ImageSet.image

    def note(self: ImageSet, row: int) -> torch.Tensor:
        read.add(row)
        return original(self, row)

    monkeypatch.setattr(ImageSet, "image", note)
    views = PhotographViews(images, PLAIN, seed=0)
    items = [views[index] for index in range(100)]
    assert read == set(range(16))  # all photographs, and none of the fakes, which are rows 16 to 31
    assert {int(item["row"]) for item in items} == read


def test_photographs_of_all_sources_are_drawn_equally_often() -> None:
    views = PhotographViews(made_up(reals={"many": 60, "few": 6}, fakes={"g": 1}, side=34), PLAIN, kinds=("blur",))
    few = sum(int(views[index]["row"]) >= 60 for index in range(400))
    assert chisquare([few, 400 - few]).pvalue > 0.01


def test_broken_views_are_made_of_the_kept_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def invert(img: torch.Tensor, generator: torch.Generator, kinds: tuple[str, ...]) -> torch.Tensor:
        seen.append(kinds)
        return 255 - img

    monkeypatch.setattr(training_data, "break_traces", invert)
    item = PhotographViews(made_up(), PLAIN, kinds=("median", "blur"))[3]
    assert item["broken"].shape == (2, 3, 32, 32)
    assert torch.equal(item["broken"], 255 - torch.stack([item["first"], item["second"]]))
    assert seen == [("median", "blur")] * 2


def test_each_kept_view_is_developed_anew_and_broken_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    images, calls = made_up(), []

    def note(img: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        calls.append(img)
        return torch.full_like(img, len(calls))

    monkeypatch.setattr(training_data, "develop", note)
    monkeypatch.setattr(training_data, "break_traces", lambda img, generator, kinds: img + 100)
    item = PhotographViews(images, replace(PLAIN, camera=1.0))[0]
    assert [int(item[key].max()) for key in ("first", "second")] == [1, 2]
    assert item["broken"].amax(dim=(1, 2, 3)).tolist() == [101, 102]
    assert not torch.equal(calls[0], calls[1])


def test_all_four_views_take_the_same_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    chances: list[float] = []

    def note(img: torch.Tensor, protocol: object, probability: float, generator: torch.Generator) -> torch.Tensor:
        chances.append(probability)
        return img // 2

    monkeypatch.setattr(training_data, "encode_blind", note)
    item = PhotographViews(made_up(), Augmentation(size=32, jpeg=0.7))[0]
    assert chances == [0.7] * 4
    assert all(int(item[key].max()) <= 127 for key in ("first", "second", "broken"))


def test_one_photograph_is_too_few() -> None:
    with pytest.raises(TrainingDataError, match="two photographs"):
        PhotographViews(flat([1, 2, 3], [real("s"), fake("g"), fake("g")]), PLAIN)


# ----------------------------------------------------------------------------------------------------------- memory


def test_decoded_images_never_take_more_than_the_limit(tmp_path: Path) -> None:
    """As for 2,000 pictures of 12 megapixels, which would take 72 GB: most must be decoded anew."""
    rows, one = [], 3 * 40 * 40
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(encode_png(torch.full((3, 40, 40), number, dtype=torch.uint8)))
        rows.append({"path": f"{number}.png", **real("s")})
    result = ImageSet(pd.DataFrame(rows), tmp_path, cache=PixelCache(3 * one))
    half = result.subset(np.arange(0, 12, 2))
    for _ in range(2):
        for number in range(12):
            assert int(result.image(number)[0, 0, 0]) == number
            assert int(half.image(number // 2)[0, 0, 0]) == number // 2 * 2
            assert result.cache.bytes <= 3 * one
            assert result.cache.bytes == sum(img.nbytes for img in result.cache._images.values())
    assert half.cache is result.cache


def test_the_images_that_were_used_last_are_kept() -> None:
    made: list[str] = []

    def image(name: str) -> torch.Tensor:
        made.append(name)
        return torch.zeros(3, 10, 10, dtype=torch.uint8)

    cache = PixelCache(2 * 300)
    for name in "abacab":
        cache.get(name, lambda name=name: image(name))
    assert made == ["a", "b", "c", "b"]
    assert PixelCache(0).get("a", lambda: image("large")).shape == (3, 10, 10)


def test_pictures_are_a_sequence_that_is_decoded_on_demand(tmp_path: Path) -> None:
    images = made_up()
    pictures = Pictures(images)
    assert len(pictures) == len(images)
    assert torch.equal(pictures[3], images.image(3))
    assert torch.equal(pictures[-1], images.image(len(images) - 1))
    assert all(torch.equal(left, right) for left, right in zip(pictures, images.images(), strict=True))
    assert len(pictures[2:5]) == 3
    with pytest.raises(IndexError):
        pictures[len(images)]


def test_content_is_that_of_the_bytes_or_of_the_pixels(tmp_path: Path) -> None:
    img = torch.arange(3 * 40 * 40).reshape(3, 40, 40).to(torch.uint8)
    (tmp_path / "a.png").write_bytes(encode_png(img))
    filed = ImageSet(pd.DataFrame([{"path": "a.png", **real("s")}]), tmp_path)
    assert filed.content(0) == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    left, right = (ImageSet.of([one], pd.DataFrame([real("s")])).content(0) for one in (img, img.clone()))
    assert left == right
    assert left != ImageSet.of([img.reshape(3, 20, 80)], pd.DataFrame([real("s")])).content(0)
