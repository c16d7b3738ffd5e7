"""Folds: classes are dealt out evenly, and groups are kept together."""

import numpy as np
import pytest

from workers.learning.estimators.folds import stratified_folds
from workers.learning.estimators.training import TrainingRequest, train
from workers.learning.metrics import cross_validated_probabilities


def test_without_groups_rows_are_dealt_one_by_one() -> None:
    y = np.array([0, 1, 0, 1, 0, 2, 0])
    shuffled = np.random.default_rng(7).permutation(7)
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    folds = stratified_folds(y, 3, np.random.default_rng(7))
    np.testing.assert_array_equal(folds[by_class], [0, 1, 2, 0, 1, 2, 0])


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_in_two_folds_and_classes_are_even(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 60, 300) * 1_000_003
    y = np.where(rng.random(300) < 0.9, groups % 2, 1 - groups % 2)
    folds = stratified_folds(y, 5, np.random.default_rng(seed), groups)
    assert all(np.unique(folds[groups == group]).size == 1 for group in np.unique(groups))
    sizes = np.bincount(folds, minlength=5)
    assert sizes.min() > 40
    shares = np.bincount(folds, weights=y, minlength=5) / sizes
    assert np.ptp(shares) < 0.25
    np.testing.assert_array_equal(folds, stratified_folds(y, 5, np.random.default_rng(seed), groups))


def test_a_group_counts_for_its_most_frequent_class() -> None:
    y = np.array([1, 1, 0, 0, 0, 1, 0, 0, 1, 1])
    groups = np.array([5, 5, 5, 3, 3, 3, 4, 4, 9, 9])
    for seed in range(20):
        folds = stratified_folds(y, 2, np.random.default_rng(seed), groups)
        assert {folds[3], folds[6]} == {0, 1}
        assert {folds[0], folds[8]} == {0, 1}


def test_fewer_groups_than_folds_leave_folds_empty() -> None:
    folds = stratified_folds(np.array([0, 1, 0, 1]), 3, np.random.default_rng(0), np.array([1, 1, 2, 2]))
    assert sorted(folds.tolist()) == [0, 0, 1, 1]


def _copies() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """40 groups of 5 rows that are nearly the same, with a label by chance."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 5)
    X = rng.normal(size=(40, 8))[groups] + rng.normal(scale=1e-3, size=(200, 8))
    return X.astype(np.float32), rng.integers(0, 2, 40)[groups], groups


def test_what_groups_give_away_is_not_measured() -> None:
    X, y, groups = _copies()
    request = TrainingRequest(X=X, y=y, classes=["a", "b"], estimator="knn", params={"n_neighbors": 1})
    parted = cross_validated_probabilities(request, 5)
    together = cross_validated_probabilities(
        TrainingRequest(X=X, y=y, classes=["a", "b"], estimator="knn", params={"n_neighbors": 1}, groups=groups), 5
    )
    assert np.mean(parted.argmax(axis=1) == y) == 1
    assert np.mean(together.argmax(axis=1) == y) < 0.75


@pytest.mark.parametrize("estimator", ["logistic_regression", "linear_svm", "sgd", "auto"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_groups_leave_a_model(estimator: str, count: int) -> None:
    X, y, _ = _copies()
    groups = np.minimum(np.arange(200) // 60, count - 1)
    y = np.where(groups == 0, y, 1)  # of the other groups each has one class
    train(TrainingRequest(X=X, y=y, classes=["a", "b"], estimator=estimator, groups=groups))


def test_the_penalty_is_chosen_by_other_groups() -> None:
    X, y, groups = _copies()
    parted = train(TrainingRequest(X=X, y=y, classes=["a", "b"])).hyper_parameters["C"]
    together = train(TrainingRequest(X=X, y=y, classes=["a", "b"], groups=groups)).hyper_parameters["C"]
    assert together < parted


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_one_group_cannot_be_cross_validated(task: str) -> None:
    X, y, _ = _copies()
    request = TrainingRequest(X=X, y=y, classes=["a", "b"], task=task, groups=np.zeros(200, dtype=np.int64))  # type: ignore[arg-type] # a parameter of the test
    with pytest.raises(ValueError, match="of two groups"):
        cross_validated_probabilities(request, 5)
