"""Naive Bayes: Gaussian for columns of numbers, multinomial for weighted terms."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.naive_bayes import GaussianNB, MultinomialNB

from workers.learning.estimators.base import Implementation
from workers.learning.estimators.preprocessing import Form, Preprocessed


def fit_naive_bayes(
    prepared: Preprocessed,
    y: NDArray[np.int64],
    params: Mapping[str, Any],
    seed: int,  # noqa: ARG001  # nothing is random
) -> tuple[GaussianNB | MultinomialNB, dict[str, Any]]:
    """Count, or take means and variances; O(n d).

    Terms are weighted by TF-IDF at unit length, which does better than counts (Rennie et al. 2003).
    """
    model = (
        MultinomialNB(alpha=params.get("alpha", 0.1))
        if issparse(prepared.X)
        else GaussianNB(var_smoothing=params.get("var_smoothing", 0.01))
    )
    model.fit(prepared.X, y)
    return model, {}


NAIVE_BAYES = Implementation(fit_naive_bayes, Form(text="terms"))
