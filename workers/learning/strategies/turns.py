"""Groups that take turns."""

import numpy as np
from numpy.typing import NDArray


def places(group: NDArray[np.integer], order: NDArray[np.intp]) -> NDArray[np.int64]:
    """The place [n] of each row among those of its `group` [n], 0 for the first, where `order` [n] ranks all rows."""
    within = order[np.argsort(group[order], kind="stable")]
    place = np.empty(group.size, dtype=np.int64)
    place[within] = np.arange(group.size) - np.searchsorted(group[within], group[within])
    return place
