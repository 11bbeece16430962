"""Exercises of lesson 08: the rate of a pipeline, what a job costs, and the batch of a step after a kill."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch

from helpers.course.compare import agrees, difference, unlike
from helpers.course.exercises import Exercise, Function, Property, RightAnswer, WrongAnswer, check, register
from helpers.data.seeds import derive_seed
from helpers.lessons.lesson08.study import Job, price_job
from helpers.lessons.lesson08.study import pipeline_rate as package_rate
from helpers.training.batches import batch_places

__all__ = ["EXERCISES", "check", "epoch_order"]

# 8.1 · The rate of a pipeline

SIDE_BY_SIDE = "The stages work at the same time, each on another image: their times do not add up."
SLOWEST = "Images pile up before the slowest stage: which number of all stages' rates decides?"
HELP = "Two workers of a stage finish two images in the time of one: what do workers do to its rate?"
UPSIDE_DOWN = "You return seconds per image: turn it over."
ALL_EQUAL = "The mean of the stages says nothing: a fast stage cannot make up for a slow one."


def pipeline_rate(seconds: Sequence[float], workers: Sequence[int]) -> float:
    """Reference: images per second of stages that work side by side.

    Args:
        seconds: What one worker of each stage needs for one image.
        workers: Of each stage.

    Returns:
        Images per second.
    """
    return package_rate(seconds, workers)


def _stages() -> tuple[list[float], list[int]]:
    return [0.044, 0.002, 0.025], [3, 1, 2]


def _rates(seconds: Sequence[float], workers: Sequence[int]) -> list[float]:
    return [count / need for need, count in zip(seconds, workers, strict=True)]


def _one_after_another(seconds: Sequence[float], workers: Sequence[int]) -> float:
    return 1 / sum(need / count for need, count in zip(seconds, workers, strict=True))


def _first_slow(seconds: Sequence[float], workers: Sequence[int]) -> float:
    """A right answer in loops."""
    lowest = float("inf")
    for stage in range(len(seconds)):
        rate = workers[stage] / seconds[stage]
        lowest = rate if rate < lowest else lowest
    return lowest


RATE = Exercise(
    id="8.1",
    is_used=True,
    title="The rate of a pipeline",
    reference=pipeline_rate,
    properties=(
        Property("stages overlap", unlike(_one_after_another, _stages, "one stage after another"), hint=SIDE_BY_SIDE),
        Property("the slowest decides", unlike(lambda *a: max(_rates(*a)), _stages, "the fastest stage"), hint=SLOWEST),
        Property(
            "no stage makes up for another",
            unlike(lambda *a: sum(_rates(*a)) / 3, _stages, "a mean over stages"),
            hint=ALL_EQUAL,
        ),
        Property("workers help", unlike(lambda s, w: 1 / max(s), _stages, "one worker for each stage"), hint=HELP),
        Property(
            "images per second", unlike(lambda *a: 1 / package_rate(*a), _stages, "seconds per image"), hint=UPSIDE_DOWN
        ),
        Property(
            "agrees with the reference",
            agrees(pipeline_rate, _stages),
            hint="The rate of a stage is workers / seconds; take the smallest.",
        ),
    ),
    wrong_answers=(
        WrongAnswer("one after another", _one_after_another, hint=SIDE_BY_SIDE),
        WrongAnswer("the fastest stage", lambda s, w: max(_rates(s, w)), hint=SLOWEST),
        WrongAnswer("a mean", lambda s, w: sum(_rates(s, w)) / len(s), hint=ALL_EQUAL),
        WrongAnswer("workers forgotten", lambda s, w: 1 / max(s), hint=HELP),
        WrongAnswer("seconds per image", lambda s, w: 1 / min(_rates(s, w)), hint=UPSIDE_DOWN),
    ),
    right_answers=(
        RightAnswer("in loops", _first_slow),
        RightAnswer("with NumPy", lambda s, w: float((np.asarray(w) / np.asarray(s)).min())),
        RightAnswer("with torch", lambda s, w: torch.min(torch.as_tensor(w) / torch.as_tensor(s, dtype=torch.float64))),
    ),
)

# 8.2 · What a job costs

SECONDS = "Rates are per second, prices per hour: an hour has 3,600 seconds."
TOGETHER = "More machines share the images: twice as many need half the hours."
PAID = "Every machine is paid for every hour: the cost is hours times machines times price."
BOTH = "Return two numbers, hours first and then the cost."


def hours_and_cost(images: float, rate: float, machines: int, price: float) -> tuple[float, float]:
    """Reference: hours until a job is done, and what it costs.

    Args:
        images: How many.
        rate: Images per second of one machine.
        machines: They share the images.
        price: Of one machine for one hour.

    Returns:
        Hours and cost.
    """
    job: Job = price_job(images, rate, machines, price)
    return job.hours, job.cost


def _order() -> tuple[float, float, int, float]:
    return 9e6, 25.0, 4, 3.0


def _two_numbers(attempt: Function) -> str | None:
    got = attempt(*_order())
    return None if isinstance(got, tuple | list) and len(got) == 2 else f"expected two numbers, got {got!r}"


def _hours_share(attempt: Function) -> str | None:
    images, rate, machines, price = _order()
    one, two = (float(attempt(images, rate, count, price)[0]) for count in (machines, 2 * machines))
    return difference(one / two, 2.0)


def _cost_stays(attempt: Function) -> str | None:
    images, rate, machines, price = _order()
    return difference(attempt(images, rate, 2 * machines, price)[1], attempt(images, rate, machines, price)[1])


def _in_hours(attempt: Function) -> str | None:
    return difference(attempt(*_order())[0], 25.0)


def _step_by_step(images: float, rate: float, machines: int, price: float) -> list[float]:
    """A right answer that begins with the money."""
    machine_hours = images / rate / 60 / 60
    return [machine_hours / machines, machine_hours * price]


COST = Exercise(
    id="8.2",
    is_used=True,
    title="What a job costs",
    reference=hours_and_cost,
    properties=(
        Property("hours and cost", _two_numbers, hint=BOTH),
        Property("twice the machines, half the hours", _hours_share, hint=TOGETHER),
        Property("9 million images, 25 a second, 4 machines: 25 hours", _in_hours, hint=SECONDS),
        Property("twice the machines, the same cost", _cost_stays, hint=PAID),
        Property(
            "agrees with the reference", agrees(hours_and_cost, _order), hint="Multiply machine-hours by the price."
        ),
    ),
    wrong_answers=(
        WrongAnswer("the cost alone", lambda *a: hours_and_cost(*a)[1], hint=BOTH),
        WrongAnswer("one machine does it all", lambda i, r, m, p: hours_and_cost(i, r, 1, p), hint=TOGETHER),
        WrongAnswer("minutes", lambda i, r, m, p: (i / r / m / 60, i / r / 60 * p), hint=SECONDS),
        WrongAnswer("seconds", lambda i, r, m, p: (i / r / m, i / r * p), hint=SECONDS),
        WrongAnswer("one machine is paid", lambda i, r, m, p: (i / r / m / 3600, i / r / m / 3600 * p), hint=PAID),
    ),
    right_answers=(
        RightAnswer("machine-hours first, as a list", _step_by_step),
        RightAnswer("in one line", lambda i, r, m, p: (i / (3600 * r * m), i * p / (3600 * r))),
    ),
)

# 8.3 · The batch of a step

HISTORY = "Nothing may be remembered between calls: seed and step say everything."
FIRST = "Steps are counted from 0: step 0 takes the first images of epoch 0."
NEW_ORDER = "Every epoch has an order of its own: ask `epoch_order` for the epoch of each place."
NO_DROP = "A batch may begin in one epoch and end in the next: no image is left out at the end of an epoch."
SHUFFLED = "Places in the row are not images yet: the epoch's order says which image stands there."


def epoch_order(seed: int, epoch: int, items: int) -> list[int]:
    """Return the order in which one epoch visits all items; the same arguments give the same order."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(items, generator=generator).tolist()


def batch_of_step(seed: int, step: int, batch_size: int, items: int) -> list[int]:
    """Reference: the images of one step, a slice of an endless row of shuffled epochs.

    Args:
        seed: Of the run.
        step: Counted from 0.
        batch_size: Images per step.
        items: Images in the set.

    Returns:
        `batch_size` numbers of images.
    """
    return [index for _, index in batch_places(seed, step, batch_size, items)]


def _row(seed: int, items: int, epochs: int) -> list[int]:
    return [index for epoch in range(epochs) for index in epoch_order(seed, epoch, items)]


def _ten_steps() -> list[tuple[int, int, int, int]]:
    return [(5, step, 4, 10) for step in range(10)]


def _all(function: Callable[..., Sequence[int]]) -> list[list[int]]:
    return [[int(index) for index in function(*arguments)] for arguments in _ten_steps()]


def _not_like(mistake: Callable[..., Sequence[int]], what: str) -> Callable[[Function], str | None]:
    """Test that the batches of ten steps are not those of a known mistake."""

    def test(attempt: Function) -> str | None:
        return f"your batches are those of {what}" if _all(attempt) == _all(mistake) else None

    return test


def _any_order(attempt: Function) -> str | None:
    forward = _all(attempt)
    backward = [[int(index) for index in attempt(*arguments)] for arguments in reversed(_ten_steps())]
    return None if backward[::-1] == forward else "asked backwards, the steps have other batches"


def _each_once(attempt: Function) -> str | None:
    """Five steps of four make two epochs of ten."""
    seen = sorted(index for batch in _all(attempt)[:5] for index in batch)
    missed = sorted(set(range(10)) - set(seen))
    return (
        None if seen == sorted([*range(10)] * 2) else f"after two epochs, images {missed} never came, or some too often"
    )


def _drops_the_rest(seed: int, step: int, batch_size: int, items: int) -> list[int]:
    epoch, within = divmod(step, items // batch_size)
    return epoch_order(seed, epoch, items)[within * batch_size : (within + 1) * batch_size]


def _one_order(seed: int, step: int, batch_size: int, items: int) -> list[int]:
    order = epoch_order(seed, 0, items)
    return [order[place % items] for place in range(step * batch_size, (step + 1) * batch_size)]


def _unshuffled(seed: int, step: int, batch_size: int, items: int) -> list[int]:
    return [place % items for place in range(step * batch_size, (step + 1) * batch_size)]


def _from_one(seed: int, step: int, batch_size: int, items: int) -> list[int]:
    return batch_of_step(seed, step + 1, batch_size, items)


def _with_memory() -> Callable[..., list[int]]:
    drawn = itertools.count()
    return lambda seed, step, batch_size, items: batch_of_step(seed, next(drawn), batch_size, items)


def _from_the_row(seed: int, step: int, batch_size: int, items: int) -> list[int]:
    """A right answer: all epochs up to the step in one list, then a slice."""
    epochs = (step + 1) * batch_size // items + 1
    return _row(seed, items, epochs)[step * batch_size : (step + 1) * batch_size]


def _place_by_place(seed: int, step: int, batch_size: int, items: int) -> torch.Tensor:
    """A right answer in loops, as a tensor."""
    chosen = []
    for offset in range(batch_size):
        place = step * batch_size + offset
        chosen.append(epoch_order(seed, place // items, items)[place % items])
    return torch.tensor(chosen)


BATCH = Exercise(
    id="8.3",
    title="The batch of a step",
    reference=batch_of_step,
    properties=(
        Property("a step has its batch, whoever asks when", _any_order, hint=HISTORY),
        Property("images are shuffled", _not_like(_unshuffled, "no order at all"), hint=SHUFFLED),
        Property("every epoch has its order", _not_like(_one_order, "one order for all epochs"), hint=NEW_ORDER),
        Property("steps are counted from 0", _not_like(_from_one, "one step later"), hint=FIRST),
        Property("two epochs show every image twice", _each_once, hint=NO_DROP),
        Property(
            "agrees with the package",
            lambda attempt: None if _all(attempt) == _all(batch_of_step) else "other batches than the package's",
            hint="Place number `step * batch_size` is the first; `divmod(place, items)` is epoch and place within.",
        ),
    ),
    wrong_answers=(
        WrongAnswer("a counter runs along", _with_memory(), hint=HISTORY),
        WrongAnswer("not shuffled", _unshuffled, hint=SHUFFLED),
        WrongAnswer("the same order again", _one_order, hint=NEW_ORDER),
        WrongAnswer("from 1", _from_one, hint=FIRST),
        WrongAnswer("the rest is dropped", _drops_the_rest, hint=NO_DROP),
    ),
    right_answers=(
        RightAnswer("a slice of the whole row", _from_the_row),
        RightAnswer("place by place, as a tensor", _place_by_place),
    ),
)

EXERCISES = (RATE, COST, BATCH)

register(EXERCISES)
