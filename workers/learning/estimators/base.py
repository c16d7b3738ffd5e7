"""What stands behind a name of the catalogue: how an estimator is fitted, and to which form of the rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.learning.estimators.preprocessing import Form, Preprocessed

Fit = Callable[[Preprocessed, NDArray[np.int64], Mapping[str, Any], int], tuple[Any, dict[str, Any]]]
"""Labelled rows, their codes, parameters and a seed; gives the fitted estimator and what was chosen on the data."""


@dataclass(frozen=True, slots=True)
class Implementation:
    """An estimator.

    Attributes:
        fit: gives a scikit-learn estimator with `predict_proba` and `classes_`, the same for the same arguments.
        form: of the rows that it is fitted to.
        trusted: types in its file that skops would refuse, by full name, and estimators of scikit-learn that
            `soundness` does not know. They are built when a model is loaded: a type that runs what is in the file, or
            follows indices in it out of its memory, must never be among them.
    """

    fit: Fit
    form: Form = field(default_factory=Form)
    trusted: tuple[str, ...] = ()
