"""Exercises of lesson 00: the leak AUC of one cue, and last steps that do not know the label."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from helpers.course.compare import agrees, difference, has_shape, unlike
from helpers.course.exercises import Exercise, Property, RightAnswer, WrongAnswer, check, register
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


def _scores(cue: Array, is_fake: Array, source: Array, summary: Any = np.mean) -> Array:  # noqa: ANN401
    """Summarise, for each image, the labels that its cue's value has in the other sources; one half for none."""
    others = (cue[:, None] == cue[None, :]) & (source[:, None] != source[None, :])
    return np.array([summary(is_fake[row]) if row.any() else 0.5 for row in others])


def _share_of_real(cue: Array, is_fake: Array, source: Array) -> float:
    return auc(is_fake, 1 - _scores(cue, is_fake, source))


def _only_the_image_left_out(cue: Array, is_fake: Array, source: Array) -> float:
    return auc(is_fake, _scores(cue, is_fake, np.arange(len(cue))))


def _counts(cue: Array, is_fake: Array, source: Array) -> float:
    return auc(is_fake, _scores(cue, is_fake, source, np.sum))


def _verdicts(cue: Array, is_fake: Array, source: Array) -> float:
    return auc(is_fake, _scores(cue, is_fake, source) > 0.5)


def _mean_of_areas(cue: Array, is_fake: Array, source: Array) -> float:
    score = _scores(cue, is_fake, source)
    return float(np.mean([auc(is_fake[source == name], score[source == name]) for name in np.unique(source)]))


def _by_table(cue: Array, is_fake: Array, source: Array) -> float:
    table = pd.DataFrame({"cue": cue, "fake": is_fake, "source": source})
    everywhere, here = table.groupby("cue")["fake"], table.groupby(["cue", "source"])["fake"]
    count = everywhere.transform("size") - here.transform("size")
    score = (everywhere.transform("sum") - here.transform("sum")) / count.where(count > 0)
    return auc(is_fake, score.fillna(0.5).to_numpy())


_REAL_HINT = "A higher score must mean more fake: take the share of fakes, not that of real images."
_IMAGE_HINT = "You left out one image, and its source's other images still tell: leave out the whole source."
_COUNT_HINT = "Take a share, not a count: divide by the number of images that have the value."
_VERDICT_HINT = "Do not turn shares into yes or no: an AUC needs the ranking that the shares give."
_MEAN_HINT = "Gather the scores of all sources, then compute one AUC over all images."
_HOLD_OUT_HINT = "Which images may a rate come from? Leave out every image of the source that you are scoring."
_FOLD_HINT = "Do not turn an AUC below one half round: there the rule learnt on the other sources was wrong."
_UNKNOWN_HINT = "Start from a score of one half for every image, and change it only where other sources know the value."

_LEAK = Exercise(
    id="0.1",
    title="The leak AUC of one cue",
    reference=leak_auc,
    properties=(
        Property("the score counts fakes", unlike(_share_of_real, _random, "shares of real images"), hint=_REAL_HINT),
        Property(
            "a whole source is left out",
            unlike(_only_the_image_left_out, _random, "leaving out one image"),
            hint=_IMAGE_HINT,
        ),
        Property("the score is a share", unlike(_counts, _random, "counting fakes"), hint=_COUNT_HINT),
        Property("the score is a ranking", unlike(_verdicts, _random, "verdicts, yes or no"), hint=_VERDICT_HINT),
        Property("one AUC for all", unlike(_mean_of_areas, _random, "one AUC per source, averaged"), hint=_MEAN_HINT),
        Property(
            "a cue that gives every fake away has AUC 1",
            _gives(_telling(), 1.0),
            hint="Every PNG is a fake here, in all sources: which score does a PNG get, and which a JPEG?",
        ),
        Property("a constant cue has AUC 0.5", _gives(_constant(), 0.5), hint="Equal scores count one half: use auc."),
        Property("knowing the source by heart has AUC 0.5", _gives(_memorised(), 0.5), hint=_HOLD_OUT_HINT),
        Property("a cue that turns round has AUC 0", _gives(_turned(), 0.0), hint=_FOLD_HINT),
        Property("a value that was never met says nothing", _gives(_unknown(), 0.5), hint=_UNKNOWN_HINT),
        Property("agrees with the reference", agrees(leak_auc, _random), hint="Work out four rows by hand."),
    ),
    wrong_answers=(
        WrongAnswer("the share of real images", _share_of_real, hint=_REAL_HINT),
        WrongAnswer("only the image itself is left out", _only_the_image_left_out, hint=_IMAGE_HINT),
        WrongAnswer("a count in place of a share", _counts, hint=_COUNT_HINT),
        WrongAnswer("verdicts in place of scores", _verdicts, hint=_VERDICT_HINT),
        WrongAnswer("the mean of the sources' AUC", _mean_of_areas, hint=_MEAN_HINT),
        WrongAnswer("rates from the scored images themselves", _without_hold_out, hint=_HOLD_OUT_HINT),
        WrongAnswer("AUC folded to the upper half", _folded, hint=_FOLD_HINT),
        WrongAnswer("zero for unknown values", _zero_for_unknown, hint=_UNKNOWN_HINT),
    ),
    right_answers=(
        RightAnswer("a table of who may tell about whom", lambda *data: auc(data[1], _scores(*data))),
        RightAnswer("pandas: all images minus those of the source", _by_table),
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


def _is_an_image(attempt: Any) -> str | None:  # noqa: ANN401
    answer = attempt(*_picture())
    return None if isinstance(answer, torch.Tensor) else f"expected an image, got {type(answer).__name__}"


def _left_first(img: Image, top: int, left: int, size: int, quality: int) -> Image:
    return last_steps(img, left, top, size, quality)


def _off_by_one(img: Image, top: int, left: int, size: int, quality: int) -> Image:
    return last_steps(img, top + 1, left + 1, size, quality)


def _fixed_quality(img: Image, top: int, left: int, size: int, quality: int) -> Image:
    return last_steps(img, top, left, size, 75)


def _other_quality() -> tuple[Image, int, int, int, int]:
    return (*_picture()[:4], 40)


def _sliced(img: Image, top: int, left: int, size: int, quality: int) -> Image:
    return decode(encode_jpeg(img[:, top : top + size, left : left + size], quality))


def _step_by_step(img: Image, top: int, left: int, size: int, quality: int) -> Image:
    view = crop(img, top=top, left=left, height=size, width=size)
    data = encode_jpeg(view, quality=quality)
    return decode(data)


_BYTES_HINT = "encode_jpeg returns the bytes of a file; a detector sees pixels, so decode them again."
_AXES_HINT = "Rows come first: top counts rows, left counts columns, in that order."
_CORNER_HINT = "Rows and columns count from 0, and the crop begins at (top, left) itself."
_QUALITY_HINT = "Hand the given quality on to encode_jpeg: a number of your own is wrong for all other settings."
_NATIVE_HINT = "Cut, do not resize: resizing mixes neighbouring pixels, and those hold the traces."
_ENCODE_HINT = "A file is missing between the crop and the detector: encode_jpeg makes its bytes, decode reads them."
_ORDER_HINT = "First crop, then encode: only then does the 8 x 8 block grid start at the corner of every view."

_STEPS = Exercise(
    id="0.2",
    title="The same last steps for everyone",
    reference=last_steps,
    properties=(
        Property("the result is an image", _is_an_image, hint=_BYTES_HINT),
        Property("top counts rows", unlike(_left_first, _picture, "top and left exchanged", 0.0), hint=_AXES_HINT),
        Property("it begins at (top, left)", unlike(_off_by_one, _picture, "a crop one off", 0.0), hint=_CORNER_HINT),
        Property(
            "the quality is the given one",
            unlike(_fixed_quality, _other_quality, "quality 75, whatever was asked", 0.0),
            hint=_QUALITY_HINT,
        ),
        Property("a view is size x size", has_shape(_picture, (3, 32, 32)), hint="The crop is a square: size twice."),
        Property("nothing is resized", _native, hint=_NATIVE_HINT),
        Property("every view has been a JPEG", _encoded, hint=_ENCODE_HINT),
        Property("the JPEG is that of the crop", agrees(last_steps, _picture, 0.0), hint=_ORDER_HINT),
    ),
    wrong_answers=(
        WrongAnswer(
            "the decoding is forgotten",
            lambda img, top, left, size, quality: encode_jpeg(crop(img, top, left, size, size), quality),
            _BYTES_HINT,
        ),
        WrongAnswer("top and left exchanged", _left_first, hint=_AXES_HINT),
        WrongAnswer("off by one", _off_by_one, hint=_CORNER_HINT),
        WrongAnswer("a quality of one's own", _fixed_quality, hint=_QUALITY_HINT),
        WrongAnswer("resize instead of crop", _resized, hint=_NATIVE_HINT),
        WrongAnswer("crop without encoding", _only_cropped, hint=_ENCODE_HINT),
        WrongAnswer("encode the whole image, then crop", _encoded_first, hint=_ORDER_HINT),
    ),
    right_answers=(
        RightAnswer("a slice in place of crop", _sliced),
        RightAnswer("step by step, with names", _step_by_step),
    ),
)

EXERCISES = (_LEAK, _STEPS)

register(EXERCISES)
