"""Which estimator suits the labels: the cross-validated loss of a short list, within a budget of time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

AUTO = "auto"

FOLDS = 3
SEARCH_ROWS = 2_000

_LABELS_PER_CLASS = 10
_MANY_LABELS = 300
_MANY_CLASSES = 10
_MOST_HISTOGRAMS = 500
_FEWEST_NUMBERS = 20
_MOST_BOOSTED = 100  # columns of ten ensembles, a fold of which takes a second or two

Losses = Callable[[str, int], NDArray[np.float64]]
"""The loss of each row of a fold, by a candidate that was trained on the other folds."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen.

    Attributes:
        estimator: its name.
        losses: of each candidate that was judged, in the order of the list.
        left_out: candidates that the budget did not suffice for.
    """

    estimator: str
    losses: dict[str, float]
    left_out: tuple[str, ...]

    def as_params(self, measure: str) -> dict[str, Any]:
        """As hyper-parameters of the model, with the name of the loss; `estimator` there makes the choice again."""
        scores = {name: round(loss, 4) for name, loss in self.losses.items()}
        return {"estimator": self.estimator, measure: scores, "left_out": list(self.left_out)}


def candidates(*, text: bool, labels: int, classes: int, columns: int) -> tuple[str, ...]:
    """The names to compare, the default first, then quick ones; one alone where labels are too few to tell.

    Boosting and networks learn little from few labels. A fit cannot be interrupted, so boosting of many columns and
    classes (17 s for a fold of 384 columns, 10 classes) and a Gaussian process of many rows or classes have no place.
    """
    if labels < _LABELS_PER_CLASS * classes:
        return ("logistic_regression",)
    few = labels <= _MANY_LABELS and classes <= _MANY_CLASSES
    others = ("linear_svm", "naive_bayes") if text else ("knn", "extra_trees")
    boosting = ("hist_gradient_boosting",) if columns * classes <= _MOST_HISTOGRAMS else ()
    slow = () if labels < _MANY_LABELS else ("mlp", *boosting)
    return ("logistic_regression", *others, *(("gaussian_process",) if few and not text else ()), *slow)


def candidates_of_numbers(*, labels: int, columns: int) -> tuple[str, ...]:
    """As `candidates`, of numbers."""
    if labels < _FEWEST_NUMBERS:
        return ("random_forest",)
    few = ("gaussian_process",) if labels <= _MANY_LABELS else ()
    boosting = ("hist_gradient_boosting",) if columns <= _MOST_BOOSTED and labels >= _MANY_LABELS else ()
    return ("random_forest", "bayesian_ridge", *few, "knn", "extra_trees", *boosting)


def choose(names: Sequence[str], losses: Losses, *, budget_seconds: float, clock: Callable[[], float]) -> Choice:
    """Compare the candidates on the same rows; the first wins unless another's gain exceeds its standard error.

    The first is always judged. Another that has not been judged on all folds within the budget is left out, and so are
    those behind it.
    """
    if len(names) == 1:
        return Choice(names[0], {}, ())
    deadline = clock() + budget_seconds
    judged: dict[str, NDArray[np.float64]] = {}
    for name in names:
        parts = [losses(name, fold) for fold in range(FOLDS) if not judged or clock() < deadline]
        if judged and clock() >= deadline:
            break
        judged[name] = np.concatenate(parts)
    means = {name: float(rows.mean()) for name, rows in judged.items()}
    best = min(means, key=lambda name: means[name])
    gain = judged[names[0]] - judged[best]
    sure = gain.mean() > gain.std() / np.sqrt(gain.size)
    return Choice(best if sure else names[0], means, tuple(name for name in names if name not in judged))
