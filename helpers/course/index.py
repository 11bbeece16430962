"""Which lesson uses which part of the package: an index made from the code cells of the solution copies.

Only what a lesson names in code is listed; a lesson that speaks of something without using it is not.
"""

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from helpers.course import NOTEBOOKS, PROJECT, lesson_number, lessons, read_notebook
from helpers.course.execute import code_cells

__all__ = ["defined_names", "index_page", "module_file", "names_in_code", "write_index"]

PACKAGE = "helpers"


def module_file(dotted: str, project: Path = PROJECT) -> Path | None:
    """Find the file of a module or package by its dotted name; None where there is no such module."""
    place = project.joinpath(*dotted.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return file if file.is_file() else None


@lru_cache
def defined_names(file: Path) -> frozenset[str]:
    """List the names at the top of a module: those defined there, and those passed on (lazily, too)."""
    names: set[str] = set()
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for node in [*body, *(inner for block in body if isinstance(block, ast.If) for inner in block.body)]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return frozenset(names)


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield name in the notebook and dotted name in the package, for every `from helpers... import ...`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def names_in_code(code: str, project: Path = PROJECT) -> set[str]:
    r"""List what code takes from the package.

    Args:
        code: Plain Python.
        project: Folder that holds the package; tells modules from what lies in them.

    Returns:
        Dotted names of functions, classes and constants: those imported by name, and those reached through a module.

    >>> sorted(names_in_code("from helpers.data import crops, seeds as s\ns.item_generator; crops.stack"))
    ['helpers.data.crops.stack', 'helpers.data.seeds.item_generator']
    """
    tree = ast.parse(code)
    imported = dict(_imported(tree))
    names = {dotted for dotted in imported.values() if module_file(dotted, project) is None}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = imported.get(node.value.id, "")
            file = module_file(module, project) if module else None
            if file and node.attr in defined_names(file):  # a variable of the lesson may bear the module's name
                names.add(f"{module}.{node.attr}")
    return names


def index_page(folder: Path = NOTEBOOKS) -> str:
    """Write the index as Markdown: one table a module, one row a name, with links to the lessons.

    Args:
        folder: `notebooks`, with `solutions` in it.

    Raises:
        CourseError: There are no lessons, or one of them is no valid notebook.
    """
    uses: dict[str, dict[str, list[Path]]] = {}
    for path in lessons(folder / "solutions"):
        code = "\n".join(cell.source for cell in code_cells(read_notebook(path)))
        for dotted in sorted(names_in_code(code, folder.parent)):
            module, _, name = dotted.rpartition(".")
            uses.setdefault(module, {}).setdefault(name, []).append(path)
    lines = [
        "# Index: which lesson uses what",
        "",
        "Made by `python -m helpers course index` from the lessons' code; a test proves that it is up to date.",
    ]
    for module in sorted(uses):
        lines += ["", f"## {module}", "", "| name | lessons |", "|---|---|"]
        for name, paths in sorted(uses[module].items()):
            links = (f"[{lesson_number(path):02d}](../notebooks/{path.name})" for path in paths)
            lines.append(f"| `{name}` | {', '.join(links)} |")
    return "\n".join(lines) + "\n"


def write_index(folder: Path = NOTEBOOKS) -> Path:
    """Write `index_page` to `docs/index.md` beside the folder of the lessons, and return the file's path."""
    path = folder.parent / "docs" / "index.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(index_page(folder), encoding="utf-8", newline="\n")
    return path
