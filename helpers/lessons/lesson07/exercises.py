"""Exercises of lesson 07: a matched evaluation, a blind perturbation, one step of an attack."""

import builtins
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from helpers.course.compare import agrees, difference
from helpers.course.exercises import Exercise, Function, Property, RightAnswer, WrongAnswer, check, register
from helpers.data.images import Image, encode_jpeg
from helpers.data.seeds import derive_seed
from helpers.pixels.perturbations import add_noise, jpeg

__all__ = ["EXERCISES", "check"]

# 7.1 · A matched evaluation

PLACES = "Return photographs and fakes, each in its old place in the list."
PIXELS = "Return images again, not files: `jpeg(img, quality)` saves and decodes in one go."
SPARE = "Who lacks a JPEG in its past? A second JPEG on the photographs would be a new difference between the labels."
ALL = "Every fake was a PNG: each of them has to be saved as JPEG once."
FROM_LIST = (
    "A quality comes from the list `qualities`, and each fake is saved once: not at a quality between, not twice."
)
ONE_FOR_ALL = "One quality for all fakes is a fingerprint again: draw anew for each fake."
CHANCE = "Nothing is drawn: another state of `generator` must give other qualities."
GENERATOR = "Chance comes from `generator` alone: pass it to every function that draws."
OFTEN = "Draw from the list as it is: a quality that many photographs have must come often."


def resave_fakes(
    images: Sequence[Image], is_fake: Sequence[bool], qualities: Sequence[int], generator: torch.Generator
) -> list[Image]:
    """Reference: give each fake one JPEG, at a quality drawn from those of the photographs."""

    def drawn() -> int:
        return int(qualities[int(torch.randint(len(qualities), (), generator=generator))])

    return [jpeg(img, drawn()) if fake else img for img, fake in zip(images, is_fake, strict=True)]


QUALITIES = (75, 80, 85, 90, 95)
Collection = tuple[list[Image], list[bool], list[int], torch.Generator]


def _collection(seed: int = 0, qualities: Sequence[int] = QUALITIES) -> Collection:
    """Forty small images, every second one fake, the qualities of the photographs, and a generator with this seed."""
    drawing = torch.Generator().manual_seed(100)
    images = [torch.randint(0, 256, (3, 16, 16), generator=drawing, dtype=torch.uint8) for _ in range(40)]
    return images, [index % 2 == 1 for index in range(40)], list(qualities), torch.Generator().manual_seed(seed)


def _found_qualities(attempt: Function, seed: int = 0, qualities: Sequence[int] = QUALITIES) -> list[int]:
    """Find at which quality each fake was saved; 0 for none of the list."""
    images, is_fake, *rest = _collection(seed, qualities)
    got = attempt(images, is_fake, *rest)
    different = sorted(set(qualities))
    pairs = [(images[i], got[i]) for i in range(len(images)) if is_fake[i]]
    return [next((q for q in different if torch.equal(jpeg(before, q), after)), 0) for before, after in pairs]


def _keeps_places(attempt: Function) -> str | None:
    images, *rest = _collection()
    got = attempt(images, *rest)
    return None if len(got) == len(images) else f"expected {len(images)} images, got {len(got)}"


def _returns_images(attempt: Function) -> str | None:
    odd = [type(img).__name__ for img in attempt(*_collection()) if not isinstance(img, torch.Tensor)]
    return f"{len(odd)} of 40 are no images but {odd[0]}" if odd else None


def _spares_photographs(attempt: Function) -> str | None:
    images, is_fake, *rest = _collection()
    got = attempt(list(images), is_fake, *rest)
    touched = sum(not torch.equal(got[i], images[i]) for i in range(len(images)) if not is_fake[i])
    return f"{touched} of 20 photographs were changed" if touched else None


def _saves_every_fake(attempt: Function) -> str | None:
    images, is_fake, *rest = _collection()
    got = attempt(list(images), is_fake, *rest)
    left = sum(torch.equal(got[i], images[i]) for i in range(len(images)) if is_fake[i])
    return f"{left} of 20 fakes are as they were" if left else None


def _takes_from_list(attempt: Function) -> str | None:
    strange = _found_qualities(attempt).count(0)
    return f"{strange} of 20 fakes were not saved once at one of the photographs' qualities" if strange else None


def _varies_qualities(attempt: Function) -> str | None:
    different = len(set(_found_qualities(attempt)))
    return None if different >= 3 else f"20 fakes share {different} of 5 qualities"


def _obeys_generator(attempt: Function) -> str | None:
    same = _found_qualities(attempt, 1) == _found_qualities(attempt, 1)
    return None if same else "two generators with one seed gave different qualities"


def _draws(attempt: Function) -> str | None:
    same = _found_qualities(attempt, 1) == _found_qualities(attempt, 2)
    return "two generators with different seeds gave the same qualities" if same else None


def _keeps_shares(attempt: Function) -> str | None:
    """Nine photographs in ten have quality 75."""
    qualities = [75] * 36 + [80, 85, 90, 95]
    share = float(np.mean([q == 75 for seed in range(3) for q in _found_qualities(attempt, seed, qualities)]))
    return None if share > 0.7 else f"90 % of the photographs have quality 75, and {share:.0%} of the fakes"


def _fakes_alone(
    images: Sequence[Image], is_fake: Sequence[bool], qualities: Sequence[int], generator: torch.Generator
) -> list[Image]:
    fakes = [img for img, fake in zip(images, is_fake, strict=True) if fake]
    return resave_fakes(fakes, [True] * len(fakes), qualities, generator)


def _one_quality(
    images: Sequence[Image], is_fake: Sequence[bool], qualities: Sequence[int], generator: torch.Generator
) -> list[Image]:
    return resave_fakes(images, is_fake, [sorted(qualities)[len(qualities) // 2]], generator)


def _in_turn(
    images: Sequence[Image], is_fake: Sequence[bool], qualities: Sequence[int], generator: torch.Generator
) -> list[Image]:
    turn = enumerate(zip(images, is_fake, strict=True))
    return [jpeg(img, qualities[index // 2 % len(qualities)]) if fake else img for index, (img, fake) in turn]


def _global_chance(
    images: Sequence[Image], is_fake: Sequence[bool], qualities: Sequence[int], generator: torch.Generator
) -> list[Image]:
    return resave_fakes(images, is_fake, qualities, torch.default_generator)


def _between(
    images: Sequence[Image], is_fake: Sequence[bool], qualities: Sequence[int], generator: torch.Generator
) -> list[Image]:
    return resave_fakes(images, is_fake, range(min(qualities), max(qualities)), generator)


def _each_quality_once(
    images: Sequence[Image], is_fake: Sequence[bool], qualities: Sequence[int], generator: torch.Generator
) -> list[Image]:
    return resave_fakes(images, is_fake, sorted(set(qualities)), generator)


def _files(
    images: Sequence[Image], is_fake: Sequence[bool], qualities: Sequence[int], generator: torch.Generator
) -> list[Any]:
    return [encode_jpeg(img, 90) if fake else img for img, fake in zip(images, is_fake, strict=True)]


def _drawn_at_once(
    images: Sequence[Image], is_fake: Sequence[bool], qualities: Sequence[int], generator: torch.Generator
) -> list[Image]:
    """A right answer: all places drawn in one call, images replaced in a copy of the list."""
    matched, fakes = list(images), np.flatnonzero(is_fake).tolist()
    places = torch.randint(len(qualities), (len(fakes),), generator=generator)
    for row, place in zip(fakes, places.tolist(), strict=True):
        matched[row] = jpeg(images[row], qualities[place])
    return matched


def _drawn_for_everyone(
    images: Sequence[Image], is_fake: Sequence[bool], qualities: Sequence[int], generator: torch.Generator
) -> list[Image]:
    """A right answer: by multinomial, photographs draw as well and do not use it."""
    places = torch.multinomial(torch.ones(len(qualities)), len(images), replacement=True, generator=generator)
    return [
        jpeg(img, qualities[int(place)]) if fake else img
        for img, fake, place in zip(images, is_fake, places, strict=True)
    ]


MATCHED = Exercise(
    id="7.1",
    is_used=True,
    title="A matched evaluation",
    reference=resave_fakes,
    properties=(
        Property("every image comes back", _keeps_places, hint=PLACES),
        Property("images come back, not files", _returns_images, hint=PIXELS),
        Property("photographs stay as they are", _spares_photographs, hint=SPARE),
        Property("every fake has been a JPEG once", _saves_every_fake, hint=ALL),
        Property("the qualities are those of the photographs", _takes_from_list, hint=FROM_LIST),
        Property("every fake draws for itself", _varies_qualities, hint=ONE_FOR_ALL),
        Property("the generator decides", _obeys_generator, hint=GENERATOR),
        Property("qualities are drawn", _draws, hint=CHANCE),
        Property("common qualities come often", _keeps_shares, hint=OFTEN),
    ),
    wrong_answers=(
        WrongAnswer(
            "everything is saved again",
            lambda images, is_fake, qualities, generator: resave_fakes(images, [True] * 40, qualities, generator),
            hint=SPARE,
        ),
        WrongAnswer("one quality for all", _one_quality, hint=ONE_FOR_ALL),
        WrongAnswer("the fakes alone", _fakes_alone, hint=PLACES),
        WrongAnswer("nothing is saved", lambda images, is_fake, qualities, generator: list(images), hint=ALL),
        WrongAnswer("in turn, nothing drawn", _in_turn, hint=CHANCE),
        WrongAnswer("the generator is ignored", _global_chance, hint=GENERATOR),
        WrongAnswer("any quality between the extremes", _between, hint=FROM_LIST),
        WrongAnswer("every quality as likely", _each_quality_once, hint=OFTEN),
        WrongAnswer("files instead of images", _files, hint=PIXELS),
        WrongAnswer(
            "saved twice", lambda images, *rest: _drawn_at_once(_drawn_at_once(images, *rest), *rest), FROM_LIST
        ),
    ),
    right_answers=(
        RightAnswer("all draws at once", _drawn_at_once),
        RightAnswer("a draw for everyone", _drawn_for_everyone),
    ),
)

# 7.2 · A blind perturbation

ALONE = "Make a fresh generator for each image, from the seed and the image's own name, inside the loop."
STORED = "An image stays what it was: uint8, the same shape. Convert at the end."
CENTRED = "Gaussian noise is as often below 0 as above: `torch.randn`, not `torch.rand`."
ROUNDED = "Turning floats into uint8 cuts the fraction off, which darkens the image: round first."
CHANNELS = "Red, green and blue have noise of their own: draw in the shape of the whole image."
SALTED = "Python's `hash` of a text differs from process to process: `derive_seed(seed, name)` does not."
OWN = "Two images of different names share their noise, or another seed changes nothing: put both into `derive_seed`."
WRAP = "uint8 counts 250 + 10 as 4. Add in floating point, then round and clip to 0..255."
SCALE = "Sigma is in grey levels of 0..255, the scale of the pixels as they are stored."


def noisy(images: Mapping[str, Image], sigma: float, seed: int) -> dict[str, Image]:
    """Reference: Gaussian noise that depends on seed and name alone."""
    return {
        name: add_noise(img, sigma, torch.Generator().manual_seed(derive_seed(seed, name)))
        for name, img in images.items()
    }


def _grey(value: int = 128) -> dict[str, Image]:
    return {f"image-{index}": torch.full((3, 24, 24), value, dtype=torch.uint8) for index in range(4)}


def _ignores_neighbours(attempt: Function) -> str | None:
    images = _grey()
    together = attempt(dict(images), 8.0, 1)
    for name in images:
        if not torch.equal(attempt({name: images[name]}, 8.0, 1)[name], together[name]):
            return f"{name} gets other noise when the other images are absent"
    return None


def _has_its_own(attempt: Function) -> str | None:
    got, other = attempt(_grey(), 8.0, 1), attempt(_grey(), 8.0, 2)
    if torch.equal(got["image-0"], got["image-1"]):
        return "image-0 and image-1 get the same noise"
    return "seeds 1 and 2 give the same noise" if torch.equal(got["image-0"], other["image-0"]) else None


def _does_not_wrap(attempt: Function) -> str | None:
    darkest = int(attempt(_grey(253), 8.0, 1)["image-0"].min())
    return None if darkest > 200 else f"a pixel of 253 became {darkest}"


def _has_spread(attempt: Function) -> str | None:
    spread = float((attempt(_grey(), 8.0, 1)["image-2"].double() - 128).std())
    return None if abs(spread - 8) < 0.8 else f"expected a spread of about 8 grey levels, got {spread:.2f}"


def _stays_an_image(attempt: Function) -> str | None:
    got, wanted = attempt(_grey(), 8.0, 1), _grey()
    if set(got) != set(wanted):
        return f"expected the names {', '.join(wanted)}, got {', '.join(map(str, got))}"
    first = torch.as_tensor(got["image-0"])
    kind = f"{str(first.dtype).removeprefix('torch.')} of shape {tuple(first.shape)}"
    return None if kind == "uint8 of shape (3, 24, 24)" else f"expected uint8 of shape (3, 24, 24), got {kind}"


def _is_centred(attempt: Function) -> str | None:
    shift = float(torch.stack(list(attempt(_grey(), 2.0, 1).values())).double().mean() - 128)
    return None if abs(shift) < 0.75 else f"the mean of the pixels moved by {shift:+.2f} grey levels"


def _is_rounded(attempt: Function) -> str | None:
    images = {f"image-{index}": torch.full((3, 48, 48), 128, dtype=torch.uint8) for index in range(4)}
    shift = float(torch.stack(list(attempt(images, 1.0, 1).values())).double().mean() - 128)
    return None if abs(shift) < 0.1 else f"the mean of the pixels moved by {shift:+.2f} grey levels"


def _has_three_channels(attempt: Function) -> str | None:
    red, green, _ = attempt(_grey(), 8.0, 1)["image-0"]
    return "red and green of image-0 have the same noise" if torch.equal(red, green) else None


def _is_stable(attempt: Function) -> str | None:
    """Act as if another process had started, whose text hashes have another salt."""
    here, real_hash = attempt(_grey(), 8.0, 1), builtins.hash
    with patch("builtins.hash", lambda value: (real_hash(value) * 31 + 7) % 2**61):
        there = attempt(_grey(), 8.0, 1)
    same = all(torch.equal(here[name], there[name]) for name in here)
    return None if same else "another process, with another salt for `hash`, gets other noise"


def _one_generator(images: Mapping[str, Image], sigma: float, seed: int) -> dict[str, Image]:
    generator = torch.Generator().manual_seed(seed)
    return {name: add_noise(img, sigma, generator) for name, img in images.items()}


def _same_noise(images: Mapping[str, Image], sigma: float, seed: int) -> dict[str, Image]:
    return {name: add_noise(img, sigma, torch.Generator().manual_seed(seed)) for name, img in images.items()}


Noise = dict[str, Any]


def _noise(img: Image, seed: int, shape: tuple[int, ...] | None = None) -> Tensor:
    return torch.randn(shape or tuple(img.shape), generator=torch.Generator().manual_seed(seed))


def _cut_off(images: Mapping[str, Image], sigma: float, seed: int) -> Noise:
    return {
        name: (img + sigma * _noise(img, derive_seed(seed, name))).clamp(0, 255).to(torch.uint8)
        for name, img in images.items()
    }


def _floats(images: Mapping[str, Image], sigma: float, seed: int) -> Noise:
    return {
        name: (img + sigma * _noise(img, derive_seed(seed, name))).round().clamp(0, 255) for name, img in images.items()
    }


def _salted(images: Mapping[str, Image], sigma: float, seed: int) -> Noise:
    return {
        name: add_noise(img, sigma, torch.Generator().manual_seed(hash((seed, name)) % 2**32))
        for name, img in images.items()
    }


def _grey_noise(images: Mapping[str, Image], sigma: float, seed: int) -> Noise:
    return {
        name: (img + sigma * _noise(img, derive_seed(seed, name), tuple(img.shape[1:])))
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
        for name, img in images.items()
    }


def _one_sided(images: Mapping[str, Image], sigma: float, seed: int) -> Noise:
    p_values = {}
    for name, img in images.items():
        drawn = torch.rand(img.shape, generator=torch.Generator().manual_seed(derive_seed(seed, name)))
        p_values[name] = (img + sigma * drawn).round().clamp(0, 255).to(torch.uint8)
    return p_values


def _with_numpy(images: Mapping[str, Image], sigma: float, seed: int) -> Noise:
    """A right answer with NumPy's generator."""
    p_values = {}
    for name, img in images.items():
        rng = np.random.default_rng(derive_seed(seed, name))
        changed = img.numpy() + rng.normal(0, sigma, tuple(img.shape))
        p_values[name] = torch.from_numpy(np.clip(np.rint(changed), 0, 255).astype(np.uint8))
    return p_values


def _by_checksum(images: Mapping[str, Image], sigma: float, seed: int) -> Noise:
    """A right answer whose seed is a checksum of seed and name; it fills a tensor in place."""
    changed = {}
    for name in reversed(list(images)):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
        noise = torch.empty(images[name].shape).normal_(0, sigma, generator=generator)
        changed[name] = torch.clip(torch.round(images[name].float() + noise), 0, 255).byte()
    return {name: changed[name] for name in images}


def _wrapping(images: Mapping[str, Image], sigma: float, seed: int) -> dict[str, Image]:
    noisy = {}
    for name, img in images.items():
        noise = sigma * torch.randn(img.shape, generator=torch.Generator().manual_seed(derive_seed(seed, name)))
        noisy[name] = img + noise.round().to(torch.int16).to(torch.uint8)
    return noisy


BLIND = Exercise(
    id="7.2",
    title="A blind perturbation",
    reference=noisy,
    properties=(
        Property("every image stays an image", _stays_an_image, hint=STORED),
        Property("the noise does not depend on the process", _is_stable, hint=SALTED),
        Property("an image's noise does not depend on its neighbours", _ignores_neighbours, hint=ALONE),
        Property("the noise is centred", _is_centred, hint=CENTRED),
        Property("the noise has the spread that was asked for", _has_spread, hint=SCALE),
        Property("every name and every seed has noise of its own", _has_its_own, hint=OWN),
        Property("every channel has noise of its own", _has_three_channels, hint=CHANNELS),
        Property("bright pixels stay bright", _does_not_wrap, hint=WRAP),
        Property("values are rounded", _is_rounded, hint=ROUNDED),
    ),
    wrong_answers=(
        WrongAnswer("one generator runs through all images", _one_generator, hint=ALONE),
        WrongAnswer("every image gets the same noise", _same_noise, hint=OWN),
        WrongAnswer("added in uint8", _wrapping, hint=WRAP),
        WrongAnswer(
            "sigma in values of 0..1", lambda images, sigma, seed: noisy(images, sigma / 255, seed), hint=SCALE
        ),
        WrongAnswer("a variance", lambda images, sigma, seed: noisy(images, sigma**2, seed), hint=SCALE),
        WrongAnswer("fractions cut off", _cut_off, hint=ROUNDED),
        WrongAnswer("floats come back", _floats, hint=STORED),
        WrongAnswer("a salted hash", _salted, hint=SALTED),
        WrongAnswer("one noise for three channels", _grey_noise, hint=CHANNELS),
        WrongAnswer("noise on one side", _one_sided, hint=CENTRED),
    ),
    right_answers=(
        RightAnswer("with NumPy", _with_numpy),
        RightAnswer("a checksum as seed, backwards", _by_checksum),
    ),
)

# 7.3 · One step of an attack

DOWN = "A fake wants a lower logit: step against the gradient."
SIGN = "Every pixel takes a full step, however small its slope: use the gradient's sign."
BOX = "The box is centred on the original image, not on where the last step ended."
UNITS = "`step` and `box` are in values from 0 to 1 already: do not divide by 255 again."
CORNERS = "The box is the largest change of *any one* value: clamp each value, do not shorten the whole change."
FROM_HERE = "The step starts from `values`, where the attack stands, not from the original."
RANGE = "A file holds values from 0 to 1 (0 to 255): clip after the box."


def pgd_step(values: Tensor, original: Tensor, gradient: Tensor, step: float, box: float) -> Tensor:
    """Reference: one signed step down, back into the box around the original, and into 0..1."""
    moved = values - step * gradient.sign()
    return moved.clamp(original - box, original + box).clamp(0, 1)


def _state(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, float, float]:
    """Values somewhere in the box around an image that touches black and white, and a gradient of many sizes."""
    generator = torch.Generator().manual_seed(seed)

    def uniform() -> Tensor:
        return torch.rand(2, 3, 8, 8, generator=generator, dtype=torch.float64)

    box = 4 / 255
    original = (uniform() * 1.2 - 0.1).clamp(0, 1)
    values = (original + box * (2 * uniform() - 1)).clamp(0, 1)
    return values, original, (uniform() - 0.5) * 10 ** (4 * uniform() - 3), box, box


def _middle() -> tuple[Tensor, Tensor, Tensor, float, float]:
    values, _, gradient, _, _ = _state()
    grey = torch.full_like(values, 0.5)
    return grey, grey, gradient, 0.01, 0.1


def _goes_down(attempt: Function) -> str | None:
    values, _, gradient, _, _ = _middle()
    change = float(((attempt(*_middle()) - values) * gradient).sum())
    return None if change < 0 else f"the logit of a linear detector changed by {change:+.3g}"


def _starts_from_values(attempt: Function) -> str | None:
    """Values at the upper wall of a wide box: one short step leads away from the wall, not from the original."""
    original = torch.full((3, 4, 4), 0.5, dtype=torch.float64)
    values = original + 0.2
    got = attempt(values, original, torch.ones_like(values), 0.01, 0.2)
    reached = float(got.mean())
    return f"from 0.7 a step of 0.01 led to {reached:.3g}" if abs(reached - 0.49) < 1e-6 else None


def _fills_the_box(attempt: Function) -> str | None:
    """Every value stands at a wall of its box, and the step has no length."""
    original = torch.full((3, 4, 4), 0.5, dtype=torch.float64)
    moved = attempt(original + 0.1, original, torch.ones_like(original), 0.0, 0.1) - original
    return None if float(moved.min()) > 0.09 else f"values 0.1 from the original were pulled back to {moved.min():.3g}"


def _full_steps(attempt: Function) -> str | None:
    length = (attempt(*_middle()) - 0.5).abs()
    return difference(length, torch.full_like(length, 0.01), 1e-9)


def _not_divided(attempt: Function) -> str | None:
    length = float((attempt(*_middle()) - 0.5).abs().max())
    return f"a step of 0.01 had a length of {length:.2g}" if abs(length - 0.01 / 255) < 1e-6 else None


def _stays_in_box(attempt: Function) -> str | None:
    values, original, gradient, step, box = _state()
    far = float((attempt(values, original, gradient, step, box) - original).abs().max())
    return None if far <= box + 1e-9 else f"the box allows {box:.4f}, a value moved {far:.4f} from the original"


def _stays_in_range(attempt: Function) -> str | None:
    got = attempt(*_state())
    low, high = float(got.min()), float(got.max())
    return None if low >= 0 and high <= 1 else f"values run from {low:.3f} to {high:.3f}"


def _box_around_values(values: Tensor, original: Tensor, gradient: Tensor, step: float, box: float) -> Tensor:
    return pgd_step(values, values, gradient, step, box)


def _without_range(values: Tensor, original: Tensor, gradient: Tensor, step: float, box: float) -> Tensor:
    return (values - step * gradient.sign()).clamp(original - box, original + box)


def _in_grey_levels(values: Tensor, original: Tensor, gradient: Tensor, step: float, box: float) -> Tensor:
    return pgd_step(values, original, gradient, step / 255, box / 255)


def _shortened(values: Tensor, original: Tensor, gradient: Tensor, step: float, box: float) -> Tensor:
    change = values - step * gradient.sign() - original
    return (original + change * min(1.0, box / float(change.norm()))).clamp(0, 1)


def _from_original(values: Tensor, original: Tensor, gradient: Tensor, step: float, box: float) -> Tensor:
    return pgd_step(original, original, gradient, step, box)


def _by_change(values: Tensor, original: Tensor, gradient: Tensor, step: float, box: float) -> Tensor:
    """A right answer in terms of the change."""
    change = torch.clip(values - original - step * torch.sign(gradient), -box, box)
    return torch.clip(original + change, 0, 1)


def _by_extremes(values: Tensor, original: Tensor, gradient: Tensor, step: float, box: float) -> Tensor:
    """A right answer by minimum and maximum, the range first."""
    low, high = (original - box).clamp_min(0), (original + box).clamp_max(1)
    downward = torch.where(gradient > 0, -step, torch.where(gradient < 0, step, 0.0))
    return torch.maximum(torch.minimum(values + downward, high), low)


STEP = Exercise(
    id="7.3",
    is_used=True,
    title="One step of an attack",
    reference=pgd_step,
    properties=(
        Property("the logit falls", _goes_down, hint=DOWN),
        Property("steps start where the attack stands", _starts_from_values, hint=FROM_HERE),
        Property("lengths are taken as they are", _not_divided, hint=UNITS),
        Property("the whole box may be used", _fills_the_box, hint=CORNERS),
        Property("all values take a full step", _full_steps, hint=SIGN),
        Property("no value leaves the box around the original", _stays_in_box, hint=BOX),
        Property("no value leaves 0..1", _stays_in_range, hint=RANGE),
        Property(
            "agrees with the reference", agrees(pgd_step, _state), hint="Step first, then the box, then the range."
        ),
    ),
    wrong_answers=(
        WrongAnswer(
            "uphill",
            lambda values, original, gradient, step, box: pgd_step(values, original, -gradient, step, box),
            hint=DOWN,
        ),
        WrongAnswer(
            "the plain gradient",
            lambda values, original, gradient, step, box: (values - step * gradient).clamp(0, 1),
            hint=SIGN,
        ),
        WrongAnswer("the box moves along", _box_around_values, hint=BOX),
        WrongAnswer("values beyond black and white", _without_range, hint=RANGE),
        WrongAnswer("lengths in grey levels", _in_grey_levels, hint=UNITS),
        WrongAnswer("the whole change is shortened", _shortened, hint=CORNERS),
        WrongAnswer("always one step from the original", _from_original, hint=FROM_HERE),
    ),
    right_answers=(
        RightAnswer("in terms of the change", _by_change),
        RightAnswer("by minimum and maximum", _by_extremes),
    ),
)

EXERCISES = (MATCHED, BLIND, STEP)

register(EXERCISES)
