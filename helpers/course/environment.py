"""The environment of the kernels that `refresh`, `run` and nbval start: the same for all, so that outputs agree."""

import os

NOWHERE = "http://127.0.0.1:9"
"""An address at which nothing listens: a download that slipped into a lesson fails at once instead of waiting."""

SETTINGS: dict[str, str] = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "http_proxy": NOWHERE,
    "https_proxy": NOWHERE,
    "HTTP_PROXY": NOWHERE,
    "HTTPS_PROXY": NOWHERE,
    "no_proxy": "localhost,127.0.0.1",
    "NO_PROXY": "localhost,127.0.0.1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}
"""One thread, no CUDA device, no network: the small default profile in which every lesson is tested."""


def kernel_environment() -> dict[str, str]:
    """Return this process's environment with the settings above in place of its own."""
    return {**os.environ, **SETTINGS}
