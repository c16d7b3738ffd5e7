"""From labelled rows to a trained model."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from workers.learning.estimators.logistic_regression import fit_logistic_regression
from workers.learning.estimators.model import TrainedModel
from workers.learning.estimators.preprocessing import Background, Preprocessed, learn_background
from workers.learning.estimators.random_forest import fit_random_forest
from workers.learning.matrices import Matrix
from workers.learning.parallel import single_threaded

Fit = Callable[[Preprocessed, NDArray[np.int64], Mapping[str, Any], int], tuple[Any, dict[str, Any]]]

_FITS: Mapping[str, Fit] = {
    "logistic_regression": fit_logistic_regression,
    "random_forest": fit_random_forest,
}

ESTIMATOR_NAMES = tuple(_FITS)

DEFAULT_LATENT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """Everything that a model depends on; the same request gives the same model.

    Attributes:
        X: labelled rows [n, d], in an order that the caller fixes.
        y: codes into `classes` [n].
        classes: the project's classes in their order.
        params: as resolved by the catalogue, or the `hyper_parameters` of an earlier model.
        background: a seeded sample of pool rows, to learn scales, IDF and latent semantics from; None: scales and IDF
            are learnt from `X` alone.
        learnt: what `learn` made of the background; None: it is learnt again.
        text: `X` holds hashed term counts.
    """

    X: Matrix
    y: NDArray[np.int64]
    classes: Sequence[str]
    estimator: str = "logistic_regression"
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    background: Matrix | None = None
    learnt: Background | None = None
    text: bool = False


def train(request: TrainingRequest) -> TrainedModel:
    """Train the request's estimator.

    Raises:
        ValueError: when fewer than two classes have labels; there is nothing to tell apart then.
    """
    y = np.asarray(request.y, dtype=np.int64)
    if np.unique(y).size <= 1:
        raise ValueError("A model needs labels of at least two classes.")
    with single_threaded(), tolerant():
        prepared = prepare(request)
        estimator, chosen = fit(request, prepared)
    return TrainedModel(
        pipeline=Pipeline([*prepared.steps, ("estimator", estimator)]),
        class_count=len(request.classes),
        hyper_parameters={**request.params, **prepared.chosen, **chosen},
    )


def prepare(request: TrainingRequest) -> Preprocessed:
    """Fit the steps before the estimator, which do not look at labels."""
    return (request.learnt or learn(request)).prepare(request.X)


def learn(request: TrainingRequest) -> Background:
    """Learn what needs no labels; several trainings on the same pool can share it as their `learnt`."""
    alone = request.background is None
    with single_threaded():
        return learn_background(
            request.X if request.background is None else request.background,
            text=request.text,
            scaling=_scaling(request),
            latent=0 if alone else request.params.get("latent", DEFAULT_LATENT),
        )


def fit(request: TrainingRequest, prepared: Preprocessed) -> tuple[Any, dict[str, Any]]:
    """Fit the request's estimator to `y` and the rows of `prepared`; with the parameters that it chose."""
    return _FITS[request.estimator](prepared, np.asarray(request.y, dtype=np.int64), request.params, request.seed)


@contextmanager
def tolerant() -> Iterator[None]:
    """Ignore warnings of classes with few labels, which are still classes, and of fits that ended too early.

    The estimators look at the latter themselves.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        yield


def _scaling(request: TrainingRequest) -> Any:
    # Trees do not care for the units of a column.
    return None if request.estimator == "random_forest" else request.params.get("scaling", "auto")
