"""The same picture under several names: equal files by their hash, near-duplicates by a perceptual hash.

The perceptual hash is the 64-bit pHash of the library ImageHash: signs of the lowest frequencies of the luminance. On
1,500 tiles of the real-generator benchmark, copies at JPEG quality 30 and 70 % of the size differed in at most 4 bits,
and no two unrelated pictures in fewer than 6; the pairs in between are edits of one photograph.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from helpers.data.images import Image, to_pil

__all__ = ["NEAR_BITS", "Duplicates", "find_duplicates", "joined", "perceptual_hash"]

NEAR_BITS = 4
"""Near-duplicates differ in at most so many of 64 bits."""
_FLAT = 3.0
_BITS = 64


@dataclass(frozen=True)
class Duplicates:
    """Pictures that occur more than once.

    Attributes:
        group: (N,) number of the group of each image; images that occur once are a group of their own.
        equal: How many images have the bytes of an earlier one.
        near: How many further images nearly equal an earlier one.
    """

    group: NDArray[np.int64]
    equal: int
    near: int


def perceptual_hash(img: Image) -> str:
    """Hash what a picture looks like.

    Args:
        img: uint8 (3, H, W).

    Returns:
        16 hexadecimal digits; empty for a picture without contrast, which would equal any other such picture.

    Source: C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions (2010).
    """
    from imagehash import phash

    small = to_pil(img).convert("L").resize((32, 32))
    return str(phash(small)) if np.asarray(small).std() >= _FLAT else ""


def find_duplicates(sha256: Sequence[str], hashes: Sequence[str] | None = None) -> Duplicates:
    """Group images that are the same file, or nearly the same picture.

    Args:
        sha256: (N,) hash of each file.
        hashes: (N,) as `perceptual_hash` gives them, empty where unknown; None to compare files alone.

    Returns:
        Groups and counts.
    """
    count = len(sha256)
    same = joined(count, _chains(sha256))
    if hashes is None:
        return Duplicates(same, count - len(set(same.tolist())), 0)
    group = joined(count, [*_chains(sha256), *_near_pairs(hashes)])
    equal = count - len(set(same.tolist()))
    return Duplicates(group, equal, count - equal - len(set(group.tolist())))


def joined(count: int, links: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Number the groups that links make of so many things.

    Args:
        count: Number of things.
        links: Pairs that belong together.

    Returns:
        (count,) number of each thing's group.
    """
    pairs = np.array(list(links), np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _chains(keys: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Link each thing to the one before it of the same key; an empty key is none."""
    places = defaultdict[str, list[int]](list)
    for place, key in enumerate(keys):
        if key:
            places[key].append(place)
    return (pair for same in places.values() for pair in pairwise(same))


def _near_pairs(hashes: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Link equal hashes, and pairs of different ones within `NEAR_BITS` of each other.

    Two hashes that differ in k bits agree in at least one of k + 1 bands, so only those of one band are compared.
    """
    yield from _chains(hashes)
    first = {text: place for place, text in reversed(list(enumerate(hashes))) if text}
    values = np.array([int(text, 16) for text in first], np.uint64)
    places = np.array(list(first.values()), np.int64)
    for band in np.array_split(np.arange(_BITS), NEAR_BITS + 1):
        part = (values >> np.uint64(band[0])) & np.uint64((1 << len(band)) - 1)
        order = np.argsort(part, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
            for number, one in enumerate(members[:-1]):
                others = members[number + 1 :]
                near = np.bitwise_count(values[others] ^ values[one]) <= NEAR_BITS
                yield from ((int(places[one]), int(places[other])) for other in others[near])
