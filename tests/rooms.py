"""The import graph of the package's rooms, read from the source; `python tests/rooms.py` prints it.

A room is a package or module directly below `helpers`. Imports inside functions count, and so do those by name
(`importlib.import_module`, `__import__`), as far as the name can be read from the source; others are told as hidden.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "helpers"
ORDER = (
    "__main__",
    "cli",
    "page",
    "lessons",
    "selection",
    "api",
    "detectors",
    "generators",
    "evaluation",
    "course",
    "statistics",
    "training",
    "pixels",
    "data",
    "errors",
)
"""An import may only go down this list."""
PLUGINS = {"detectors/registry.py", "detectors/speed.py"}
"""Files that may import by a name that the source does not hold: other people's detectors, and peers to be timed."""


@dataclass
class Graph:
    """Rooms and the imports between them.

    Attributes:
        rooms: Names.
        arrows: (from, to) -> number of imports.
        places: (from, to) -> one file that holds such an import.
        hidden: Files that import by a name that cannot be read from the source.
    """

    rooms: set[str] = field(default_factory=set)
    arrows: Counter[tuple[str, str]] = field(default_factory=Counter)
    places: dict[tuple[str, str], str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)

    def upward(self) -> list[str]:
        """Imports that go up the list, as lines."""
        floor = {room: number for number, room in enumerate(ORDER)}
        wrong = [arrow for arrow in self.arrows if floor.get(arrow[0], -1) > floor.get(arrow[1], -1)]
        return [f"{above} imports {below} in {self.places[above, below]}" for above, below in sorted(wrong)]


def imported(tree: ast.AST, module: str) -> Iterator[str | None]:
    """Yield what a module imports from the package as dotted names; None for a name that cannot be read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            whole = ".".join(part for part in (base, node.module) if part)
            yield from (f"{whole}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__") and node.args:
            yield _text(node.args[0])


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.expr) -> str | None:
    """The beginning of a string as far as it is constant and names a room, or None."""
    if isinstance(node, ast.JoinedStr) and node.values:
        first = node.values[0]
        text = first.value if isinstance(first, ast.Constant) else ""
        return str(text) if str(text).count(".") > 1 else None
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def graph(folder: Path) -> Graph:
    """Read the graph of a package.

    Args:
        folder: The package, such as `helpers`.
    """
    result = Graph({path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()})
    result.rooms.discard("__init__")
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        room, inside = parts[0], ".".join((PACKAGE, *parts))
        if room == "__init__":
            continue
        for name in imported(ast.parse(path.read_text(encoding="utf-8")), inside):
            if name is None:
                result.hidden.append(path.relative_to(folder).as_posix())
                continue
            words = name.split(".")
            if words[0] == PACKAGE and len(words) > 1 and words[1] in result.rooms - {room}:
                result.arrows[room, words[1]] += 1
                result.places[room, words[1]] = path.relative_to(folder).as_posix()
    return result


def text(result: Graph) -> str:
    """Lay the graph out: each room with the rooms that it imports."""
    lines = [f"{len(result.rooms)} rooms, {len(result.arrows)} arrows"]
    for room in sorted(result.rooms, key=lambda room: ORDER.index(room) if room in ORDER else -1):
        below = [other for other in ORDER if (room, other) in result.arrows]
        lines.append(f"{room:<12}{', '.join(below) or '-'}")
    return "\n".join(lines + [f"UP: {line}" for line in result.upward()])


if __name__ == "__main__":
    print(text(graph(Path(__file__).resolve().parents[1] / PACKAGE)))
