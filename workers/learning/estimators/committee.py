"""A committee: several models of the same labels, whose disagreement tells what the labels leave open."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from workers.learning.estimators.files import ModelFileError, read_members
from workers.learning.estimators.linear import LinearForm
from workers.learning.estimators.model import TrainedModel
from workers.learning.estimators.preprocessing import Preprocessed
from workers.learning.estimators.registry import form_of
from workers.learning.estimators.training import TrainingRequest, fit, learn, prepare, settled, tolerant
from workers.learning.matrices import Matrix, Rows, is_sparse
from workers.learning.parallel import Parallel, single_threaded

Kind = Literal["bootstrap", "estimators"]

# Quick to train and to ask, and of different minds.
MEMBERS = ("logistic_regression", "random_forest", "mlp", "extra_trees", "naive_bayes", "linear_svm")


@dataclass(frozen=True)
class Committee:
    """Trained pipelines; those that share the steps before the estimator share the very objects.

    Attributes:
        pipelines: of the members.
        class_count: number of the project's classes when they were trained.
    """

    pipelines: tuple[Pipeline, ...]
    class_count: int

    @property
    def size(self) -> int:
        """Number of members."""
        return len(self.pipelines)

    def predictions(self, X: Matrix) -> NDArray[np.float32]:
        """Class probabilities [n, members x class_count] of rows `X` [n, d], member by member, as a model gives them.

        All linear members together are one product.
        """
        places, linear = self._linear
        folded = None if linear is None or is_sparse(X) else linear.probabilities(X)
        if folded is not None and len(places) == self.size:
            return self._mended(folded, X, places)
        P = np.empty((X.shape[0], self.size, self.class_count), dtype=np.float32)
        if folded is not None:
            P[:, places] = self._mended(folded, X, places).reshape(X.shape[0], len(places), -1)
        self._fill(P, X, [place for place in range(self.size) if folded is None or place not in places])
        return P.reshape(X.shape[0], -1)

    def dump(self) -> bytes:
        """The committee's file (skops format); shared steps are in it once."""
        data: bytes = skops.io.dumps(list(self.pipelines))
        return data

    @classmethod
    def load(cls, data: bytes, *, class_count: int) -> Self:
        """The committee of a file made by `dump`.

        Raises:
            ModelFileError: when the file holds anything else.
        """
        members = read_members(data)
        pipelines = tuple(member for member in members if isinstance(member, Pipeline))
        if len(pipelines) < len(members):
            raise ModelFileError("It holds a number in the place of a member.")
        return cls(pipelines, class_count)

    @cached_property
    def _linear(self) -> tuple[list[int], LinearForm | None]:
        """The members that are linear, and their product."""
        forms = {place: LinearForm.of(pipeline) for place, pipeline in enumerate(self.pipelines)}
        found = {
            place: form.among(self.pipelines[place].classes_, self.class_count)
            for place, form in forms.items()
            if form is not None
        }
        return list(found), LinearForm.stacked(list(found.values())) if found else None

    def _mended(self, P: NDArray[np.float32], X: NDArray[np.float32], places: Sequence[int]) -> NDArray[np.float32]:
        """`P` [n, linear members x classes]; rows that overflow float32 are computed anew, in float64."""
        if not np.isfinite(P.sum()):
            rows = np.flatnonzero(~np.isfinite(P).all(axis=1))
            models = [TrainedModel(self.pipelines[place], self.class_count) for place in places]
            P[rows] = np.concatenate([model.predictions(X[rows]) for model in models], axis=1)
        return P

    def _fill(self, P: NDArray[np.float32], X: Matrix, places: Sequence[int]) -> None:
        """Write the probabilities of some members; each distinct list of steps is applied once."""
        transformed: dict[tuple[int, ...], Any] = {}
        for place in places:
            pipeline = self.pipelines[place]
            if not is_sparse(X) or len(pipeline) == 1:
                P[:, place] = TrainedModel(pipeline, self.class_count).predictions(X)
                continue
            steps = tuple(id(step) for _, step in pipeline.steps[:-1])
            if steps not in transformed:
                transformed[steps] = pipeline[:-1].transform(X)
            P[:, place] = TrainedModel(pipeline[-1:], self.class_count).predictions(transformed[steps])


def train_committee(request: TrainingRequest, *, count: int, kind: Kind, parallel: Parallel) -> Committee:
    """Train `count` members in parallel; the same request gives the same committee.

    `bootstrap`: the request's estimator on bootstrap samples of the labels (Breiman 1996), drawn within each class so
    that none is lost. `estimators`: those of `MEMBERS` in turn, with their default parameters, on all labels, and
    on such samples when a kind comes again: most would learn the same model from the same labels, whatever the seed.
    Pass the `hyper_parameters` of the trained model as `params`, so that nothing is chosen again by each member.

    Raises:
        ValueError: when fewer than two classes have labels.
    """
    y = np.asarray(request.y, dtype=np.int64)
    if np.unique(y).size <= 1:
        raise ValueError("A committee needs labels of at least two classes.")
    # Threads share Python's warning filters: the outermost change of them is the one that is undone.
    with single_threaded(), tolerant():
        request = settled(replace(request, y=y, learnt=request.learnt or learn(request)))
        requests = _members(request, count, kind)
        by_form = {form_of(member.estimator, member.task): member for member, _ in requests}
        prepared = {form: prepare(member) for form, member in by_form.items()}
        work = [_Member(member, prepared[form_of(member.estimator, member.task)], rows) for member, rows in requests]
        estimators = list(parallel.map(_fit_member, work))
    pipelines = (
        Pipeline([*member.prepared.steps, ("estimator", estimator)])
        for member, estimator in zip(work, estimators, strict=True)
    )
    return Committee(tuple(pipelines), len(request.classes))


@dataclass(frozen=True, slots=True)
class _Member:
    """One member's training, which joblib can send to another process; `rows` of the labels, None: all."""

    request: TrainingRequest
    prepared: Preprocessed
    rows: Rows | None


def _members(request: TrainingRequest, count: int, kind: Kind) -> list[tuple[TrainingRequest, Rows | None]]:
    """The request of each member and the rows that it learns from."""
    members: list[tuple[TrainingRequest, Rows | None]] = []
    for number in range(count):
        rng = np.random.default_rng([request.seed, number])
        member = replace(request, seed=int(rng.integers(2**32)))
        if kind == "estimators":
            member = replace(member, estimator=MEMBERS[number % len(MEMBERS)], params={})
        everything = kind == "estimators" and number < len(MEMBERS)
        members.append((member, None if everything else bootstrap_rows(request.y, rng)))
    return members


def bootstrap_rows(y: NDArray[np.int64], rng: np.random.Generator) -> Rows:
    """Rows [n] drawn with replacement, of each class as many as it has."""
    by_class = np.argsort(y, kind="stable")
    counts = np.bincount(y)[y[by_class]]
    first = np.searchsorted(y[by_class], y[by_class])
    rows: Rows = by_class[first + rng.integers(counts)]
    return rows


def _fit_member(member: _Member) -> Any:
    request, prepared = member.request, member.prepared
    if member.rows is not None:
        request = replace(request, y=request.y[member.rows])
        prepared = prepared.only(member.rows)
    with tolerant():
        estimator, _ = fit(request, prepared)
    return estimator
