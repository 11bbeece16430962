"""The two-alternative quiz of lesson 00: which of two pictures is the photograph?

Answering about pairs removes the question of where to draw the line: a guesser is right half of the time, whatever the
share of fakes. After each answer the pair stays, with the name of its maker. The share of right answers is shown with
its Wilson interval, and apart for each maker.
"""

from collections.abc import Sequence
from functools import partial

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from helpers.course.figures import Picture, image_grid, picture, picture_html
from helpers.course.widgets import display_widget
from helpers.data.images import Image
from helpers.data.protocol import Protocol, matched_view
from helpers.data.seeds import item_generator
from helpers.errors import NaturalTracesError
from helpers.evaluation.metrics import Interval, wilson_interval

__all__ = ["Pair", "QuizError", "TwoAlternativeQuiz", "quiz_pairs"]

Pair = tuple[Image, Image]
"""Photograph and copy: the same crop, with the same last steps."""

SIDES = ("left", "right")


class QuizError(NaturalTracesError):
    """A quiz without pairs, or an answer that is no side."""


def quiz_pairs(
    photographs: Sequence[Image], copies: Sequence[Image], *, protocol: Protocol | None = None, seed: int = 0
) -> list[Pair]:
    """Give each photograph and its copy the same last steps, down to the encoder's settings.

    Args:
        photographs: uint8 (3, H, W) each, at least as large as the protocol's crop.
        copies: As many, each showing the same scene at the same size.
        protocol: Last steps; 64-pixel crops with the default encoding when None.
        seed: Seed of crops and encoder settings.

    Returns:
        Pairs, each uint8 (3, crop, crop).

    Raises:
        QuizError: A photograph has no copy, or one of another size.
    """
    if [img.shape for img in photographs] != [copy.shape for copy in copies]:
        raise QuizError("every photograph needs one copy of its size")
    protocol, pairs = protocol or Protocol(crop=64), []
    for number, both in enumerate(zip(photographs, copies, strict=True)):
        photograph, copy = (matched_view(img, protocol, item_generator(seed, 0, number)) for img in both)
        pairs.append((photograph, copy))
    return pairs


class TwoAlternativeQuiz:
    """Pairs, answers and the score; `show` makes a widget of it.

    Args:
        pairs: Photograph and copy of each question.
        makers: Who made the copy of each pair; "a copy" for all when empty.
        seed: Seed of the side on which each photograph is shown.
        zoom: Whole-number magnification of the pictures.

    Raises:
        QuizError: There are no pairs, or not one maker per pair.
    """

    def __init__(self, pairs: Sequence[Pair], makers: Sequence[str] = (), *, seed: int = 0, zoom: int = 3) -> None:
        if not pairs:
            raise QuizError("a quiz needs at least one pair")
        if makers and len(makers) != len(pairs):
            raise QuizError(f"{len(pairs)} pairs need as many makers, not {len(makers)}")
        self.pairs, self.zoom = list(pairs), zoom
        self.makers = list(makers) or ["a copy"] * len(pairs)
        self.truth = [SIDES[side] for side in np.random.default_rng(seed).integers(0, 2, len(pairs))]
        self.answers: list[str] = []

    @property
    def hits(self) -> list[bool]:
        """Whether each answer so far is right."""
        return [answer == truth for answer, truth in zip(self.answers, self.truth, strict=False)]

    @property
    def right(self) -> int:
        """Number of right answers so far."""
        return sum(self.hits)

    @property
    def finished(self) -> bool:
        """Whether every pair has been answered."""
        return len(self.answers) == len(self.pairs)

    def answer(self, side: str) -> bool:
        """Answer the next pair.

        Args:
            side: "left" or "right": where the photograph is.

        Returns:
            Whether that is right.

        Raises:
            QuizError: All pairs are answered, or `side` is neither.
        """
        if self.finished or side not in SIDES:
            raise QuizError("all pairs are answered" if self.finished else f"answer left or right, not {side}")
        self.answers.append(side)
        return self.hits[-1]

    def score(self) -> Interval | None:
        """Compute the share of right answers.

        Returns:
            Share with its 95 % Wilson interval; None before the first answer.
        """
        return wilson_interval(self.right, len(self.answers)) if self.answers else None

    def by_maker(self) -> dict[str, Interval]:
        """Split the score: maker -> share of right answers about its pairs; makers without an answer are left out."""
        answered: dict[str, list[bool]] = {}
        for maker, hit in zip(self.makers, self.hits, strict=False):
            answered.setdefault(maker, []).append(hit)
        return {maker: wilson_interval(sum(hits), len(hits)) for maker, hits in answered.items()}

    def summary(self) -> str:
        """Say how the quiz stands.

        Returns:
            One line; when all pairs are answered, one more for each maker.
        """
        score = self.score()
        if score is None:
            return f"No answers yet; {len(self.pairs)} pairs are waiting."
        interval = f"95 % interval {score.low:.0%} to {score.high:.0%}"
        told = f"{self.right} of {score.n} right: {score.value:.0%}, {interval}."
        if not self.finished:
            return told
        apart = [
            f"{maker}: {round(share.value * share.n)} of {share.n} right, interval {share.low:.0%} to {share.high:.0%}."
            for maker, share in self.by_maker().items()
        ]
        return "\n".join([f"{told} {_verdict(score)}", *apart])

    def figure(self, number: int, *, reveal: bool = False) -> Figure:
        """Draw one pair.

        Args:
            number: Number of the pair, from 0.
            reveal: Whether to write below each picture what it is.
        """
        photograph, copy = self.pairs[number]
        names = {"photograph": photograph, self.makers[number]: copy}
        order = list(names) if self.truth[number] == "left" else list(reversed(names))
        labels = [f"{side}: {name}" if reveal else side for side, name in zip(SIDES, order, strict=True)]
        return image_grid([names[name] for name in order], labels, columns=2, zoom=self.zoom)

    def alt(self, number: int) -> str:
        """Say what the figure of a pair shows."""
        return f"Pair {number + 1} of {len(self.pairs)}: two crops of one scene, side by side."

    def markup(self, number: int, *, reveal: bool = False) -> str:
        """Draw one pair as HTML with alt text; see `figure`."""
        return picture_html(picture(self.figure(number, reveal=reveal), self.alt(number)))

    def still(self) -> Picture:
        """Draw the first pair as it is stored."""
        return picture(self.figure(0), self.alt(0))

    def verdict(self) -> str:
        """Say whether the last answer was right, where the photograph was, and who made the other picture."""
        number = len(self.answers) - 1
        side, maker = self.truth[number], self.makers[number]
        return f"{'Right' if self.hits[-1] else 'Wrong'}: the photograph is on the {side}; the other is by {maker}."

    def widget(self) -> ipywidgets.VBox:
        """Make the interactive form.

        Returns:
            Picture, two buttons for answers and one that goes on, and what is said.
        """
        answers = [_button(f"The {side} one is the photograph") for side in SIDES]
        onward = _button("Next pair", disabled=True)
        shown, said = ipywidgets.HTML(self.markup(0)), ipywidgets.HTML(self.summary())

        def turn(*, answered: bool) -> None:
            """Enable the buttons that fit, and move the keyboard's focus to the first of them."""
            for button in answers:
                button.disabled = answered
            onward.disabled = not answered or self.finished
            if not self.finished:
                (onward if answered else answers[0]).focus()

        def clicked(side: str, _button: object) -> None:
            number = len(self.answers)
            self.answer(side)
            shown.value = self.markup(number, reveal=True)
            said.value = "<br>".join([self.verdict(), *self.summary().split("\n")])
            turn(answered=True)

        def went_on(_button: object) -> None:
            shown.value, said.value = self.markup(len(self.answers)), self.summary()
            turn(answered=False)

        for side, button in zip(SIDES, answers, strict=True):
            button.on_click(partial(clicked, side))
        onward.on_click(went_on)
        return ipywidgets.VBox([shown, ipywidgets.HBox([*answers, onward]), said])

    def show(self) -> None:
        """Display the quiz; where no kernel runs, its first pair."""
        note = (
            f"Interactive in JupyterLab: run this cell, then say of each of {len(self.pairs)} pairs "
            "which picture is the photograph; what it was, and your score, appear below the buttons."
        )
        display_widget(self.widget(), self.still(), note)


def _button(description: str, *, disabled: bool = False) -> ipywidgets.Button:
    """Make a button as wide as its text."""
    return ipywidgets.Button(description=description, disabled=disabled, layout=ipywidgets.Layout(width="auto"))


def _verdict(score: Interval) -> str:
    if score.low > 0.5:
        return "That is above guessing."
    return "That is below guessing." if score.high < 0.5 else "Guessing is not excluded."
