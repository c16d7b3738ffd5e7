"""The part of a pool that is only drawn from at random, and never trained on."""

import numpy as np
from numpy.typing import NDArray

from workers.learning.ties import tie_keys


def holdout_mask(rows: int, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Rows [rows] whose seeded hash falls into the fraction: fixed for ever, whatever else is uploaded."""
    if fraction <= 0:
        return np.zeros(rows, dtype=np.bool_)
    keys = tie_keys(np.arange(rows, dtype=np.int64), seed, purpose="holdout")
    return keys < np.uint64(fraction * 2**64)
