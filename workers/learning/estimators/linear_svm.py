"""A linear support vector machine whose scores are calibrated."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from workers.learning.estimators.base import Implementation
from workers.learning.estimators.preprocessing import Preprocessed
from workers.learning.estimators.temperature import with_probabilities

_ITERATIONS = 1_000


def fit_linear_svm(
    prepared: Preprocessed, y: NDArray[np.int64], params: Mapping[str, Any], seed: int
) -> tuple[LogisticRegression, dict[str, Any]]:
    """Widest margin with squared hinge loss, one class against the rest (Fan et al. 2008), four times over the rows."""

    def make() -> LinearSVC:
        return LinearSVC(
            C=params.get("C", 1.0),
            class_weight=params.get("class_weight"),
            max_iter=_ITERATIONS,
            random_state=np.random.RandomState(seed % 2**32),
        )

    model, temperature = with_probabilities(
        make, prepared, y, temperature=params.get("temperature"), rng=np.random.default_rng(seed)
    )
    return model, {"temperature": temperature, "converged": bool(model.n_iter_.max() < _ITERATIONS)}


LINEAR_SVM = Implementation(fit_linear_svm)
