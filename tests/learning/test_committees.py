"""Committees of models of several classes an example, and of numbers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from tests.learning.pools import blobs
from workers.learning.estimators.committee import Kind
from workers.learning.estimators.committees import ModelCommittee, load_committee, train_any_committee
from workers.learning.estimators.files import ModelFileError
from workers.learning.estimators.training import TrainingRequest
from workers.learning.parallel import Parallel
from workers.learning.strategies.base import Block
from workers.learning.strategies.committee import Bald, PerLabel, VoteEntropy
from workers.learning.strategies.regression import CommitteeDeviation

SEVERAL, NUMBERS = "multi_label", "regression"


def make_request(task: str, **changes: Any) -> TrainingRequest:
    X, y = blobs(40, 3, np.random.default_rng(7))
    several = np.column_stack([y == 0, y != 2, np.zeros(40)]).astype(np.int64)
    request = TrainingRequest(
        X=X,
        y=several if task == SEVERAL else y + X[:, 0].astype(np.float64),
        classes=["a", "b", "c"] if task == SEVERAL else [],
        task=task,  # type: ignore[arg-type]  # one of the two
        estimator="logistic_regression" if task == SEVERAL else "bayesian_ridge",
        seed=4,
    )
    return replace(request, **changes)


@pytest.mark.parametrize("task", [SEVERAL, NUMBERS])
@pytest.mark.parametrize("kind", ["bootstrap", "estimators"])
def test_members_are_models_that_differ(task: str, kind: Kind) -> None:
    request = make_request(task)
    found = train_any_committee(request, count=3, kind=kind, parallel=Parallel())
    assert isinstance(found, ModelCommittee)
    assert found.size == 3
    said = found.predictions(request.X)
    columns = 3 if task == SEVERAL else 2
    assert said.shape == (40, 3 * columns)
    by_member = said.reshape(40, 3, columns)
    for place, model in enumerate(found.models):
        np.testing.assert_array_equal(by_member[:, place], model.predictions(request.X))
    assert (by_member[:, 0] != by_member[:, 1]).any()
    again = train_any_committee(request, count=3, kind=kind, parallel=Parallel("threads", 2))
    np.testing.assert_array_equal(again.predictions(request.X), said)
    loaded = load_committee(found.dump(), task=request.task, class_count=3)
    np.testing.assert_array_equal(loaded.predictions(request.X), said)


def test_samples_from_which_nothing_could_be_learnt_are_drawn_again() -> None:
    Y = np.zeros((40, 3), dtype=np.int64)
    Y[0, 0] = 1
    request = make_request(SEVERAL, y=Y)
    found = train_any_committee(request, count=6, kind="bootstrap", parallel=Parallel())
    assert np.isfinite(found.predictions(request.X)).all()


@pytest.mark.parametrize("planted", [b"no file", skops.io.dumps([LogisticRegression()]), skops.io.dumps([[3.0]])])
def test_what_is_no_committee_of_numbers_is_not_loaded(planted: bytes) -> None:
    with pytest.raises(ModelFileError):
        load_committee(planted, task="regression", class_count=0)


def test_disagreement_about_several_classes_is_the_mean_of_each() -> None:
    members = np.array(
        [[[0.9, 0.5], [0.1, 0.5]], [[0.8, 0.2], [0.8, 0.2]]], dtype=np.float32
    )  # [rows, members, classes]
    for kind in (Bald(), VoteEntropy()):
        alone = [
            kind.value(
                kind.score(Block(members=np.stack([1 - members[:, :, c], members[:, :, c]], axis=2))).astype(float)
            )
            for c in range(2)
        ]
        scorer = PerLabel(kind)
        found = scorer.value(scorer.score(Block(members=members)).astype(np.float64))
        np.testing.assert_allclose(found, np.mean(alone, axis=0), atol=1e-5)
    scorer = PerLabel(VoteEntropy())
    # Of the first class the votes are one to one, of the second they are split within each member: log 2 both times.
    votes = scorer.value(scorer.score(Block(members=members)).astype(np.float64))
    np.testing.assert_allclose(votes, [np.log(2), 0], atol=1e-5)


def test_deviation_of_numbers_is_that_of_the_means() -> None:
    members = np.array([[[1, 9], [3, 9]], [[2, 0], [2, 5]], [[-100, 1], [300, 1]]], dtype=np.float32)
    scorer = CommitteeDeviation()
    scores = scorer.score(Block(members=members))
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(scorer.value(scores.astype(np.float64)), [1, 0, 200], rtol=1e-4, atol=1e-30)
