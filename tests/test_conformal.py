"""Conformal p-values: their definition, their promise, and verdicts that may be refused."""

import numpy as np
import pytest

from helpers.evaluation.metrics import Conformal, MetricError, fit_conformal


def normal(count: int, mean: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, count)


def fitted(**levels: float) -> Conformal:
    scores = np.r_[normal(800, 0, 0), normal(800, 2, 1)]
    labels = np.repeat([0, 1], 800)
    return fit_conformal(labels, scores, ["a"] * 800 + ["b"] * 800, **levels)


def test_p_values_count_known_scores() -> None:
    known = Conformal(real=(0.0, 1.0, 2.0, 3.0), fake=(1.0, 2.0, 3.0, 4.0))
    of_real, of_fake = known.p_values([-1.0, 2.0, 9.0])
    assert of_real.tolist() == [1.0, 3 / 5, 1 / 5]
    assert of_fake.tolist() == [1 / 5, 3 / 5, 1.0]


def test_a_class_is_ruled_out_as_seldom_as_promised() -> None:
    of_real, of_fake = fitted().p_values(normal(20_000, 0, 2))[0], fitted().p_values(normal(20_000, 2, 3))[1]
    assert np.mean(of_real <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(of_fake <= 0.10) == pytest.approx(0.10, abs=0.03)


def test_the_threshold_is_where_photograph_is_ruled_out() -> None:
    one = fitted()
    below, above = one.p_values([np.nextafter(one.threshold, -np.inf), one.threshold])[0]
    assert below > one.level_real >= above


def test_verdicts() -> None:
    known = Conformal(real=tuple(range(100)), fake=tuple(range(50, 150)), level_real=0.05, level_fake=0.05)
    assert known.verdicts([10, 75, 140]) == ["photograph", "inconclusive", "generated"]
    assert Conformal((0.0,), (1.0,), 0.5, 0.5).verdicts([0.5]) == ["inconclusive"]  # both are ruled out


def test_every_source_weighs_alike_whatever_its_size() -> None:
    scores = np.r_[np.zeros(900), np.ones(100), np.full(10, 5.0)]
    labels = np.r_[np.zeros(1000, int), np.ones(10, int)]
    one = fit_conformal(labels, scores, ["large"] * 900 + ["small"] * 100 + ["fake"] * 10)
    assert np.mean(one.real) == pytest.approx(0.5, abs=0.01)  # each source alike, whatever its size


def test_plain_values_make_the_same_again() -> None:
    assert Conformal.from_dict(fitted().to_dict()) == fitted()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_levels_are_shares(level: float) -> None:
    with pytest.raises(MetricError, match="between 0 and 1"):
        fitted(level_real=level)
