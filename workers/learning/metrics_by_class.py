"""How good a model is at each class by itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.learning.metric import Metric, wilson_interval
from workers.learning.metrics_of_labels import THRESHOLD
from workers.learning.tasks import Task


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """Recall over the rows of a class, and precision over those that are predicted as it; None without such rows."""

    recall: Metric | None
    precision: Metric | None


def evaluate_by_class(P: NDArray[np.float32], y: NDArray[Any], task: Task) -> Mapping[int, ClassMetrics]:
    """By class code, of the classes that occur in the truth or the predictions; none of numbers. Wilson intervals."""
    if task == "regression":
        return {}
    if task == "multi_label":
        truth, guess = y.astype(bool), P >= THRESHOLD
        hits, actual, claimed = ((part).sum(axis=0) for part in (truth & guess, truth, guess))
    else:
        guesses, classes = P.argmax(axis=1), P.shape[1]
        hits = np.bincount(y[guesses == y], minlength=classes)
        actual, claimed = np.bincount(y, minlength=classes), np.bincount(guesses, minlength=classes)
    return {
        code: ClassMetrics(_share(int(hits[code]), int(actual[code])), _share(int(hits[code]), int(claimed[code])))
        for code in np.flatnonzero(actual + claimed).tolist()
    }


def _share(hits: int, n: int) -> Metric | None:
    return Metric(hits / n, *wilson_interval(hits, n), n) if n else None
