"""Linear models by stochastic gradient descent, for very many labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, SGDClassifier

from workers.learning.estimators.base import Implementation
from workers.learning.estimators.preprocessing import Preprocessed
from workers.learning.estimators.temperature import with_probabilities


def fit_sgd(
    prepared: Preprocessed, y: NDArray[np.int64], params: Mapping[str, Any], seed: int
) -> tuple[LogisticRegression, dict[str, Any]]:
    """Averaged descent (Bottou 2010; Polyak and Juditsky 1992), one class against the rest; O(epochs n d classes)."""
    epochs = params.get("max_iter", 100)

    def make() -> SGDClassifier:
        return SGDClassifier(
            loss=params.get("loss", "log_loss"),
            penalty=params.get("penalty", "l2"),
            alpha=params.get("alpha", 1e-4),
            class_weight=params.get("class_weight"),
            max_iter=epochs,
            average=True,
            random_state=np.random.RandomState(seed % 2**32),
            n_jobs=1,
        )

    model, temperature = with_probabilities(
        make, prepared, y, temperature=params.get("temperature"), rng=np.random.default_rng(seed)
    )
    return model, {"temperature": temperature, "converged": bool(model.n_iter_.max() < epochs)}


SGD = Implementation(fit_sgd)
