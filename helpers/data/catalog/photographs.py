"""The photographs that the course carries in: images that scientific Python packages ship inside their wheels.

Nothing is copied: the manifest points into the installed packages (`pkg:` paths), with the SHA-256 of each file.
Origins and terms are what the packages themselves state (docstrings of `skimage.data`, scikit-learn's
`datasets/images/README.txt`, the comment inside matplotlib's file), or what their maintainers wrote where noted;
"not stated" means that we found no statement.

Split by photograph, by hand, since twelve files are too few to leave it to chance. Each split has everyday scenes of
different origin and one scientific picture; the two views of the motorcycle are one source:

- train: a portrait (astronaut), a cup (coffee), a machine from two sides (motorcycle), a plant (flower), and the fundus
  of an eye (retina);
- val: a portrait (grace_hopper), a rocket launch (rocket), and stained tissue (ihc);
- test: a cat (chelsea), a temple (china), and a telescope picture (hubble_deep_field).

`scene` is "everyday" or "scientific": a lesson on what everyday photographs share can leave the latter out, or use them
as the counter-example. The grey pictures (`textures`) serve statistics only and are all marked `test`, so that nothing
trains on them; their `scene` is "texture", "everyday" or "scientific". Two of the textures (brick, gravel) come from a
library of rendering materials, which does not state how they were made: do not call them photographs.
"""

import hashlib
from dataclasses import dataclass

import pandas as pd

from helpers.data.images import probe, read_bytes
from helpers.data.manifest import COLUMNS, NOT_STATED, resolve, validate
from helpers.data.paths import PACKAGE_PREFIX

__all__ = ["PHOTOGRAPHS", "TEXTURES", "Picture", "build"]


@dataclass(frozen=True)
class Picture:
    """One embedded picture: `file` counts from the folder of installed packages, the rest become manifest columns."""

    name: str
    title: str
    file: str
    split: str
    scene: str
    licence: str
    origin: str
    source: str = ""


_CC0 = "CC0 1.0"
_CC_BY = "CC BY 2.0"
_NONE_KNOWN = "no known copyright restrictions"
_PUBLIC = "public domain"

PHOTOGRAPHS = (
    Picture(
        "astronaut", "Eileen Collins, astronaut", "skimage/data/astronaut.png", "train", "everyday",
        f"{_PUBLIC} ({_NONE_KNOWN})", "NASA, https://flic.kr/p/r9qvLn, by scikit-image",
    ),
    Picture(
        "coffee", "A cup of coffee", "skimage/data/coffee.png", "train", "everyday",
        _CC0, "Rachel Michetti, courtesy of Pikolo Espresso Bar, by scikit-image",
    ),
    Picture(
        "motorcycle_left", "A motorcycle, left view", "skimage/data/motorcycle_left.png", "train", "everyday",
        NOT_STATED, "Middlebury 2014 stereo benchmark, reduced 4 times by averaging, by scikit-image "
        "(https://vision.middlebury.edu/stereo/data/scenes2014/)", "motorcycle",
    ),
    Picture(
        "motorcycle_right", "A motorcycle, right view", "skimage/data/motorcycle_right.png", "train", "everyday",
        NOT_STATED, "Middlebury 2014 stereo benchmark, reduced 4 times by averaging, by scikit-image "
        "(https://vision.middlebury.edu/stereo/data/scenes2014/)", "motorcycle",
    ),
    Picture(
        "flower", "A flower", "sklearn/datasets/images/flower.jpg", "train", "everyday",
        _CC_BY, "https://www.flickr.com/photos/vultilion/6056698931/, by scikit-learn (README: danielbuechele)",
    ),
    Picture(
        "retina", "Fundus of an eye", "skimage/data/retina.jpg", "train", "scientific",
        _CC0, "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg, "
        "Mikael Häggström 2014, doi 10.15347/wjm/2014.008, by scikit-image",
    ),
    Picture(
        "grace_hopper", "Grace Hopper, computer scientist", "matplotlib/mpl-data/sample_data/grace_hopper.jpg", "val",
        "everyday", f"{_PUBLIC} (as stated in matplotlib's pull request 1599)",
        "https://commons.wikimedia.org/wiki/File:Grace_Hopper.jpg (comment in the file), by matplotlib",
    ),
    Picture(
        "rocket", "Launch of DSCOVR on a Falcon 9", "skimage/data/rocket.jpg", "val", "everyday",
        f"{_PUBLIC} (as stated by scikit-image; its issue 5095 reports CC BY-NC 2.0 on the Flickr page)",
        "SpaceX, https://www.flickr.com/photos/spacexphotos/16511594820/, by scikit-image",
    ),
    Picture(
        "ihc", "Stained tissue under a microscope", "skimage/data/ihc.png", "val", "scientific",
        _NONE_KNOWN, "Center for Microscopy And Molecular Imaging (CMMI), by scikit-image",
    ),
    Picture(
        "chelsea", "Chelsea the cat", "skimage/data/chelsea.png", "test", "everyday",
        _CC0, "Stefan van der Walt, by scikit-image",
    ),
    Picture(
        "china", "A temple in China", "sklearn/datasets/images/china.jpg", "test", "everyday",
        _CC_BY, "danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035/, by scikit-learn",
    ),
    Picture(
        "hubble_deep_field", "Hubble eXtreme Deep Field", "skimage/data/hubble_deep_field.jpg", "test", "scientific",
        f"{_PUBLIC} (NASA)", "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/, by scikit-image",
    ),
)  # fmt: skip
"""Colour photographs, in the order of their splits."""

TEXTURES = (
    Picture(
        "brick", "A brick wall", "skimage/data/brick.png", "test", "texture",
        _CC0, "https://cc0textures.com/view.php?tex=Bricks25, warped and scaled, by scikit-image",
    ),
    Picture(
        "grass", "Grass", "skimage/data/grass.png", "test", "texture",
        _CC0, "https://www.deviantart.com/linolafett/art/Grass-01-434853879, by scikit-image",
    ),
    Picture(
        "gravel", "Gravel", "skimage/data/gravel.png", "test", "texture",
        _CC0, "https://cc0textures.com/view.php?tex=Gravel04, by scikit-image",
    ),
    Picture(
        "camera", "A photographer with his camera", "skimage/data/camera.png", "test", "everyday",
        _CC0, "Lav Varshney, by scikit-image",
    ),
    Picture(
        "coins", "Greek coins from Pompeii", "skimage/data/coins.png", "test", "everyday",
        _NONE_KNOWN, "https://www.brooklynmuseum.org/opencollection/archives/image/51611, by scikit-image",
    ),
    Picture(
        "clock", "A wall clock, blurred by motion", "skimage/data/clock_motion.png", "test", "everyday",
        _PUBLIC, "Stefan van der Walt, by scikit-image",
    ),
    Picture(
        "page", "A scanned page", "skimage/data/page.png", "test", "everyday", NOT_STATED, "by scikit-image",
    ),
    Picture(
        "text", "Handwriting on squared paper", "skimage/data/text.png", "test", "everyday",
        f"{_PUBLIC} ({_NONE_KNOWN})", "https://en.wikipedia.org/wiki/File:Corner.png, by scikit-image",
    ),
    Picture(
        "moon", "Surface of the moon", "skimage/data/moon.png", "test", "scientific", NOT_STATED, "by scikit-image",
    ),
)  # fmt: skip
"""Grey pictures, for statistics only."""


def build(pictures: tuple[Picture, ...]) -> pd.DataFrame:
    """Make a manifest of embedded pictures from the installed packages.

    Args:
        pictures: `PHOTOGRAPHS` or `TEXTURES`.

    Returns:
        Manifest with the extra columns name, title and scene.

    Raises:
        ImageError: A file is missing or unreadable.
        ManifestError: A package is not installed.
    """
    df = pd.DataFrame([_row(picture) for picture in pictures])
    return validate(df[[*COLUMNS, "name", "title", "scene"]], "embedded pictures")


def _row(picture: Picture) -> dict[str, object]:
    path = PACKAGE_PREFIX + picture.file
    data = read_bytes(resolve(path, None))
    info = probe(data, path)
    return {
        "path": path,
        "label": "real",
        "generator": "",
        "family": "",
        "source": picture.source or picture.name,
        "split": picture.split,
        "width": info.width,
        "height": info.height,
        "format": info.format,
        "sha256": hashlib.sha256(data).hexdigest(),
        "licence": picture.licence,
        "origin": picture.origin,
        "name": picture.name,
        "title": picture.title,
        "scene": picture.scene,
    }
