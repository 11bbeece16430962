"""Seeds that belong to an example, never to what ran before it."""

import functools
import hashlib

import numpy as np
import torch

__all__ = ["derive_seed", "item_generator", "keyed_generator", "shuffled"]


def item_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """Make the generator of one example: the same for the same three numbers, unrelated for any others.

    Args:
        seed: Seed of the run.
        epoch: Pass over the data.
        index: Example.

    Returns:
        CPU generator.
    """
    words = np.random.SeedSequence((seed, epoch, index)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]) & (2**63 - 1))


def keyed_generator(*parts: int | str) -> torch.Generator:
    """Make the generator of anything that has a name, such as one image of a set, wherever it stands in the set.

    Args:
        parts: Key, such as `(seed, "crop", path)`.

    Returns:
        CPU generator: the same for the same key, unrelated for any other.
    """
    return torch.Generator().manual_seed(derive_seed(*parts))


@functools.lru_cache(maxsize=4)
def shuffled(count: int, *key: int | str) -> tuple[int, ...]:
    """Shuffle the numbers from 0 on; what was asked last is kept.

    Args:
        count: How many numbers.
        key: Such as `(seed, "order", epoch)`.

    Returns:
        The numbers in an order that the key determines.
    """
    return tuple(torch.randperm(count, generator=keyed_generator(*key)).tolist())


def derive_seed(*parts: int | str) -> int:
    """Turn any key, such as `(seed, "noise", step)`, into a seed of its own.

    Args:
        parts: Integers and texts; another order or another value gives an unrelated seed.

    Returns:
        An integer in [0, 2**63).
    """
    digest = hashlib.blake2b(repr(parts).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
