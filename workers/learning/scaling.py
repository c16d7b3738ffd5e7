"""What units the columns of a dense matrix are in, learnt without labels."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scaling = Literal["auto", "columns", "shared"]

# Columns share a unit when at least half of them span at least a quarter of the widest span. Pixels (0 to 255, with
# dead columns at the border), embeddings and sensor arrays do; a table of an age, a cholesterol and a flag does not.
_SHARE_OF_COLUMNS = 0.5
_SHARE_OF_SPAN = 0.25


@dataclass(frozen=True, slots=True)
class Units:
    """Column means and scales; `(X - mean) / scale` has a mean squared row length of 1."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    scaling: Literal["columns", "shared"]

    def apply(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """`X` in these units."""
        return ((X - self.mean) / self.scale).astype(np.float32)


def learn_units(X: NDArray[np.float32], scaling: Scaling = "auto") -> Units:
    """Learn the units of `X` [n, d].

    With `columns`, each column is divided by its own deviation: right for tables. With `shared`, all are divided by one
    figure: right for pixels and embeddings, where a column that hardly varies is noise that standardising would blow
    up. Either way the rows come out with a mean squared length of 1, so that one penalty suits few and many columns.
    Constant columns are only centred.
    """
    wide = np.asarray(X, dtype=np.float64)
    mean = wide.mean(axis=0)
    deviation = wide.std(axis=0)
    varies = deviation > 1e-7 * np.maximum(np.abs(mean), np.finfo(np.float32).tiny)
    if not varies.any():
        return Units(mean, np.ones_like(mean), "shared")
    span = np.where(varies, np.ptp(wide, axis=0), 0.0)
    if scaling == "auto":
        comparable = np.mean(span[varies] >= _SHARE_OF_SPAN * span.max())
        scaling = "shared" if comparable >= _SHARE_OF_COLUMNS else "columns"
    length = np.sqrt(np.sum(deviation[varies] ** 2))
    own = deviation * np.sqrt(varies.sum())
    scale = np.where(varies, own, 1.0) if scaling == "columns" else np.full_like(mean, length)
    return Units(mean, scale, scaling)
