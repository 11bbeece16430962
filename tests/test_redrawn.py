"""Copies of photographs by decoders, and a detector that knows what one of them does."""

import hashlib
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from command import run
from safetensors.torch import save_file
from torch import Tensor

from helpers.data.image_set import ImageSet
from helpers.data.images import encode_png
from helpers.detectors.base import Detector
from helpers.detectors.config import DetectorConfig
from helpers.pixels.autoencoders import NAMES, TinyAutoencoder
from helpers.selection.redrawn import redrawn_study


class Roughness(Detector):
    """Smooth pictures look generated; an untrained decoder's copies are smooth."""

    name: ClassVar[str] = "roughness_for_copies"

    class Config(DetectorConfig):
        autoencoders: tuple[str, ...] = ("taesd",)

    def logit(self, images: Tensor) -> Tensor:
        return -(images.float().diff(dim=-1).abs().mean(dim=(1, 2, 3)))

    def fit_weights(self, train: ImageSet, out: Path) -> None:
        pass


@pytest.fixture
def decoders(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        torch.manual_seed(number)
        network = TinyAutoencoder(latent=4 if name == "taesd" else 16)
        for part in ("encoder", "decoder"):
            save_file(getattr(network, part).state_dict(), tmp_path / f"{name}_{part}.safetensors")
    return tmp_path


def noise(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(0, 256, (3, 64, 72), generator=generator, dtype=torch.uint8) for _ in range(count)]


def test_smooth_copies_of_rough_pictures_are_told_apart(decoders: Path) -> None:
    judge = Roughness(Roughness.Config())
    judge.threshold = -5.0
    false_alarms, results = redrawn_study(judge, noise(6), decoders, n_draws=20)
    assert false_alarms == 0
    assert [(one.decoder, one.seen, one.photographs) for one in results] == [
        ("taesd", True, 6), ("taesd3", False, 6), ("taef1", False, 6),
    ]  # fmt: skip
    assert all((one.auc.value, one.higher) == (1, 1) for one in results)
    assert all(one.called_generated == 1 for one in results)


def test_the_command_reads_photographs_alone(decoders: Path, tmp_path: Path) -> None:
    rows = ["path,label,generator,family,source,split,width,height,format,sha256,licence,origin"]
    for number, img in enumerate(noise(4)):
        data = encode_png(img)
        (tmp_path / f"{number}.png").write_bytes(data)
        label = "real,," if number < 3 else "fake,g,g"
        rows.append(f"{number}.png,{label},s,val,72,64,PNG,{hashlib.sha256(data).hexdigest()},CC0,made up")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    words = ("robustness", "redraw", "zoo", "--decoders", str(decoders), "--manifest", str(tmp_path / "m.csv"))
    done = run(*words, "--draws", "5", "--json")
    result = json.loads(done.stdout)
    assert done.exit_code == 0
    assert [one["photographs"] for one in result["decoders"]] == [3, 3, 3]
    assert np.all([0 <= one["auc"]["value"] <= 1 for one in result["decoders"]])
    assert "taesd3" in run(*words, "--draws", "5").stdout
    assert "no photograph of split test" in run(*words, "--split", "test").stderr
