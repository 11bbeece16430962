"""One row for each image, whatever it is; and the public names."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

from helpers.data.image_set import ImageSet
from helpers.data.images import encode_png
from helpers.detectors.base import Detector
from helpers.detectors.config import DetectorConfig, DetectorError


class Brightness(Detector):
    """Calls bright pictures generated: its score is the mean level above 128."""

    name = "brightness of the test"

    def logit(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(1, 2, 3)) - 128

    def fit_weights(self, train: ImageSet, out: Path) -> None:
        raise NotImplementedError


@pytest.fixture
def judge() -> Detector:
    return Brightness(DetectorConfig(window=48))


def grey(level: int, side: int = 40) -> Tensor:
    return torch.full((3, side, side), level, dtype=torch.uint8)


def test_files_and_pictures_of_every_kind_give_the_same_row(judge: Detector, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(grey(200)))
    array = grey(200).permute(1, 2, 0).numpy()
    inputs = [str(tmp_path / "a.png"), tmp_path / "a.png", PillowImage.fromarray(array), array, array[..., 0],
              np.dstack([array, np.full((40, 40), 255, np.uint8)]), grey(200), grey(200)[:1]]  # fmt: skip
    rows = list(judge.predict(inputs))
    assert [row.score for row in rows] == [pytest.approx(72)] * len(inputs)
    assert {row.verdict for row in rows} == {"generated"}
    assert {row.error for row in rows} == {None}
    assert [row.path for row in rows] == [str(tmp_path / "a.png")] * 2 + [f"image {n}" for n in range(2, len(inputs))]
    assert all(0.5 < row.probability <= 1 for row in rows if row.probability is not None)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.rand(3, 40, 40), r"a tensor of float32 \(3, 40, 40\), where uint8 \(3, H, W\)"),
        (torch.zeros(40, 40, 3, dtype=torch.uint8), r"a tensor of uint8 \(40, 40, 3\)"),
        (np.zeros((3, 40, 40), np.uint8), r"an array of uint8 \(3, 40, 40\), where uint8 \(H, W, 3\)"),
        (np.zeros((40, 40, 3)), "an array of float64"),
        (grey(0, 20), "an image of 20 x 20 pixels is too small"),
        (None, "a NoneType, where a path"),
        ("absent.png", "^no such file$"),
        (".", "^a folder$"),
    ],
)
def test_what_is_no_image_is_a_row_with_one_clause(judge: Detector, value: object, message: str) -> None:
    before, bad, after = judge.predict([grey(1), value, grey(255)])
    assert (before.verdict, after.verdict) == ("photograph", "generated")
    assert (bad.score, bad.probability, bad.verdict) == (None, None, None)
    assert bad.error is not None
    assert re.search(message, bad.error)
    assert "\n" not in bad.error


def test_one_or_many(judge: Detector) -> None:
    assert len(list(judge.predict(grey(9)))) == 1
    assert len(list(judge.predict("absent.png"))) == 1
    assert len(list(judge.predict(torch.stack([grey(9), grey(200)])))) == 2
    assert list(judge.predict([])) == []


def test_rows_come_while_images_still_come(judge: Detector) -> None:
    asked = []

    def endless() -> Iterator[Tensor]:
        while True:
            asked.append(0)
            yield grey(len(asked) % 256)

    rows = judge.predict(endless(), batch=2, workers=1)
    assert [next(rows).score for _ in range(5)] == [pytest.approx(n - 128) for n in range(1, 6)]
    assert len(asked) < 20
    rows.close()  # type: ignore[attr-defined]


def test_batches_do_not_change_scores(judge: Detector) -> None:
    images = [grey(level, 40 + level % 3) for level in range(0, 250, 10)]
    expected = judge.score(images)
    for batch in (1, 4, 100):
        assert [row.score for row in judge.predict(images, batch=batch)] == pytest.approx(expected)


def test_score_refuses_what_is_no_uint8_image(judge: Detector) -> None:
    for wrong in (torch.rand(3, 64, 64), np.zeros((64, 64, 3), np.uint8), torch.zeros(4, 64, 64, dtype=torch.uint8)):
        with pytest.raises(DetectorError, match=r"must be a uint8 tensor \(3, H, W\), not"):
            judge.score([wrong])  # type: ignore[list-item]


# The public names


def test_importing_the_package_costs_nothing() -> None:
    heavy = "{'torch', 'numpy', 'helpers.api'}"
    code = f"import sys, helpers; print({heavy} & set(sys.modules)); print('register' in dir(helpers))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["set()", "True"]


def test_load_detector_by_nothing_name_and_folder(project: Path) -> None:
    import helpers

    shipped = helpers.load_detector()
    assert shipped.name == helpers.load_detector("ntf_pretrained").name == "ntf_pretrained"
    zoo = helpers.load_detector(str(project / "data" / "detectors" / "zoo"))
    assert zoo.config == helpers.load_detector("zoo", device="cpu").config
    assert {"ntf", "ntf_pretrained", "zoo"} <= set(helpers.shipped_detectors())
    (row,) = zoo.predict(grey(100, 64))
    assert row.verdict in ("photograph", "generated")


def test_what_cannot_be_loaded_is_said_in_one_line(tmp_path: Path) -> None:
    import helpers

    with pytest.raises(DetectorError, match=r"unicorn: holds no detector: .*shipped: ntf, ntf_pretrained, zoo"):
        helpers.load_detector("unicorn")
    with pytest.raises(DetectorError, match="holds no detector"):
        helpers.load_detector(tmp_path)
    with pytest.raises(DetectorError, match="warp: no such device here"):
        helpers.load_detector("zoo", device="warp")
    with pytest.raises(AttributeError, match="no attribute 'unicorn'"):
        helpers.unicorn  # noqa: B018


def test_the_fast_setting_looks_through_fewer_windows() -> None:
    import helpers

    generator = torch.Generator().manual_seed(3)
    img = torch.randint(0, 256, (3, 700, 900), generator=generator, dtype=torch.uint8)
    chosen, fast = helpers.load_detector(), helpers.load_detector(setting="fast")
    assert [len(judge.views(img)) for judge in (chosen, fast)] == [8, 2]
    tile = img[:, :240, :240]
    # not exactly: where the extra `fast` is installed, its runtime judges in the place of torch
    torch.testing.assert_close(fast.score([tile]), chosen.score([tile]), rtol=0.0, atol=1e-4)
    with pytest.raises(DetectorError, match="slow: no such setting"):
        helpers.load_detector(setting="slow")
