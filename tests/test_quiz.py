import matplotlib.pyplot as plt
import pytest
import torch

from helpers.data import catalog
from helpers.data.crops import draw_crops, stack, zoo_photographs
from helpers.data.images import luminance
from helpers.evaluation.metrics import wilson_interval
from helpers.generators import load
from helpers.lessons.lesson00 import quiz
from helpers.lessons.lesson00.quiz import QuizError, TwoAlternativeQuiz
from helpers.pixels.resynthesis import fit_patch_model, resynthesise


def picture(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, 3, 12, 13), generator=generator)
    return (torch.nn.functional.interpolate(coarse, (120, 130), mode="bilinear")[0] * 255).to(torch.uint8)


@pytest.fixture(scope="module")
def pairs() -> list[quiz.Pair]:
    photographs = [picture(number % 2) for number in range(6)]
    model = fit_patch_model(photographs[:2], patches=300, components=32)
    copies = [resynthesise(img, model, count) for img, count in zip(photographs, (4, 8, 32, 32, 8, 4), strict=True)]
    return quiz.quiz_pairs(photographs, copies)


def test_pairs_show_the_same_crop_with_the_same_settings(pairs: list[quiz.Pair]) -> None:
    assert len(pairs) == 6
    for photograph, copy in pairs:
        assert photograph.shape == copy.shape == (3, 64, 64)
        assert not torch.equal(photograph, copy)
        both = torch.stack([photograph.float().flatten(), copy.float().flatten()])
        assert float(torch.corrcoef(both)[0, 1]) > 0.9


def test_a_copy_without_a_difference_cannot_be_told() -> None:
    for photograph, copy in quiz.quiz_pairs([picture(0)] * 3, [picture(0)] * 3):
        assert torch.equal(photograph, copy)


def test_every_photograph_needs_its_copy() -> None:
    with pytest.raises(QuizError, match="one copy of its size"):
        quiz.quiz_pairs([picture(0)], [])
    with pytest.raises(QuizError, match="one copy of its size"):
        quiz.quiz_pairs([picture(0)], [picture(0)[:, 1:]])


@pytest.mark.parametrize("seed", range(8))
def test_roughness_knows_smooth_makers_and_is_wrong_about_a_grainy_one(seed: int) -> None:
    """The sweep behind the bands of lesson 00: other crops, other patches, other encoder settings."""
    photographs = catalog.photographs()
    train = photographs[(photographs["split"] == "train") & (photographs["scene"] == "everyday")]["name"]
    model = fit_patch_model([catalog.photograph(name) for name in train], seed=seed)
    views = stack(draw_crops(zoo_photographs("train"), 4, seed=seed))
    copies = {
        "patches": [resynthesise(view, model, count) for view, count in zip(views, (12, 24, 48, 96), strict=True)],
        "latent": list(load("latent").resynthesise(views, seed=seed)),
        "edm": list(load("edm").resynthesise(views, seed=seed)),
    }
    hits = {}
    for maker, made in copies.items():
        both = quiz.quiz_pairs(list(views), made, seed=seed)
        steps = [[float(luminance(view).diff(dim=1).abs().mean()) for view in pair] for pair in both]
        hits[maker] = sum(photograph > copy for photograph, copy in steps)
    assert 2 <= hits["patches"] <= 4
    assert 3 <= hits["latent"] <= 4
    assert 0 <= hits["edm"] <= 1


def test_score_counts_and_carries_wilson(pairs: list[quiz.Pair]) -> None:
    game = TwoAlternativeQuiz(pairs, seed=0)
    assert game.score() is None
    assert game.summary() == "No answers yet; 6 pairs are waiting."
    assert set(game.truth) == {"left", "right"}
    for number, side in enumerate(game.truth):
        given = side if number != 2 else {"left": "right", "right": "left"}[side]
        assert game.answer(given) is (number != 2)
    assert (game.right, game.finished) == (5, True)
    assert game.score() == wilson_interval(5, 6)
    assert game.summary().startswith("5 of 6 right: 83%, 95 % interval 44% to 97%.")
    assert game.summary().split("\n")[0].endswith("Guessing is not excluded.")
    with pytest.raises(QuizError, match="all pairs"):
        game.answer("left")


def test_verdicts(pairs: list[quiz.Pair]) -> None:
    opposite = {"left": "right", "right": "left"}
    good, bad = (TwoAlternativeQuiz(pairs * 3, seed=1) for _ in range(2))
    for side in good.truth:
        good.answer(side)
        bad.answer(opposite[side])
    assert "above guessing" in good.summary()
    assert "below guessing" in bad.summary()


def test_impossible_quizzes(pairs: list[quiz.Pair]) -> None:
    with pytest.raises(QuizError):
        TwoAlternativeQuiz([])
    with pytest.raises(QuizError, match="as many makers"):
        TwoAlternativeQuiz(pairs, ["one"])
    with pytest.raises(QuizError, match="left or right"):
        TwoAlternativeQuiz(pairs).answer("middle")


def test_widget_shows_the_answered_pair_again_and_who_made_it(pairs: list[quiz.Pair]) -> None:
    game = TwoAlternativeQuiz(pairs[:2], ["a brush", "a camera"], seed=0, zoom=1)
    shown, buttons, said = game.widget().children
    left, right, onward = buttons.children
    first = shown.value
    assert "Pair 1 of 2" in first
    assert onward.disabled

    left.click()
    assert "Pair 1 of 2" in shown.value
    assert shown.value == game.markup(0, reveal=True) != first
    assert said.value.startswith("Right" if game.truth[0] == "left" else "Wrong")
    assert f"the photograph is on the {game.truth[0]}; the other is by a brush." in said.value
    assert left.disabled
    assert right.disabled
    assert not onward.disabled

    onward.click()
    assert shown.value == game.markup(1)
    assert not left.disabled
    right.click()
    assert game.finished
    assert "by a camera" in said.value
    assert "of 2 right" in said.value
    assert all(button.disabled for button in (left, right, onward))


def test_the_revealed_figure_names_the_maker(pairs: list[quiz.Pair]) -> None:
    game = TwoAlternativeQuiz(pairs[:1], ["a brush"], zoom=1)
    hidden, revealed = (
        [ax.texts[0].get_text() for ax in game.figure(0, reveal=reveal).axes] for reveal in (False, True)
    )
    assert hidden == ["left", "right"]
    where = {"left": ["left: photograph", "right: a brush"], "right": ["left: a brush", "right: photograph"]}
    assert revealed == where[game.truth[0]]
    plt.close("all")


def test_the_score_is_split_by_maker(pairs: list[quiz.Pair]) -> None:
    game = TwoAlternativeQuiz(pairs, ["a", "b"] * 3)
    opposite = {"left": "right", "right": "left"}
    for number, side in enumerate(game.truth):
        game.answer(side if number % 2 == 0 else opposite[side])
    assert game.by_maker() == {"a": wilson_interval(3, 3), "b": wilson_interval(0, 3)}
    total, first, second = game.summary().split("\n")
    assert total.startswith("3 of 6 right")
    assert first.startswith("a: 3 of 3 right")
    assert second.startswith("b: 0 of 3 right")


def test_the_picture_follows_the_truth(pairs: list[quiz.Pair]) -> None:
    games = [TwoAlternativeQuiz(pairs, seed=seed, zoom=1) for seed in range(8)]
    sides = {game.truth[0]: game.markup(0) for game in games}
    assert set(sides) == {"left", "right"}
    assert sides["left"] != sides["right"]


def test_show_displays_a_stand_in(pairs: list[quiz.Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(quiz, "display_widget", lambda widget, still, note: shown.append((still, note)))
    TwoAlternativeQuiz(pairs, zoom=1).show()
    assert shown[0][0].png.startswith(b"\x89PNG")
    assert "6 pairs" in shown[0][1]
