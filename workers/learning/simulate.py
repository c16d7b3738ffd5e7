"""Plays the annotator: the loop of query, label and train on data whose labels are all known."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.learning.curve import Curve
from workers.learning.estimators.training import TrainingRequest, train
from workers.learning.matrices import ArrayReader, Matrix, Rows, sample_rows
from workers.learning.parallel import Parallel
from workers.learning.query import Query
from workers.learning.scoring import predict_blocks
from workers.learning.selection import rank

_BACKGROUND = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A labelled pool [n, d] and test set, and the loop to play on them.

    `start` are the rows labelled before the first query; `text` says that the features are term counts.
    """

    X: Matrix
    y: NDArray[np.int64]
    X_test: Matrix
    y_test: NDArray[np.int64]
    classes: int
    start: Rows
    batch: int
    budget: int
    strategy: str = "auto"
    params: Mapping[str, Any] = field(default_factory=dict)
    estimator: str = "logistic_regression"
    estimator_params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    text: bool = False


def simulate(simulation: Simulation) -> Curve:
    """Label batch after batch until the budget or the pool ends; the test accuracy after each training.

    Points without a model (one class so far) are left out.
    """
    labelled = np.sort(simulation.start)
    curve: list[tuple[int, float]] = []
    while True:
        probabilities = _learn(simulation, labelled, curve)
        k = min(simulation.batch, simulation.budget - labelled.size, simulation.y.size - labelled.size)
        if k <= 0:
            return curve
        labelled = np.union1d(labelled, _pick(simulation, labelled, probabilities, k))


def _learn(simulation: Simulation, labelled: Rows, curve: list[tuple[int, float]]) -> NDArray[np.float32] | None:
    """Train on the labels, append to the curve, and predict the pool."""
    if np.unique(simulation.y[labelled]).size <= 1:
        return None
    pool = ArrayReader(simulation.X)
    everything = np.ones(pool.rows, dtype=bool)
    model = train(
        TrainingRequest(
            X=pool.take(labelled),
            y=simulation.y[labelled],
            classes=[str(code) for code in range(simulation.classes)],
            estimator=simulation.estimator,
            params=simulation.estimator_params,
            seed=simulation.seed,
            background=sample_rows(pool, everything, _BACKGROUND, np.random.default_rng(simulation.seed)),
            text=simulation.text,
        )
    )
    guesses = model.predict_proba(simulation.X_test).argmax(axis=1)
    curve.append((int(labelled.size), float(np.mean(guesses == simulation.y_test))))
    return np.concatenate([P for _, _, P in predict_blocks(model, pool, 0, pool.rows, Parallel())])


def _pick(simulation: Simulation, labelled: Rows, probabilities: NDArray[np.float32] | None, k: int) -> Rows:
    candidates = np.ones(simulation.y.size, dtype=bool)
    candidates[labelled] = False
    query = Query(
        strategy=simulation.strategy,
        params=simulation.params,
        k=k,
        candidates=candidates,
        classes=simulation.classes,
        # Another seed for each batch, or random labelling would be a single fixed order.
        seed=simulation.seed * 1_000_003 + int(labelled.size),
        features=ArrayReader(simulation.X),
        probabilities=None if probabilities is None else ArrayReader(probabilities),
        labelled_rows=labelled,
        labelled_codes=simulation.y[labelled],
        labels_count=int(labelled.size),
    )
    return rank(query).rows
