"""The rooms of the package: few, in order, without a circle; hidden imports included."""

from pathlib import Path

import pytest
from rooms import ORDER, PLUGINS, Graph, graph, text


@pytest.fixture(scope="module")
def house() -> Graph:
    return graph(Path(__file__).resolve().parents[1] / "helpers")


def test_there_are_at_most_fifteen_rooms_and_all_have_their_place(house: Graph) -> None:
    assert len(house.rooms) <= 15
    assert house.rooms <= set(ORDER)


def test_no_import_goes_up(house: Graph) -> None:
    """An order without an arrow up has no circle either."""
    assert house.upward() == [], text(house)


def test_no_import_hides_its_name(house: Graph) -> None:
    assert set(house.hidden) <= PLUGINS


def test_every_package_says_what_it_is_for(project: Path) -> None:
    for path in (project / "helpers").glob("*/__init__.py"):
        assert path.read_text(encoding="utf-8").startswith('"""'), path


# The check itself


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("from helpers.cli import main", "data imports cli in data/x.py"),
        ("import helpers.cli.common", "data imports cli in data/x.py"),
        ("from helpers import cli", "data imports cli in data/x.py"),
        ("from ..cli import main", "data imports cli in data/x.py"),
        ("def f():\n    from helpers.cli import main", "data imports cli in data/x.py"),
        ("import importlib\nimportlib.import_module('helpers.cli')", "data imports cli in data/x.py"),
        ("import importlib\nimportlib.import_module(f'helpers.cli.{x}')", "data imports cli in data/x.py"),
        ("__import__('helpers.cli')", "data imports cli in data/x.py"),
    ],
)
def test_an_arrow_up_is_found(tmp_path: Path, line: str, told: str) -> None:
    for room in ("cli", "data"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "cli" / "y.py").write_text("from helpers.data import x\nfrom helpers import data", encoding="utf-8")
    assert graph(tmp_path).upward() == []
    (tmp_path / "data" / "x.py").write_text(line, encoding="utf-8")
    (upward,) = graph(tmp_path).upward()
    assert upward == told


@pytest.mark.parametrize("name", ["name", "f'helpers.{room}'", "'helpers.' + room"])
def test_an_import_by_a_hidden_name_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text(f"import importlib\nimportlib.import_module({name})", "utf-8")
    assert graph(tmp_path).hidden == ["data/__init__.py"]


def test_a_new_room_without_a_place_is_above_all(tmp_path: Path) -> None:
    (tmp_path / "attic.py").write_text("", encoding="utf-8")
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "__init__.py").write_text("import helpers.attic", encoding="utf-8")
    assert graph(tmp_path).upward() == ["cli imports attic in cli/__init__.py"]
    assert not graph(tmp_path).rooms <= set(ORDER)
