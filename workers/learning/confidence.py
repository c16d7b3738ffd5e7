"""Confident learning: which labels contradict what models say that have not seen them.

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of Artificial
Intelligence Research 70, arXiv 1911.00068.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FEWEST = 2
"""With a single label of a class, the model that judges it has never seen the class."""


def class_thresholds(P: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean out-of-sample probability [classes] that rows get for their own class.

    Args:
        P: class probabilities [n, classes] by models that were trained without the row.
        y: class codes [n].

    Infinite for classes with fewer than two labels: nobody can tell them.
    """
    counts = np.bincount(y, minlength=P.shape[1])
    sums = np.bincount(y, weights=P[np.arange(y.size), y], minlength=P.shape[1])
    return np.where(counts >= _FEWEST, sums / np.maximum(counts, 1), np.inf)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What is said of labels.

    Attributes:
        suggested: the class that each row rather has [n]: that which contradicts the label, else the most probable;
            its own where the label cannot be judged.
        margins: p_label - p_suggested [n], or less the next best class where the label is suggested itself; NaN where
            it cannot be judged.
        suspicion: higher = more likely wrong [n]: contradicted labels first, each kind by margin, unjudged ones last.
    """

    suggested: NDArray[np.int64]
    margins: NDArray[np.float64]
    suspicion: NDArray[np.float64]


def judge(P: NDArray[np.float32], y: NDArray[np.int64], thresholds: NDArray[np.float64]) -> Verdicts:
    """Judge labels `y` [n], -1 for a row without one, by out-of-sample probabilities `P` [n, classes].

    A row is taken for the most probable of the classes whose threshold its probability reaches. If that is not the
    class of its label, the label is contradicted: an off-diagonal count of the paper's confident joint. O(n classes).
    """
    rows = np.arange(y.size)
    wide = P.astype(np.float64)
    reached = np.where(wide >= thresholds, wide, -1.0)
    best = reached.argmax(axis=1)
    judged = (y >= 0) & np.isfinite(thresholds)[y]
    contradicted = judged & (reached[rows, best] >= 0) & (best != y)
    others = wide.copy()
    others[rows, y] = -1.0
    rival = np.where(contradicted, best, others.argmax(axis=1))
    margins = np.where(judged, wide[rows, y] - wide[rows, rival], np.nan)
    return Verdicts(
        suggested=np.where(contradicted | (margins < 0), rival, y),
        margins=margins,
        suspicion=np.where(judged, np.where(contradicted, 2.0, 0.0) - margins, -2.0),
    )
