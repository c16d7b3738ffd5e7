"""A seeded random order of rows that depends on nothing but the seed and the row number."""

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import Rows

_MASK = 0xFFFF_FFFF_FFFF_FFFF


def splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): a bijection that scatters consecutive numbers."""
    z = values + np.uint64(0x9E37_79B9_7F4A_7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return z ^ (z >> np.uint64(31))


def tie_keys(rows: Rows, seed: int, *, purpose: str = "tie") -> NDArray[np.uint64]:
    """A random key per row; rows sorted by it are in random order. Each `purpose` has an order of its own."""
    salt = np.frombuffer(purpose.encode().ljust(8, b"\0")[:8], dtype="<u8").astype(np.uint64)
    mixed = splitmix64(splitmix64(np.array([seed & _MASK], dtype=np.uint64)) ^ salt)
    return splitmix64(rows.astype(np.uint64) ^ mixed)


def random_subset(rows: Rows, count: int, seed: int, *, purpose: str) -> Rows:
    """At most `count` of `rows`, uniformly drawn, in their given order."""
    if rows.size <= count:
        return rows
    if count == 0:
        return rows[:0]
    keys = tie_keys(rows, seed, purpose=purpose)
    return rows[np.sort(np.argpartition(keys, count)[:count])]


def shuffled(rows: Rows, seed: int, *, purpose: str = "tie") -> Rows:
    """`rows` in random order."""
    return rows[np.argsort(tie_keys(rows, seed, purpose=purpose), kind="stable")]
