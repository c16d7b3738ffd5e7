"""Estimators of numbers by their catalogue names: each says a mean, and how far the truth may lie from it.

How these are read off a fitted one is in `workers.learning.estimators.regression`, by its class.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingRegressor,
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import BayesianRidge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.random_projection import SparseRandomProjection

from workers.learning.estimators.boosting import HIST_GRADIENT_BOOSTING
from workers.learning.estimators.forests import RANDOM_FOREST
from workers.learning.estimators.gaussian_process import AMPLITUDE, GAUSSIAN_PROCESS, LENGTH
from workers.learning.estimators.neural_network import MLP
from workers.learning.estimators.preprocessing import Form, Preprocessed

Values = NDArray[np.float64]
Params = Mapping[str, Any]
Made = Callable[[Params, np.random.RandomState, int], Any]
"""An unfitted regressor by parameters, randomness and the number of rows."""

NOISE = "noise_"
"""What a bagged regressor remembers beside scikit-learn's: the deviation that its members do not explain."""

_MEMBERS = 10
_MOST_COLUMNS = 2_048  # whose covariance, which a linear model keeps, takes 34 MB
_NOISE = (1e-5, 1e1)  # of values whose variance is 1


@dataclass(frozen=True, slots=True)
class Regressor:
    """An estimator of numbers.

    Attributes:
        fit: labelled rows, their values, parameters and a seed to a fitted regressor, and what was chosen on the data.
        form: of the rows that it is fitted to.
        trusted: types in its file that skops would refuse (see `workers.learning.estimators.base.Implementation`).
    """

    fit: Callable[[Preprocessed, Values, Params, int], tuple[Any, dict[str, Any]]]
    form: Form = field(default_factory=Form)
    trusted: tuple[str, ...] = ()


def _fit_forest(
    prepared: Preprocessed, y: Values, params: Params, seed: int, *, kind: Callable[..., Any]
) -> tuple[Any, dict[str, Any]]:
    """Trees, whose deviation from their mean is the spread (Meinshausen 2006 keeps the leaves' values instead)."""
    forest = kind(
        n_estimators=params.get("n_estimators", 100),
        max_depth=params.get("max_depth"),
        min_samples_leaf=params.get("min_samples_leaf", 1),
        random_state=np.random.RandomState(seed % 2**32),
        n_jobs=1,
    )
    return forest.fit(prepared.X, y), {}


def _fit_bayesian_ridge(prepared: Preprocessed, y: Values, params: Params, seed: int) -> tuple[Any, dict[str, Any]]:  # noqa: ARG001  # it has none of its own
    """Bayesian linear regression (MacKay 1992): the posterior's deviation, with the noise. O(d^3 + n d^2).

    Penalty and noise are chosen by marginal likelihood. Very many columns are projected at random first.
    """
    # Vague priors in units of the values: their floor must not outweigh values that are small throughout.
    vague = 1e-6 * max(float(np.var(y)), 1e-12 * max(1.0, float(np.mean(y)) ** 2))
    ridge = BayesianRidge(alpha_2=vague, lambda_2=vague)
    if prepared.X.shape[1] <= _MOST_COLUMNS:
        return ridge.fit(prepared.X, y), {}
    projection = SparseRandomProjection(
        _MOST_COLUMNS, dense_output=True, random_state=np.random.RandomState(seed % 2**32)
    )
    return make_pipeline(projection, ridge).fit(prepared.X, y), {}


def _fit_gaussian_process(prepared: Preprocessed, y: Values, params: Params, seed: int) -> tuple[Any, dict[str, Any]]:
    """Regression with a smooth kernel and noise (Rasmussen and Williams 2006, algorithm 2.1); O(m^3)."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(y.size)[: params.get("max_rows", 300)])
    process = GaussianProcessRegressor(
        ConstantKernel(1.0, AMPLITUDE) * RBF(1.0, LENGTH) + WhiteKernel(0.1, _NOISE),
        normalize_y=True,
        random_state=np.random.RandomState(seed % 2**32),
    )
    return process.fit(prepared.X[rows], y[rows]), {"rows": int(rows.size)}


def _fit_bagged(
    prepared: Preprocessed, y: Values, params: Params, seed: int, *, made: Made
) -> tuple[Any, dict[str, Any]]:
    """Ten on bootstrap samples (Breiman 1996).

    The spread is the members' deviation, and the noise that they do not explain: so much that the squares of both are,
    on average, the squared error of those members that did not learn the row.
    """
    random = np.random.RandomState(seed % 2**32)
    bag = BaggingRegressor(made(params, random, y.size), _MEMBERS, random_state=random, n_jobs=1).fit(prepared.X, y)
    said = np.stack([member.predict(prepared.X) for member in bag.estimators_])
    unseen = np.stack([~np.isin(np.arange(y.size), drawn) for drawn in bag.estimators_samples_])
    judged = unseen.any(axis=0)
    outside = np.where(unseen, said, 0).sum(axis=0)[judged] / unseen.sum(axis=0)[judged]
    errors = (y[judged] - outside) ** 2 if judged.any() else (y - y.mean()) ** 2
    setattr(bag, NOISE, float(np.sqrt(max(0.0, errors.mean() - said.var(axis=0).mean()))))
    return bag, {}


def _neighbours(params: Params, _: np.random.RandomState, rows: int) -> KNeighborsRegressor:
    return KNeighborsRegressor(
        n_neighbors=min(params.get("n_neighbors", 10), rows),
        weights=params.get("weights", "distance"),
        metric=params.get("metric", "euclidean"),
        algorithm="brute",
        n_jobs=1,
    )


def _boosting(params: Params, random: np.random.RandomState, _: int) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        max_iter=params.get("max_iter", 100),
        learning_rate=params.get("learning_rate", 0.1),
        max_leaf_nodes=params.get("max_leaf_nodes", 31),
        min_samples_leaf=params.get("min_samples_leaf", 5),
        l2_regularization=params.get("l2_regularization", 0.0),
        early_stopping=False,
        random_state=random,
    )


def _network(params: Params, random: np.random.RandomState, _: int) -> TransformedTargetRegressor:
    """It learns values of mean 0 and deviation 1, whatever their units."""
    network = MLPRegressor(
        hidden_layer_sizes=(params.get("units", 64),) * params.get("layers", 1),
        alpha=params.get("alpha", 1e-3),
        learning_rate_init=params.get("learning_rate", 0.01),
        max_iter=params.get("max_iter", 200),
        random_state=random,
    )
    return TransformedTargetRegressor(network, transformer=StandardScaler())


_RAW, _LATENT = Form(scaled=False), Form(text="latent")
_KERNELS = ("sklearn.gaussian_process.kernels.Sum", "sklearn.gaussian_process.kernels.WhiteKernel")

REGRESSORS: Mapping[str, Regressor] = {
    # A projection is numbers, in a matrix of scipy's.
    "bayesian_ridge": Regressor(_fit_bayesian_ridge, _LATENT, ("scipy.sparse._csr.csr_matrix",)),
    "random_forest": Regressor(partial(_fit_forest, kind=RandomForestRegressor), _RAW, RANDOM_FOREST.trusted),
    "extra_trees": Regressor(partial(_fit_forest, kind=ExtraTreesRegressor), _RAW, RANDOM_FOREST.trusted),
    "hist_gradient_boosting": Regressor(
        partial(_fit_bagged, made=_boosting), HIST_GRADIENT_BOOSTING.form, HIST_GRADIENT_BOOSTING.trusted
    ),
    "gaussian_process": Regressor(_fit_gaussian_process, _LATENT, (*GAUSSIAN_PROCESS.trusted, *_KERNELS)),
    "knn": Regressor(partial(_fit_bagged, made=_neighbours), _LATENT),
    "mlp": Regressor(partial(_fit_bagged, made=_network), _LATENT, MLP.trusted),
}
