"""The environment of the kernels that `refresh`, `run` and nbval start: the same for all, so that outputs agree."""

import os

NOWHERE = "http://127.0.0.1:9"
"""An address at which nothing listens: a download that slipped into a lesson fails at once instead of waiting."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

SETTINGS: dict[str, str] = {
    **dict.fromkeys(THREAD_VARIABLES, "1"),
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


CHECKED = "NATURAL_TRACES_CHECKED"
"""Name of the variable that says: these outputs are stored or compared, so a number outside its band is an error."""


def outputs_are_checked() -> bool:
    """Tell whether this kernel was started by `refresh` or by nbval."""
    return bool(os.environ.get(CHECKED))


def kernel_environment(*, checked: bool) -> dict[str, str]:
    """Return this process's environment with the settings above in place of its own.

    Args:
        checked: whether the outputs are stored or compared.
    """
    return {**os.environ, **SETTINGS, CHECKED: "1" if checked else ""}
