"""The generated index of docs/index.md: what it lists, and that it is up to date."""

from pathlib import Path

from helpers.course.index import index_page, names_in_code


def test_the_index_is_up_to_date(project: Path) -> None:
    assert (project / "docs/index.md").read_text(encoding="utf-8") == index_page(), (
        "run `python -m helpers course index`"
    )


def test_a_name_counts_only_where_code_takes_it_from_the_package() -> None:
    code = """
from helpers.evaluation import metrics
from helpers.data.images import decode as read, crop
import numpy as np

# metrics.average_precision is not named in code
text = "metrics.fit_platt"
np.mean([metrics.auc([0, 1], [0, 1])])
other.metrics.brier
metrics.no_such_name
"""
    assert names_in_code(code) == {
        "helpers.evaluation.metrics.auc",
        "helpers.data.images.decode",
        "helpers.data.images.crop",
    }
