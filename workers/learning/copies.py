"""Which rows have the same features as others."""

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import GRID, ChunkReader, Rows
from workers.learning.space import row_hashes


def no_contents() -> NDArray[np.uint64]:
    """Of no rows."""
    return np.empty(0, dtype=np.uint64)


def contents(features: ChunkReader | None, rows: Rows) -> NDArray[np.uint64]:
    """A hash of the features of each of `rows` [n], equal for copies; without features, none [0]."""
    if features is None or rows.size == 0:
        return no_contents()
    starts = range(0, rows.size, GRID)
    return np.concatenate([row_hashes(features.take(rows[start : start + GRID])) for start in starts])


def first_of_each(
    hashes: NDArray[np.uint64], priority: NDArray[np.integer], taken: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """Which rows [n] have the lowest `priority` of those with their hash, and no hash that is `taken`."""
    first = ~np.isin(hashes, taken) if taken.size else np.ones(hashes.size, dtype=bool)
    order = np.argsort(hashes, kind="stable")
    if (hashes[order][1:] == hashes[order][:-1]).any():
        order = np.lexsort((priority, hashes))
        first[order[1:][hashes[order][1:] == hashes[order][:-1]]] = False
    return first
