"""From labelled rows to a trained model."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from workers.learning.estimators.logistic_regression import fit_logistic_regression
from workers.learning.estimators.model import TrainedModel
from workers.learning.estimators.preprocessing import Preprocessed, preprocess
from workers.learning.estimators.random_forest import fit_random_forest
from workers.learning.matrices import Matrix
from workers.learning.parallel import single_threaded

Fit = Callable[[Preprocessed, NDArray[np.int64], Mapping[str, Any], int], tuple[Any, dict[str, Any]]]

_FITS: Mapping[str, Fit] = {
    "logistic_regression": fit_logistic_regression,
    "random_forest": fit_random_forest,
}

ESTIMATOR_NAMES = tuple(_FITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """Everything that a model depends on; the same request gives the same model.

    Attributes:
        X: labelled rows [n, d], in an order that the caller fixes.
        y: codes into `classes` [n].
        classes: the project's classes in their order.
        params: as resolved by the catalogue, or the `hyper_parameters` of an earlier model.
        background: a seeded sample of pool rows, to learn scales or IDF from; None: learnt from `X` alone.
        text: `X` holds hashed term counts.
    """

    X: Matrix
    y: NDArray[np.int64]
    classes: Sequence[str]
    estimator: str = "logistic_regression"
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    background: Matrix | None = None
    text: bool = False


def train(request: TrainingRequest) -> TrainedModel:
    """Train the request's estimator.

    Raises:
        ValueError: when fewer than two classes have labels; there is nothing to tell apart then.
    """
    y = np.asarray(request.y, dtype=np.int64)
    if np.unique(y).size <= 1:
        raise ValueError("A model needs labels of at least two classes.")
    with single_threaded(), warnings.catch_warnings():
        # Many classes with few labels each are still classes.
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        prepared = preprocess(request.X, request.background, text=request.text, scaling=_scaling(request))
        estimator, chosen = _FITS[request.estimator](prepared, y, request.params, request.seed)
    return TrainedModel(
        pipeline=Pipeline([*prepared.steps, ("estimator", estimator)]),
        class_count=len(request.classes),
        hyper_parameters={**request.params, **prepared.chosen, **chosen},
    )


def _scaling(request: TrainingRequest) -> Any:
    # Trees do not care for the units of a column.
    return None if request.estimator == "random_forest" else request.params.get("scaling", "auto")
