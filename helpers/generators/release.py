"""From trained weights to what ships: images in one container, manifest, model cards, and the listing of all files."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from helpers.data.catalog import zoo as container
from helpers.data.crops import IMAGE_SIZE, SCALES, Crop, draw_crops, stack, zoo_photographs
from helpers.data.files import write_atomic
from helpers.data.images import decode
from helpers.data.manifest import write_manifest
from helpers.data.places import shipped
from helpers.generators.base import ImageGenerator
from helpers.generators.quality import diversity, kernel_distance, patch_statistics
from helpers.generators.recipes import RECIPES, GeneratorError, build, recipe
from helpers.training import load_weights

IMAGES_PER_GENERATOR = 128
SAMPLE_SEED = 2026
REAL_SEED = 101
LARGEST_ROUNDING = 2
"""Grey levels by which images made on another processor may differ from the shipped ones; one was seen."""
REFERENCE_SEED, REFERENCE_COUNT = 900, 512
LICENCES = {"generated": "CC0 1.0", "real": "as the photograph, see data/photographs/manifest.csv"}


def zoo_folder() -> Path:
    """Where the shipped zoo lies."""
    return shipped("zoo")


def load(name: str, folder: Path | None = None) -> ImageGenerator:
    """Load a generator with its shipped weights, ready to sample.

    Args:
        name: One of `RECIPES`.
        folder: The zoo's folder, the shipped one when None.

    Returns:
        The generator, on the CPU, in evaluation mode, in single precision.

    Raises:
        GeneratorError: There is no such generator, or it has no weights here.
    """
    generator = build(name)
    path = (folder or zoo_folder()) / "weights" / f"{name}.safetensors"
    if not path.is_file():
        raise GeneratorError(f"{name}: no weights at {path}; train it by `python -m helpers zoo train {name}`")
    load_weights(generator, path)
    return generator.eval().requires_grad_(False)


def adopt(name: str, run: Path, folder: Path) -> None:
    """Copy what a finished training leaves behind into the zoo's folder: weights, curve, summary for the card.

    Args:
        name: The generator.
        run: Its training folder.
        folder: The zoo's folder.

    Raises:
        GeneratorError: The training is not finished.
    """
    places = {
        "weights.safetensors": "weights/{}.safetensors",
        "curve.csv": "curves/{}.csv",
        "run.json": "cards/{}.json",
    }
    for made, kept in places.items():
        if not (run / made).is_file():
            raise GeneratorError(f"{name}: {run / made} is missing, so the training is not finished")
        target = folder / kept.format(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / made, target)


def sample_all(folder: Path, *, progress: Callable[..., Iterable[str]] = iter) -> pd.DataFrame:
    """Make every image of the zoo from the weights in its folder, and write container and manifest.

    Args:
        folder: The zoo's folder with weights of all twelve generators.
        progress: Wraps the list of names, such as `tqdm`.

    Returns:
        The manifest.
    """
    files: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    for name in progress(list(RECIPES)):
        images = load(name, folder).sample(IMAGES_PER_GENERATOR, SAMPLE_SEED)
        for number, image in enumerate(images):
            rows.append(_fake_row(name, number))
            _store(image, rows[-1], files)
    for number, crop in enumerate(draw_crops(zoo_photographs("train"), IMAGES_PER_GENERATOR, REAL_SEED)):
        rows.append(_real_row(crop, number))
        _store(crop.image, rows[-1], files)
    df = pd.DataFrame(rows).astype({"width": "int64", "height": "int64"})
    container.write_container(files, folder / container.CONTAINER)
    write_manifest(df, folder / container.MANIFEST)
    return df


def _fake_row(name: str, number: int) -> dict[str, Any]:
    """The manifest row of a generated image; each is a source of its own."""
    share = number / IMAGES_PER_GENERATOR
    return {
        "path": f"{name}/{number:03d}.webp",
        "label": "fake",
        "generator": name,
        "family": recipe(name).family,
        "source": f"{name}-{number:03d}",
        "split": "train" if share < 0.625 else "val" if share < 0.75 else "test",
        "licence": LICENCES["generated"],
        "origin": f"helpers.generators, {name}, seed {SAMPLE_SEED}, image {number}",
        "number": str(number),
        "seed": str(SAMPLE_SEED),
        **dict.fromkeys(("scale", "top", "left", "mirrored"), ""),
    }


def _real_row(crop: Crop, number: int) -> dict[str, Any]:
    """The manifest row of a crop of a photograph."""
    place = {name: str(getattr(crop, name)) for name in ("scale", "top", "left")}
    return {
        "path": f"real/{number:03d}.webp",
        "label": "real",
        "generator": "",
        "family": "",
        "source": crop.source,
        "split": "train",
        "licence": LICENCES["real"],
        "origin": f"crop of {crop.name} (data/photographs/manifest.csv)",
        "number": str(number),
        "seed": str(REAL_SEED),
        **place,
        "mirrored": "yes" if crop.mirrored else "no",
    }


def _store(image: Tensor, row: dict[str, Any], files: dict[str, bytes]) -> None:
    """Encode an image into `files` and complete its row."""
    data = container.encode_lossless(image)
    assert torch.equal(decode(data), image), "lossless WebP came back changed"
    files[row["path"]] = data
    row["width"] = row["height"] = IMAGE_SIZE
    row["format"], row["sha256"] = "WEBP", hashlib.sha256(data).hexdigest()
    row["pixels_sha256"] = container.pixels_sha256(image)


def check_samples(folder: Path, names: Sequence[str], count: int) -> pd.DataFrame:
    """Sample again from the weights and compare with what ships, pixel by pixel.

    Another processor may order sums in another way, which moves single values by one level.

    Args:
        folder: The zoo's folder.
        names: Generators to check.
        count: How many images of each.

    Returns:
        One row per generator: generator, identical (number of images without any difference), of (how many were
        compared), largest (difference in grey levels).
    """
    df = container.load(folder)[0]
    rows = []
    for name in names:
        shipped = container_images(folder, df[df["generator"] == name][:count]).short()
        gaps = (load(name, folder).sample(len(shipped), SAMPLE_SEED).short() - shipped).abs().flatten(1).amax(dim=1)
        same, largest = int((gaps == 0).sum()), int(gaps.max())
        rows.append({"generator": name, "identical": same, "of": len(shipped), "largest": largest})
    return pd.DataFrame(rows)


def zoo_images(split: str | None = None, folder: Path | None = None) -> dict[str, Tensor]:
    """Read the shipped images of all generators; image i of each starts from the same random stream.

    Args:
        split: "train", "val" or "test"; all when None.
        folder: The zoo's folder, the shipped one when None.

    Returns:
        Name -> uint8, (n, 3, 64, 64).
    """
    folder = folder or zoo_folder()
    df = container.load(folder)[0]
    rows = df[(df["label"] == "fake") & (df["split"] == split if split else True)]
    return {str(name): container_images(folder, group) for name, group in rows.groupby("generator", sort=False)}


def zoo_crops(folder: Path | None = None) -> Tensor:
    """Read the shipped crops of the four training scenes: uint8, (n, 3, 64, 64).

    Args:
        folder: The zoo's folder, the shipped one when None.
    """
    folder = folder or zoo_folder()
    df = container.load(folder)[0]
    return container_images(folder, df[df["label"] == "real"])


# Model cards


def write_cards(folder: Path) -> dict[str, dict[str, Any]]:
    """Measure all generators against held-out crops, complete the model cards, and list all files.

    Args:
        folder: The zoo's folder with weights, curves, summaries, container and manifest.

    Returns:
        Name -> card.
    """
    references = _references()
    df = container.load(folder)[0]
    real = container_images(folder, df[df["label"] == "real"])
    baseline = _distances(patch_statistics(real), references)
    cards = {}
    for name in RECIPES:
        images = container_images(folder, df[df["generator"] == name])
        path = folder / "cards" / f"{name}.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
        summary = summary.get("training", summary)
        quality = {
            "measure": "squared maximum mean discrepancy of 41 patch statistics; 0 = same distribution, 2 = disjoint",
            "generator": _distances(patch_statistics(images), references),
            "real crops of the training photographs": baseline,
            "diversity": {"generator": diversity(images), "real": diversity(real)},
        }
        cards[name] = _card(name, summary, quality)
        write_atomic(path, (json.dumps(cards[name], indent=2) + "\n").encode())
    write_listing(folder)
    return cards


def write_listing(folder: Path) -> None:
    """Write the listing of all shipped files with their hashes."""
    text = json.dumps(container.list_files(folder), indent=1)
    write_atomic(folder / container.LISTING, (text + "\n").encode())


def _references() -> dict[str, NDArray[np.float64]]:
    """Descriptions of fresh crops: of the training photographs, and of photographs that no generator has seen."""
    seen, unseen = zoo_photographs("train"), zoo_photographs("val") + zoo_photographs("test")
    return {
        "fresh crops of the training photographs": _describe(seen, REFERENCE_SEED),
        "crops of photographs never seen": _describe(unseen, REFERENCE_SEED + 1),
    }


def _describe(pictures: list[Any], seed: int) -> NDArray[np.float64]:
    return patch_statistics(stack(draw_crops(pictures, REFERENCE_COUNT, seed)))


def container_images(folder: Path, rows: pd.DataFrame) -> Tensor:
    """Read images of the zoo: uint8, (n, 3, 64, 64).

    Args:
        folder: The zoo's folder.
        rows: Rows of its manifest.

    Returns:
        The images, in the order of the rows.
    """
    root = container.unpack(folder)
    return torch.stack([decode((root / path).read_bytes(), path) for path in rows["path"]])


def _distances(features: NDArray[np.float64], references: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Distance to each reference, rounded for print."""
    distances = {name: asdict(kernel_distance(features, reference)) for name, reference in references.items()}
    return {name: {key: round(value, 4) for key, value in row.items()} for name, row in distances.items()}


def _card(name: str, training: dict[str, Any], quality: dict[str, Any]) -> dict[str, Any]:
    """Put a model card together."""
    chosen = recipe(name)
    return {
        "name": name,
        "title": chosen.title,
        "family": chosen.family,
        "enlarges": chosen.enlarges,
        "follows": chosen.paper,
        "data": {
            "photographs": [picture.name for picture in zoo_photographs("train")],
            "crops": "64 x 64, equal weight per scene, half mirrored",
            "scales": {f"reduced {scale} x by averaging": share for scale, share in SCALES.items()},
        },
        "training": training,
        "sampling": {"seed": SAMPLE_SEED, "images": IMAGES_PER_GENERATOR},
        "quality": quality,
        "limits": (
            "Four scenes and some ten minutes on one core: it shows what its architecture leaves in the pixels. "
            "It cannot draw anything else, and its images must not stand for those of large generators."
        ),
    }
