"""Selectors called directly, on rows in comparable form."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import ArrayReader, Rows
from workers.learning.query import no_rows
from workers.learning.space import learn_space
from workers.learning.strategies.base import Selection, SelectionRequest, Selector


def request_of(
    X: NDArray[np.floating], count: int, labelled: Rows | None = None, *, scaled: bool = True, **more: Any
) -> SelectionRequest:
    """Ask for `count` of the rows `X` [n, d] without a label; `scaled`: in comparable form, as the engine does."""
    taken = no_rows() if labelled is None else labelled
    rest = np.setdiff1d(np.arange(X.shape[0]), taken)
    dense = X.astype(np.float32)
    shown = learn_space(dense[rest], 0).apply(dense) if scaled else dense
    values: dict[str, Any] = {
        "rows": rest,
        "count": count,
        "classes": 3,
        "seed": 0,
        "X": shown[rest],
        "labelled_X": shown[taken],
        "labelled_y": np.zeros(taken.size, dtype=np.int64),
        "features": ArrayReader(dense),
        **more,
    }
    return SelectionRequest(**values)


def select(selector: Selector, X: NDArray[np.floating], count: int, labelled: Rows | None = None) -> Selection:
    """Pick `count` of the rows of `X` that are not labelled."""
    return selector.select(request_of(X, count, labelled))
