"""What can be had, and on which terms: the project's own sets, and the research sets that people use.

`verified` is honest: it says what this project has compared itself. Most research sets cannot be reached from the
machines that it is developed on; their sizes and terms are what their authors state, and "not stated" means that we
have not found a statement.
"""

from dataclasses import asdict, dataclass
from typing import Any

from helpers.data.catalog.benchmark import GITHUB
from helpers.data.catalog.weights import WEIGHTS
from helpers.data.manifest import ManifestError

__all__ = ["ENTRIES", "Entry", "find_entry"]


@dataclass(frozen=True)
class Entry:
    """One set.

    Attributes:
        name: What commands call it.
        about: One line.
        size: In words.
        licence: Terms as its authors state them.
        citation: Where it is described.
        home: Where it lies.
        way: How it is had: "package", "checkout", "rebuild", "files", "hub" or "by hand".
        verified: What this project has checked itself; "no" where nothing.
        hub: Its name on the Hub; empty if it is not there.
    """

    name: str
    about: str
    size: str
    licence: str
    citation: str
    home: str
    way: str
    verified: str
    hub: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


_UNSAID = "not stated"
_TESTED = "yes: each file's SHA-256, in the tests"
_CARRIED = "SHA-256 of every original and tile; 47 tiles rebuilt to the byte; not yet fetched from GitHub by us"
ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "photographs", "12 colour photographs inside scientific Python packages", "in the packages",
            "per file: CC0, CC BY 2.0, public domain", "data/photographs/manifest.csv", "installed packages", "package",
            _TESTED,
        ),
        Entry(
            "textures", "9 grey pictures inside scientific Python packages", "in the packages",
            "per file: CC0, public domain", "data/textures/manifest.csv", "installed packages", "package", _TESTED,
        ),
        Entry(
            "zoo", "128 images of each of 12 small generators, and crops of their photographs", "7 MB",
            "MIT", "data/zoo", "a checkout of the project", "checkout", _TESTED,
        ),
        Entry(
            "benchmark", "7,629 tiles of real photographs and of real, named generators, matched in format and size",
            "0.3 GB, from 6,679 originals", "per file, many not stated: research only", "data/catalog/benchmark.csv.xz",
            "public repositories on GitHub", "rebuild", _CARRIED,
        ),
        Entry(
            "autoencoders", "weights of taesd, taesd3 and taef1, small autoencoders of Stable Diffusion and FLUX",
            "15 MB, 6 files", "MIT", "https://github.com/madebyollin/taesd",
            f"{GITHUB}/{WEIGHTS['autoencoders'].home}",
            "files", "SHA-256 of every file; not yet fetched from GitHub by us",
        ),
        Entry(
            "forensynths", "ProGAN for training and 13 generators for testing (CNNDetection)",
            "72 GB training, 19 GB testing", _UNSAID, "Wang et al., CVPR 2020, arXiv 1912.11035",
            "https://github.com/PeterWang512/CNNDetection", "by hand", "no",
        ),
        Entry(
            "universal-fake-detect", "LDM, GLIDE, guided diffusion and DALL-E images (UniversalFakeDetect)",
            _UNSAID, _UNSAID, "Ojha et al., CVPR 2023, arXiv 2302.10174",
            "https://github.com/WisconsinAIVision/UniversalFakeDetect", "by hand", "no",
        ),
        Entry(
            "genimage", "8 generators on the classes of ImageNet, 2.7 million images", _UNSAID, _UNSAID,
            "Zhu et al., NeurIPS 2023, arXiv 2306.08571", "https://github.com/GenImage-Dataset/GenImage", "by hand",
            "no",
        ),
        Entry(
            "synthbuster", "9 recent diffusion models beside RAISE-1k, uncompressed", _UNSAID, _UNSAID,
            "Bammey, IEEE OJSP 2024, doi 10.1109/OJSP.2023.3337714", "https://zenodo.org/records/10066460", "by hand",
            "no",
        ),
        Entry(
            "community-forensics-small", "278,000 images of thousands of generators, and as many photographs",
            _UNSAID, "CC BY-NC-SA 4.0 (as its card states)", "Park and Owens, CVPR 2025, arXiv 2411.04125",
            "https://huggingface.co/datasets/OwensLab/CommunityForensics-Small", "hub", "no",
            "OwensLab/CommunityForensics-Small",
        ),
        Entry(
            "community-forensics", "2.7 million images of 4,803 generators", _UNSAID,
            "CC BY 4.0 (as its card states)", "Park and Owens, CVPR 2025, arXiv 2411.04125",
            "https://huggingface.co/datasets/OwensLab/CommunityForensics", "hub", "no", "OwensLab/CommunityForensics",
        ),
        Entry(
            "mnw", "Microsoft, Northwestern and Witness: evolving benchmark of generated media", _UNSAID, _UNSAID,
            "IEEE Intelligent Systems 2026 (title not checked)", _UNSAID, "by hand", "no",
        ),
    )
}  # fmt: skip
"""Every entry by its name."""


def find_entry(name: str) -> Entry:
    """Look an entry up; `hub:owner/name` is any data set of the Hub.

    Args:
        name: Its name.

    Returns:
        The entry.

    Raises:
        ManifestError: There is none.
    """
    if name.startswith("hub:") and name.count("/") == 1:
        hub = name.removeprefix("hub:")
        home = f"https://huggingface.co/datasets/{hub}"
        return Entry(name, "a data set of the Hub", _UNSAID, _UNSAID, _UNSAID, home, "hub", "no", hub)
    if name not in ENTRIES:
        raise ManifestError(f"{name}: not in the catalogue (there are {', '.join(ENTRIES)}, and hub:OWNER/NAME)")
    return ENTRIES[name]
