"""Exercises of lesson 00: the leak AUC of one cue, and last steps that do not know the label."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from helpers.course.compare import agrees, difference, has_shape
from helpers.course.exercises import Exercise, Property, WrongAnswer, check, register
from helpers.data.images import Image, crop, decode, encode_jpeg
from helpers.evaluation.metrics import auc

__all__ = ["EXERCISES", "check"]

Array = NDArray[Any]
Data = tuple[Array, Array, Array]


# 0.1 The leak AUC of one cue


def leak_auc(cue: Array, is_fake: Array, source: Array) -> float:
    """Score each image by the share of fakes that its cue's value has in the other sources; return the AUC."""
    score = np.full(len(cue), 0.5)
    for held_out in np.unique(source):
        test = source == held_out
        for value in np.unique(cue[test]):
            known = ~test & (cue == value)
            if known.any():
                score[test & (cue == value)] = is_fake[known].mean()
    return auc(is_fake, score)


def _telling() -> Data:
    """Four sources; every fake is a PNG."""
    is_fake = np.tile([0, 0, 1, 1], 4)
    return np.where(is_fake == 1, "PNG", "JPEG"), is_fake, np.repeat(["a", "b", "c", "d"], 4)


def _constant() -> Data:
    cue, is_fake, source = _telling()
    return np.full_like(cue, "JPEG"), is_fake, source


def _turned() -> Data:
    """Two sources; in the second the cue means the opposite."""
    is_fake = np.tile([0, 0, 1, 1], 2)
    cue = np.where((is_fake == 1) ^ (np.arange(8) >= 4), "PNG", "JPEG")
    return cue, is_fake, np.repeat(["a", "b"], 4)


def _memorised() -> Data:
    """Six sources of one label each; the cue is the source's own name."""
    source = np.repeat(["a", "b", "c", "d", "e", "f"], 3)
    return source.copy(), np.repeat([0, 1, 0, 1, 0, 1], 3), source


def _unknown() -> Data:
    """All values say nothing; one fake has a value that occurs nowhere else."""
    return np.array(["x", "x", "u", "x", "x", "x", "x"]), np.array([0, 1, 1, 0, 1, 0, 1]), np.array(list("aaabbcc"))


def _random() -> Data:
    rng = np.random.default_rng(0)
    is_fake = rng.integers(0, 2, 120)
    cue = (rng.integers(0, 3, 120) + is_fake * rng.integers(0, 2, 120)).astype(str)
    return cue, is_fake, rng.integers(0, 6, 120).astype(str)


def _gives(data: Data, expected: float) -> Any:  # noqa: ANN401 - the shape of a property's test
    """Make a test: the attempt returns this AUC."""
    return lambda attempt: difference(attempt(*data), expected, 1e-9)


def _without_hold_out(cue: Array, is_fake: Array, source: Array) -> float:
    return auc(is_fake, np.array([is_fake[cue == value].mean() for value in cue]))


def _folded(cue: Array, is_fake: Array, source: Array) -> float:
    area = leak_auc(cue, is_fake, source)
    return max(area, 1 - area)


def _zero_for_unknown(cue: Array, is_fake: Array, source: Array) -> float:
    score = np.zeros(len(cue))
    for row in range(len(cue)):
        known = (source != source[row]) & (cue == cue[row])
        score[row] = is_fake[known].mean() if known.any() else 0.0
    return auc(is_fake, score)


_HOLD_OUT_HINT = "Which images may a rate come from? Leave out every image of the source that you are scoring."
_FOLD_HINT = "Do not turn an AUC below one half round: there the rule learnt on the other sources was wrong."
_UNKNOWN_HINT = "Start from a score of one half for every image, and change it only where other sources know the value."

_LEAK = Exercise(
    id="0.1",
    title="The leak AUC of one cue",
    reference=leak_auc,
    properties=(
        Property("a cue that gives every fake away has AUC 1", _gives(_telling(), 1.0), hint="Higher means more fake."),
        Property("a constant cue has AUC 0.5", _gives(_constant(), 0.5), hint="Equal scores count one half: use auc."),
        Property("knowing the source by heart has AUC 0.5", _gives(_memorised(), 0.5), hint=_HOLD_OUT_HINT),
        Property("a cue that turns round has AUC 0", _gives(_turned(), 0.0), hint=_FOLD_HINT),
        Property("a value that was never met says nothing", _gives(_unknown(), 0.5), hint=_UNKNOWN_HINT),
        Property("agrees with the reference", agrees(leak_auc, _random), hint="Work out four rows by hand."),
    ),
    wrong_answers=(
        WrongAnswer("rates from the scored images themselves", _without_hold_out, hint=_HOLD_OUT_HINT),
        WrongAnswer("AUC folded to the upper half", _folded, hint=_FOLD_HINT),
        WrongAnswer("zero for unknown values", _zero_for_unknown, hint=_UNKNOWN_HINT),
    ),
)


# 0.2 Last steps that do not know the label


def last_steps(img: Image, top: int, left: int, size: int, quality: int) -> Image:
    """Cut a square at native resolution, encode it as JPEG, and return what a detector will see."""
    return decode(encode_jpeg(crop(img, top, left, size, size), quality))


def _picture() -> tuple[Image, int, int, int, int]:
    """Smooth colours with grain, 60 x 80 pixels; a crop that lies off the block grid."""
    rows, columns = torch.meshgrid(torch.linspace(20, 200, 60), torch.linspace(40, 220, 80), indexing="ij")
    grain = torch.randint(0, 30, (3, 60, 80), generator=torch.Generator().manual_seed(0))
    return (torch.stack([rows, columns, (rows + columns) / 2]) + grain).to(torch.uint8), 5, 11, 32, 85


def _native(attempt: Any) -> str | None:  # noqa: ANN401
    """Compare with the crop's own pixels, which JPEG changes little and resizing much."""
    img, top, left, size, _ = _picture()
    wanted = crop(img, top, left, size, size).float().mean((1, 2))
    gap = float((attempt(img, top, left, size, 95).float().mean((1, 2)) - wanted).abs().max())
    return None if gap < 3 else f"its mean colour is {gap:.0f} grey levels away from that of the native crop"


def _encoded(attempt: Any) -> str | None:  # noqa: ANN401
    img, top, left, size, quality = _picture()
    same = torch.equal(attempt(img, top, left, size, quality), crop(img, top, left, size, size))
    return "the pixels are those of the crop, unchanged" if same else None


def _resized(img: Image, top: int, left: int, size: int, quality: int) -> Image:
    small = torch.nn.functional.interpolate(img[None].float(), (size, size), mode="bilinear")[0]
    return decode(encode_jpeg(small.round().to(torch.uint8), quality))


def _only_cropped(img: Image, top: int, left: int, size: int, quality: int) -> Image:
    return crop(img, top, left, size, size)


def _encoded_first(img: Image, top: int, left: int, size: int, quality: int) -> Image:
    return crop(decode(encode_jpeg(img, quality)), top, left, size, size)


_NATIVE_HINT = "Cut, do not resize: resizing mixes neighbouring pixels, and those hold the traces."
_ENCODE_HINT = "A file is missing between the crop and the detector: encode_jpeg makes its bytes, decode reads them."
_ORDER_HINT = "First crop, then encode: only then does the 8 x 8 block grid start at the corner of every view."

_STEPS = Exercise(
    id="0.2",
    title="The same last steps for everyone",
    reference=last_steps,
    properties=(
        Property("a view is size x size", has_shape(_picture, (3, 32, 32)), hint="The crop is a square: size twice."),
        Property("nothing is resized", _native, hint=_NATIVE_HINT),
        Property("every view has been a JPEG", _encoded, hint=_ENCODE_HINT),
        Property("the JPEG is that of the crop", agrees(last_steps, _picture, 0.0), hint=_ORDER_HINT),
    ),
    wrong_answers=(
        WrongAnswer("resize instead of crop", _resized, hint=_NATIVE_HINT),
        WrongAnswer("crop without encoding", _only_cropped, hint=_ENCODE_HINT),
        WrongAnswer("encode the whole image, then crop", _encoded_first, hint=_ORDER_HINT),
    ),
)

EXERCISES = (_LEAK, _STEPS)

register(EXERCISES)
