"""Exercises of lesson 07: a matched evaluation, a blind perturbation, one step of an attack."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from helpers.course.compare import agrees, difference
from helpers.course.exercises import Exercise, Function, Property, WrongAnswer, check, register
from helpers.data.images import Image
from helpers.data.seeds import derive_seed
from helpers.pixels.perturbations import add_noise, jpeg

__all__ = ["EXERCISES", "check"]

# 7.1 · A matched evaluation

SPARE = "Who lacks a JPEG in its past? A second JPEG on the photographs would be a new difference between the labels."
DRAWN = "One quality for all fakes is a fingerprint again: draw each fake's quality from the list of the photographs'."
ALL = "Every fake was a PNG: each of them has to be saved as JPEG once."
PLACES = "Return photographs and fakes, each in its old place in the list."


def resave_fakes(
    images: Sequence[Image], is_fake: Sequence[bool], qualities: Sequence[int], generator: torch.Generator
) -> list[Image]:
    """Reference: give each fake one JPEG, at a quality drawn from those of the photographs."""

    def drawn() -> int:
        return int(qualities[int(torch.randint(len(qualities), (), generator=generator))])

    return [jpeg(img, drawn()) if fake else img for img, fake in zip(images, is_fake, strict=True)]


QUALITIES = (75, 80, 85, 90, 95)


def _collection(seed: int = 0) -> tuple[list[Image], list[bool], list[int], torch.Generator]:
    """Forty small images, every second one fake, and the qualities of the photographs."""
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randint(0, 256, (3, 16, 16), generator=generator, dtype=torch.uint8) for _ in range(40)]
    return images, [index % 2 == 1 for index in range(40)], list(QUALITIES), generator


def _keeps_places(attempt: Function) -> str | None:
    images, *rest = _collection()
    got = attempt(images, *rest)
    return None if len(got) == len(images) else f"expected {len(images)} images, got {len(got)}"


def _spares_photographs(attempt: Function) -> str | None:
    images, is_fake, *rest = _collection()
    got = attempt(images, is_fake, *rest)
    touched = sum(not torch.equal(got[i], images[i]) for i in range(len(images)) if not is_fake[i])
    return f"{touched} of 20 photographs were changed" if touched else None


def _saves_every_fake(attempt: Function) -> str | None:
    images, is_fake, *rest = _collection()
    got = attempt(images, is_fake, *rest)
    left = sum(torch.equal(got[i], images[i]) for i in range(len(images)) if is_fake[i])
    return f"{left} of 20 fakes are as they were" if left else None


def _draws_qualities(attempt: Function) -> str | None:
    images, is_fake, *rest = _collection()
    got = attempt(images, is_fake, *rest)
    found = []
    for before, after, fake in zip(images, got, is_fake, strict=True):
        if fake:
            found.append(next((q for q in QUALITIES if torch.equal(jpeg(before, q), after)), 0))
    if 0 in found:
        return f"{found.count(0)} fakes were saved at none of the photographs' qualities"
    return None if len(set(found)) >= 3 else f"20 fakes share {len(set(found))} of 5 qualities"


def _fakes_alone(
    images: Sequence[Image], is_fake: Sequence[bool], qualities: Sequence[int], generator: torch.Generator
) -> list[Image]:
    fakes = [img for img, fake in zip(images, is_fake, strict=True) if fake]
    return resave_fakes(fakes, [True] * len(fakes), qualities, generator)


def _one_quality(
    images: Sequence[Image], is_fake: Sequence[bool], qualities: Sequence[int], generator: torch.Generator
) -> list[Image]:
    return resave_fakes(images, is_fake, [sorted(qualities)[len(qualities) // 2]], generator)


MATCHED = Exercise(
    id="7.1",
    title="A matched evaluation",
    reference=resave_fakes,
    properties=(
        Property("every image comes back", _keeps_places, hint=PLACES),
        Property("photographs stay as they are", _spares_photographs, hint=SPARE),
        Property("every fake has been a JPEG once", _saves_every_fake, hint=ALL),
        Property("the fakes' qualities are those of the photographs", _draws_qualities, hint=DRAWN),
    ),
    wrong_answers=(
        WrongAnswer(
            "everything is saved again",
            lambda images, is_fake, qualities, generator: resave_fakes(images, [True] * 40, qualities, generator),
            hint=SPARE,
        ),
        WrongAnswer("one quality for all", _one_quality, hint=DRAWN),
        WrongAnswer("the fakes alone", _fakes_alone, hint=PLACES),
        WrongAnswer("nothing is saved", lambda images, is_fake, qualities, generator: list(images), hint=ALL),
    ),
)

# 7.2 · A blind perturbation

ALONE = "Make a fresh generator for each image, from the seed and the image's own name, inside the loop."
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


def _one_generator(images: Mapping[str, Image], sigma: float, seed: int) -> dict[str, Image]:
    generator = torch.Generator().manual_seed(seed)
    return {name: add_noise(img, sigma, generator) for name, img in images.items()}


def _same_noise(images: Mapping[str, Image], sigma: float, seed: int) -> dict[str, Image]:
    return {name: add_noise(img, sigma, torch.Generator().manual_seed(seed)) for name, img in images.items()}


def _wrapping(images: Mapping[str, Image], sigma: float, seed: int) -> dict[str, Image]:
    found = {}
    for name, img in images.items():
        noise = sigma * torch.randn(img.shape, generator=torch.Generator().manual_seed(derive_seed(seed, name)))
        found[name] = img + noise.round().to(torch.int16).to(torch.uint8)
    return found


BLIND = Exercise(
    id="7.2",
    title="A blind perturbation",
    reference=noisy,
    properties=(
        Property("an image's noise does not depend on its neighbours", _ignores_neighbours, hint=ALONE),
        Property("the noise has the spread that was asked for", _has_spread, hint=SCALE),
        Property("every name and every seed has noise of its own", _has_its_own, hint=OWN),
        Property("bright pixels stay bright", _does_not_wrap, hint=WRAP),
    ),
    wrong_answers=(
        WrongAnswer("one generator runs through all images", _one_generator, hint=ALONE),
        WrongAnswer("every image gets the same noise", _same_noise, hint=OWN),
        WrongAnswer("added in uint8", _wrapping, hint=WRAP),
        WrongAnswer(
            "sigma in values of 0..1", lambda images, sigma, seed: noisy(images, sigma / 255, seed), hint=SCALE
        ),
    ),
)

# 7.3 · One step of an attack

DOWN = "A fake wants a lower logit: step against the gradient."
SIGN = "Every pixel takes a full step, however small its slope: use the gradient's sign."
BOX = "The box is centred on the original image, not on where the last step ended."
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


def _full_steps(attempt: Function) -> str | None:
    length = (attempt(*_middle()) - 0.5).abs()
    return difference(length, torch.full_like(length, 0.01), 1e-9)


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


STEP = Exercise(
    id="7.3",
    title="One step of an attack",
    reference=pgd_step,
    properties=(
        Property("the logit falls", _goes_down, hint=DOWN),
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
    ),
)

EXERCISES = (MATCHED, BLIND, STEP)

register(EXERCISES)
