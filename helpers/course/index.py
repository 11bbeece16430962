"""Which lesson uses which part of the package: an index made from the code cells of the solution copies.

Only what a lesson names in code is listed; a lesson that speaks of something without using it is not.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from helpers.course import NOTEBOOKS, PROJECT, lesson_number, lessons, read_notebook
from helpers.course.execute import code_cells

__all__ = ["index_page", "names_in_code", "write_index"]

PACKAGE = "helpers"


def _is_module(dotted: str, project: Path) -> bool:
    path = project.joinpath(*dotted.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


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
    names = {dotted for dotted in imported.values() if not _is_module(dotted, project)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = imported.get(node.value.id, "")
            if module and _is_module(module, project):
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
