"""Gaussian processes, of few rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from workers.learning.estimators.base import Implementation
from workers.learning.estimators.preprocessing import Form, Preprocessed

AMPLITUDE = (1e-2, 1e3)
LENGTH = (1e-2, 1e2)  # rows have a mean squared length of 1


def fit_gaussian_process(
    prepared: Preprocessed, y: NDArray[np.int64], params: Mapping[str, Any], seed: int
) -> tuple[GaussianProcessClassifier, dict[str, Any]]:
    """Laplace's approximation (Rasmussen and Williams 2006, algorithms 3.1, 3.2 and 5.1), one class against the rest.

    Amplitude and length of the kernel are chosen by marginal likelihood. O(n^3) for each class and step, so of more
    than `max_rows` labels a random sample is used, in which each class keeps its share.
    """
    rows = _sample(y, params.get("max_rows", 300), np.random.default_rng(seed))
    model = GaussianProcessClassifier(
        ConstantKernel(1.0, AMPLITUDE) * RBF(1.0, LENGTH),
        random_state=np.random.RandomState(seed % 2**32),
        n_jobs=1,
    )
    model.fit(prepared.X[rows], y[rows])
    return model, {"rows": int(rows.size)}


def _sample(y: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most `most` rows, but at least one of each class, ascending."""
    if y.size <= most:
        return np.arange(y.size)
    shuffled = rng.permutation(y.size)
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    evenly = by_class[np.arange(most) * y.size // most]
    classes, first = np.unique(y, return_index=True)
    return np.union1d(evenly, first[~np.isin(classes, y[evenly])])


# Kernels and the process of one class are arrays and numbers, which their classes only calculate with.
GAUSSIAN_PROCESS = Implementation(
    fit_gaussian_process,
    Form(text="latent"),
    (
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
    ),
)
