"""A lesson's first cell loads what the lesson needs at once, and nothing heavy that waits for a later cell."""

import json
import os
import subprocess
import sys
from pathlib import Path

HEAVY = {"lightning", "numba", "scipy.stats", "skimage", "sklearn", "timm", "torchvision", "umap"}


def test_first_cells_load_nothing_heavy(project: Path) -> None:
    cells = []
    for path in sorted((project / "notebooks" / "solutions").glob("[0-9][0-9]_*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells.append("".join(next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")["source"]))
    assert not any(name in cell for cell in cells for name in HEAVY)
    code = "import sys\n" + "\n".join(cells) + f"\nprint('HEAVY', sorted({HEAVY} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=project, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"
