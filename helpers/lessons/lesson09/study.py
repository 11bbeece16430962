"""What lesson 09 computes: answers in a crowd, evidence from known scores, gaps of a model card, and odd pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageDraw

from helpers.data import catalog
from helpers.data.images import Image, encode_png
from helpers.data.opening import format_of
from helpers.detectors.base import Detector

__all__ = [
    "QUESTIONS",
    "Crowd",
    "card_gaps",
    "crowd",
    "facts_of",
    "noise",
    "patched",
    "screenshot",
    "window_ratio",
    "with_settings",
]


@dataclass(frozen=True)
class Crowd:
    """What a detector says of many pictures.

    Attributes:
        found: Generated pictures that are called generated.
        missed: Generated pictures that are not.
        accused: Photographs that are called generated.
        spared: Photographs that are not.
    """

    found: float
    missed: float
    accused: float
    spared: float

    @property
    def precision(self) -> float:
        """Share of generated pictures among those that are called generated."""
        return self.found / (self.found + self.accused)


def crowd(base_rate: float, sensitivity: float = 0.95, specificity: float = 0.95, pictures: int = 10_000) -> Crowd:
    """Count the answers to expect.

    Args:
        base_rate: Share of generated pictures, 0..1.
        sensitivity: Share of generated pictures that are called generated.
        specificity: Share of photographs that are not.
        pictures: How many in all.
    """
    generated, photographs = base_rate * pictures, (1 - base_rate) * pictures
    return Crowd(
        sensitivity * generated,
        (1 - sensitivity) * generated,
        (1 - specificity) * photographs,
        specificity * photographs,
    )


def window_ratio(score: float, photographs: Sequence[float], generated: Sequence[float], width: float) -> float:
    """Estimate a likelihood ratio by counting known scores near a new one, one more in each class.

    Args:
        score: The new score.
        photographs: Known scores of photographs.
        generated: Known scores of generated pictures.
        width: Scores at most this far away count.

    Returns:
        Share of generated pictures in the window divided by the share of photographs.
    """

    def share(known: Sequence[float]) -> float:
        values = np.asarray(known, np.float64)
        return float((1 + np.sum(np.abs(values - score) <= width)) / (2 + len(values)))

    return share(generated) / share(photographs)


# A model card

QUESTIONS = ("intended use", "not for", "trained on", "measured on", "photographs called generated", "found", "limits")
"""What a card must answer; the two rates need an interval."""
RATES = ("photographs called generated", "found")


def card_gaps(card: Mapping[str, Any]) -> list[str]:
    """List the questions that a card leaves open.

    Args:
        card: Question -> text, or for a rate a dictionary with value, low and high.

    Returns:
        Questions that are missing, answered by nothing but blanks, or by a rate without an interval; in the order of
        `QUESTIONS`.
    """
    return [question for question in QUESTIONS if not _answered(question, card.get(question))]


def _answered(question: str, answer: Any) -> bool:  # noqa: ANN401
    if question in RATES:
        return isinstance(answer, Mapping) and {"value", "low", "high"} <= set(answer)
    return isinstance(answer, str) and bool(answer.strip())


def facts_of(detector: Detector) -> dict[str, Any]:
    """Put what a detector's own card knows under the questions; what it does not know stays empty."""
    known = detector.history
    seen = f"{known.get('real', 0):,} photographs and {known.get('fake', 0):,} generated pictures"
    sources = f"{len(known.get('sources', ()))} sources, {len(known.get('generators', ()))} generators"
    return {
        "intended use": "teaching, and sorting pictures for a closer look",
        "not for": "",
        "trained on": f"{seen}: {sources}",
        "measured on": "held-out sources and generators",
        "photographs called generated": detector.conformal.level_real if detector.conformal else None,
    }


# Odd pictures


def noise(side: int = 480, seed: int = 0) -> Image:
    """Draw a picture of which every pixel is independent of all others, uint8 (3, side, side)."""
    return torch.randint(0, 256, (3, side, side), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def screenshot(width: int = 640, height: int = 400) -> Image:
    """Draw a window with bars, boxes and lines of text: uint8 (3, height, width)."""
    picture = PillowImage.new("RGB", (width, height), (225, 230, 238))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width, 36), fill=(52, 73, 110))
    draw.rectangle((16, 52, 190, height - 16), fill=(205, 213, 226))
    for row in range(9):
        draw.text((28, 64 + 34 * row), f"menu entry {row}", fill=(40, 44, 52))
        draw.text((214, 64 + 34 * row), "the quick brown fox jumps over the lazy dog " * 2, fill=(60, 64, 72))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def with_settings(img: Image, text: str) -> bytes:
    """Store an image as PNG with a text that programs for generated pictures write; the pixels stay.

    Args:
        img: uint8 (3, H, W).
        text: What to write under the key "parameters".
    """
    import struct
    import zlib

    body = b"tEXt" + b"parameters\0" + text.encode("latin-1")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    plain = encode_png(img)
    data = plain[:33] + chunk + plain[33:]  # behind signature and header
    assert format_of(data) == "PNG"
    return data


def patched(name: str = "chelsea", seed: int = 0) -> Image:
    """Paint the right half of an embedded photograph anew, as a generator that fills in a part does."""
    from helpers.pixels.views import break_traces

    img = catalog.photograph(name)[:, :256, :384].clone()
    generator = torch.Generator().manual_seed(seed)
    for top in range(0, 256, 64):
        for left in range(192, 384, 64):
            part = img[:, top : top + 64, left : left + 64]
            part.copy_(break_traces(part, generator, ("repaint",)))
    return img
