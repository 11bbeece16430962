"""Tiny autoencoders are built from their files, redraw any size, and refuse what is none of theirs."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from helpers.pixels.autoencoders import AutoencoderError, TinyAutoencoder, load_autoencoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = TinyAutoencoder(latent=4)
    for part in ("encoder", "decoder"):
        tensors = {name: value.bfloat16() for name, value in getattr(network, part).state_dict().items()}
        save_file(tensors, tmp_path / f"taesd_{part}.safetensors")
    return tmp_path


@pytest.mark.parametrize("size", [(64, 64), (61, 75)])
def test_a_picture_keeps_its_size(folder: Path, size: tuple[int, int]) -> None:
    img = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    drawn = load_autoencoder(folder, "taesd").redraw(img)
    assert drawn.shape == img.shape
    assert drawn.dtype == torch.uint8


def test_half_precision_stays_within_a_few_grey_levels(folder: Path) -> None:
    img = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    network = load_autoencoder(folder, "taesd")
    difference = network.redraw(img).int() - network.redraw(img, half=True).int()
    assert difference.abs().float().mean() < 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AutoencoderError, match=r"taef1_encoder.safetensors: cannot be read"):
        load_autoencoder(tmp_path, "taef1")


def test_other_weights_are_refused(folder: Path) -> None:
    save_file({"1.weight": torch.zeros(64, 4, 3, 3)}, folder / "taesd_decoder.safetensors")
    with pytest.raises(AutoencoderError, match="not of a tiny autoencoder"):
        load_autoencoder(folder, "taesd")
