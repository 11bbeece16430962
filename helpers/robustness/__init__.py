"""What survives the trip through the internet.

- `perturbations`: compression, resampling, filtering, noise, crops, tone, and pipelines, with a table of strengths.
- `sweep`: a detector against all of them, cached cell by cell, and a summary with intervals.
- `attack`: an adversary who knows the detector.

Taught in: notebook 07.
"""

from helpers.robustness.attack import Attack, pgd_attack
from helpers.robustness.errors import RobustnessError
from helpers.robustness.perturbations import (
    CHAINS,
    KERNELS,
    PERTURBATIONS,
    SERVICES,
    Perturbation,
    Service,
    add_noise,
    blur,
    chain,
    change_gamma,
    crop_share,
    jpeg,
    perturb,
    resize,
    screenshot,
    upload,
    webp,
)
from helpers.robustness.sweep import Cell, grid, image_set_hash, perturbation_generator, summarise, sweep

__all__ = [
    "CHAINS",
    "KERNELS",
    "PERTURBATIONS",
    "SERVICES",
    "Attack",
    "Cell",
    "Perturbation",
    "RobustnessError",
    "Service",
    "add_noise",
    "blur",
    "chain",
    "change_gamma",
    "crop_share",
    "grid",
    "image_set_hash",
    "jpeg",
    "perturb",
    "perturbation_generator",
    "pgd_attack",
    "resize",
    "screenshot",
    "summarise",
    "sweep",
    "upload",
    "webp",
]
