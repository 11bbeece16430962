"""The zoo as train, validation and test sets: fakes of chosen generators beside crops of photographs.

The generators learned from crops of the four training scenes. Real crops of the train set are of these scenes; those
of the validation and test sets show photographs that neither generators nor detectors have seen. Fakes follow the
split of the zoo's manifest.
"""

from collections.abc import Sequence

import pandas as pd
import torch

from helpers.data.crops import draw_crops, zoo_photographs
from helpers.data.image_set import ImageSet, TrainingDataError
from helpers.data.manifest import SPLITS
from helpers.generators import RECIPES, zoo_images

__all__ = ["TRAINING_GENERATORS", "zoo_set"]

TRAINING_GENERATORS = ("dcgan", "style", "ddpm", "edm")
"""Two GANs and two diffusion models that the lessons' detectors learn from; the other eight stay unseen."""

_REAL_SEEDS = {"train": 101, "val": 102, "test": 103}


def zoo_set(split: str, generators: Sequence[str] | None = None, *, reals: int = 256) -> ImageSet:
    """Gather one split of the zoo.

    Args:
        split: "train", "val" or "test".
        generators: Names of the generators whose fakes are wanted; all twelve when None.
        reals: Crops of photographs.

    Returns:
        Set of 64 x 64 images with columns path, label, generator, family, source, split; a real crop's source is its
        photograph's scene, a fake's its generator.

    Raises:
        TrainingDataError: Unknown split or generator.
    """
    names = list(RECIPES) if generators is None else list(generators)
    if split not in SPLITS or not set(names) <= set(RECIPES):
        raise TrainingDataError(f"no such split or generator: {split}, {', '.join(names)}")
    crops = draw_crops(zoo_photographs(split), reals, _REAL_SEEDS[split])
    fakes = zoo_images(split)
    rows = [{"label": "real", "generator": "", "family": "", "source": crop.source} for crop in crops]
    for name in names:
        row = {"label": "fake", "generator": name, "family": RECIPES[name].family, "source": name}
        rows += [row] * len(fakes[name])
    images = [crop.image for crop in crops] + [img for name in names for img in torch.unbind(fakes[name])]
    return ImageSet.of(images, pd.DataFrame(rows).assign(split=split))
