"""Settings for `pytest --nbval notebooks`: the kernels see one thread, no CUDA device and no network,
and a number outside its band stops a lesson.

`tests/conftest.py` is not loaded for the notebooks, and nbval hands its own environment on to the kernels it starts.
"""

import os
from pathlib import Path

import pytest

from helpers.course.environment import kernel_environment

os.environ.update(kernel_environment(checked=True))


def pytest_configure(config: pytest.Config) -> None:
    """Use this environment's Python as kernel, leave out what cannot be compared, and give a cell ten minutes."""
    config.option.nbval_current_env = True
    config.option.nbval_sanitize_with = str(Path(__file__).with_name(".nbval-sanitize.cfg"))
    config.option.nbval_cell_timeout = 600
