"""The generator zoo: six GANs and six diffusion or flow models, small enough to be trained and read in an afternoon.

>>> from helpers import generators
>>> sorted(generators.RECIPES)[:3]
['cosine', 'dcgan', 'ddpm']
>>> images = generators.build("dcgan").sample(2, seed=0)  # fresh weights: noise; `load` brings the trained ones
>>> tuple(images.shape), images.dtype
((2, 3, 64, 64), torch.uint8)

| module | what |
|---|---|
| base | the one interface: `sample(n, seed)` and `resynthesise(crops, seed)` |
| blocks | upsampling in five ways, residual blocks, attention, the small U-Net |
| gans, tasks | the generators that learn against a critic, and the game |
| diffusion, transformer, latent | the processes that take noise away, and their networks |
| roster, recipes, training | the twelve by name, how they are built, and their training |
| crops, quality, release | the crops that they learn from, how near they come, what ships |
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from helpers.data.crops import Crop, draw_crops, stack, zoo_photographs
    from helpers.generators.base import ImageGenerator, NoiseSource, parameter_count
    from helpers.generators.recipes import RECIPES, GeneratorError, Recipe, build, recipe
    from helpers.generators.release import load, zoo_crops, zoo_images

__all__ = [
    "RECIPES",
    "Crop",
    "GeneratorError",
    "ImageGenerator",
    "NoiseSource",
    "Recipe",
    "build",
    "draw_crops",
    "load",
    "parameter_count",
    "recipe",
    "stack",
    "zoo_crops",
    "zoo_images",
    "zoo_photographs",
]

_CROPS = ("Crop", "draw_crops", "stack", "zoo_photographs")
_HOMES = {
    "base": ("ImageGenerator", "NoiseSource", "parameter_count"),
    "recipes": ("RECIPES", "GeneratorError", "Recipe", "build", "recipe"),
    "release": ("load", "zoo_crops", "zoo_images"),
}


def __getattr__(name: str) -> object:
    """Import a name when it is first used, so that a listing of the zoo needs no torch."""
    if name in _CROPS:
        from helpers.data import crops

        return getattr(crops, name)
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"helpers.generators.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
