"""False-positive rates of photo sources, and pairs of one pipeline, by numbers that can be counted by hand."""

import pandas as pd
import pytest

from helpers.evaluation.error_rates import check_pairs, false_positive_rates, paired_ranking
from helpers.evaluation.report import EvaluationError

ROWS = [
    ("real", "sea", "a", 0.9), ("real", "sea", "a", 0.9), ("real", "sea", "b", 0.1), ("real", "sea", "", 0.1),
    ("real", "hill", "c", 0.1), ("real", "hill", "d", 0.2),
    ("fake", "g", "a", 0.95), ("fake", "g", "c", 0.1), ("fake", "g", "e", 0.0),
]  # fmt: skip


@pytest.fixture
def table() -> pd.DataFrame:
    df = pd.DataFrame(ROWS, columns=["label", "source", "group", "score"])
    return df.assign(path=[f"{number}.png" for number in range(len(df))])


def test_each_source_has_its_share_of_false_alarms(table: pd.DataFrame) -> None:
    hill, sea = false_positive_rates([table], [0.5], seen_sources=["sea"])
    assert (hill.source, hill.tier, hill.images, hill.clusters) == ("hill", "unseen-source", 2, 2)
    assert (sea.source, sea.tier, sea.images, sea.clusters) == ("sea", "seen-source", 4, 3)
    assert hill.rate.value == 0
    assert hill.rate.high > 0.5  # two photographs prove little
    assert sea.rate.value == 0.5
    assert sea.rate.low < 0.5 < sea.rate.high


def test_a_rate_is_the_mean_over_runs(table: pd.DataFrame) -> None:
    other = table.assign(score=0.0)
    _, sea = false_positive_rates([table, other], [0.5, 0.5], seen_sources=[])
    assert sea.rate.value == 0.25
    _, strict = false_positive_rates([table, other], [0.5, -1.0], seen_sources=[])
    assert strict.rate.value == 0.75


def test_one_cluster_gives_no_narrow_interval(table: pd.DataFrame) -> None:
    (sea,) = false_positive_rates([table.iloc[:2]], [0.5], seen_sources=[])
    assert (sea.rate.value, sea.clusters) == (1.0, 1)
    assert sea.rate.low < 0.5


def test_pairs_are_ranked_among_themselves(table: pd.DataFrame) -> None:
    result = paired_ranking([table], "group")
    assert (result.pairs, result.images) == (2, 5)
    assert result.ranking.value == pytest.approx((1.0 + 0.5) / 2)  # above both reals of a; a tie in c
    assert result.ranking.low < 0.75 < result.ranking.high
    assert result.to_dict()["ranking"]["value"] == 0.75


def test_without_pairs_the_column_is_named(table: pd.DataFrame) -> None:
    with pytest.raises(EvaluationError, match=r"moon: no such column \(there are label, source"):
        check_pairs(table, "moon")
    with pytest.raises(EvaluationError, match="source: no value of this column has both"):
        check_pairs(table, "source")
