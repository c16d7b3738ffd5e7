"""Plays the annotator: the loop of query, label and train on data whose labels are all known."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, r2_score

from workers.learning.curve import Curve
from workers.learning.estimators.committees import train_any_committee
from workers.learning.estimators.preprocessing import Background
from workers.learning.estimators.training import Trained, TrainingRequest, learn, nothing_to_learn, train
from workers.learning.matrices import ArrayReader, Matrix, Rows, sample_rows
from workers.learning.metrics_of_labels import THRESHOLD
from workers.learning.parallel import Parallel
from workers.learning.query import LabelledRows, Query
from workers.learning.scoring import predict_blocks
from workers.learning.selection import rank
from workers.learning.strategies.registry import needs_of
from workers.learning.tasks import Task

Score = Literal["accuracy", "macro_f1", "micro_f1", "r2", "found"]

GROWTH = 1.15
"""Past the budget, each training has this many times the labels of the one before."""

_BACKGROUND = 10_000
_MEMBERS = 5


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A labelled pool [n, d] and test set, and the loop to play on them.

    Attributes:
        start: the rows labelled before the first query; none: the strategy chooses from the first example on.
        batch: labels between two trainings, which happen at multiples of it.
        budget: labels up to which they do.
        limit: labels up to which the loop then goes on, in growing steps; None: the budget.
        score: what is measured on the test set; `found`: which share of the pool's examples of `target` is labelled.
        target: the class to find.
        text: the features are term counts.
    """

    X: Matrix
    y: NDArray[Any]
    X_test: Matrix
    y_test: NDArray[Any]
    classes: int
    task: Task = "classification"
    start: Rows
    batch: int
    budget: int
    limit: int | None = None
    strategy: str = "auto"
    params: Mapping[str, Any] = field(default_factory=dict)
    estimator: str = "logistic_regression"
    estimator_params: Mapping[str, Any] = field(default_factory=dict)
    score: Score = "accuracy"
    target: int | None = None
    seed: int = 0
    text: bool = False

    @cached_property
    def pool(self) -> ArrayReader:
        """The features of the pool."""
        return ArrayReader(self.X)

    @cached_property
    def learnt(self) -> Background:
        """What the models learn from the pool without labels: the same in each training."""
        everything = np.ones(len(self.y), dtype=bool)
        background = sample_rows(self.pool, everything, _BACKGROUND, np.random.default_rng(self.seed))
        return learn(self._request(np.empty(0, dtype=np.int64), background=background))

    def request(self, labelled: Rows) -> TrainingRequest:
        """The training on these rows of the pool."""
        return self._request(labelled, learnt=self.learnt)

    def _request(self, labelled: Rows, **background: Any) -> TrainingRequest:
        return TrainingRequest(
            X=self.pool.take(labelled),
            y=self.y[labelled],
            classes=[str(code) for code in range(self.classes)],
            task=self.task,
            estimator=self.estimator,
            params=self.estimator_params,
            seed=self.seed,
            text=self.text,
            **background,
        )


def simulate(simulation: Simulation) -> Curve:
    """Label batch after batch until the limit or the pool ends; the test score after each training.

    Without labels there is no point; while all labels are of one class, the score is that of naming this class always.
    """
    labelled = np.sort(simulation.start)
    curve: list[tuple[int, float]] = []
    while True:
        model = _train(simulation, labelled)
        if labelled.size:
            curve.append((int(labelled.size), _score(simulation, model, labelled)))
        k = _next(simulation, labelled.size) - labelled.size
        if k <= 0:
            return curve
        labelled = np.union1d(labelled, _pick(simulation, labelled, model, k))


def full_score(simulation: Simulation) -> float:
    """The test score of a model of all labels."""
    everything = np.arange(len(simulation.y))
    return _score(simulation, _train(simulation, everything), everything)


def _next(simulation: Simulation, labels: int) -> int:
    """The labels of the next training; no more than now at the end."""
    budget = min(simulation.budget, len(simulation.y))
    if labels < budget:
        return min((labels // simulation.batch + 1) * simulation.batch, budget)
    limit = min(simulation.limit or budget, len(simulation.y))
    return min(max(math.ceil(labels * GROWTH), labels + simulation.batch), limit)


def _train(simulation: Simulation, labelled: Rows) -> Trained | None:
    if nothing_to_learn(simulation.y[labelled], simulation.task):
        return None
    return train(simulation.request(labelled))


def _score(simulation: Simulation, model: Trained | None, labelled: Rows) -> float:
    if simulation.score == "found":
        wanted = simulation.y == simulation.target
        return float(np.count_nonzero(wanted[labelled]) / np.count_nonzero(wanted))
    truth = simulation.y_test
    if model is None:
        guesses = np.broadcast_to(simulation.y[labelled[0]], truth.shape)
    else:
        guesses = _GUESS[simulation.task](model.predictions(simulation.X_test))
    return _SCORE[simulation.score](truth, guesses)


_GUESS: Mapping[Task, Callable[[NDArray[np.float32]], NDArray[Any]]] = {
    "classification": lambda P: P.argmax(axis=1),
    "multi_label": lambda P: P >= THRESHOLD,
    "regression": lambda P: P[:, 0],
}

_SCORE: Mapping[str, Callable[[NDArray[Any], NDArray[Any]], float]] = {
    "accuracy": lambda truth, guesses: float(np.mean(guesses == truth)),
    "macro_f1": lambda truth, guesses: float(f1_score(truth, guesses, average="macro")),
    "micro_f1": lambda truth, guesses: float(f1_score(truth, guesses, average="micro", zero_division=0)),
    "r2": lambda truth, guesses: float(r2_score(truth, guesses)),
}


def _pick(simulation: Simulation, labelled: Rows, model: Trained | None, k: int) -> Rows:
    candidates = np.ones(len(simulation.y), dtype=bool)
    candidates[labelled] = False
    query = Query(
        strategy=simulation.strategy,
        params=simulation.params,
        k=k,
        candidates=candidates,
        classes=simulation.classes,
        task=simulation.task,
        # Another seed for each batch, or random labelling would be a single fixed order.
        seed=simulation.seed * 1_000_003 + int(labelled.size),
        features=simulation.pool,
        probabilities=None if model is None else _predictions(model, simulation.pool),
        members=_members(simulation, model, labelled),
        model=model,
        labelled=LabelledRows(labelled, simulation.y[labelled]),
        labels_count=int(labelled.size),
    )
    return rank(query).rows


def _predictions(model: Trained, pool: ArrayReader) -> ArrayReader:
    blocks = predict_blocks(model, pool, 0, pool.rows, Parallel())
    return ArrayReader(np.concatenate([P for _, _, P in blocks]))


def _members(simulation: Simulation, model: Trained | None, labelled: Rows) -> ArrayReader | None:
    """Probabilities of a bootstrap committee with the model's parameters, for strategies that need one."""
    if model is None or "committee" not in needs_of(simulation.strategy):
        return None
    request = replace(simulation.request(labelled), params=model.hyper_parameters)
    committee = train_any_committee(request, count=_MEMBERS, kind="bootstrap", parallel=Parallel())
    return ArrayReader(committee.predictions(simulation.X))
