"""`auto`: what is compared, what wins, and what the budget leaves out."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.catalog.estimators import ESTIMATORS
from service.catalog.parameters import resolve
from tests.learning.pools import blobs
from tests.support.estimators import pipeline_of
from workers.learning.estimators.auto import FOLDS, candidates, candidates_of_numbers, choose
from workers.learning.estimators.committee import train_committee
from workers.learning.estimators.registry import ESTIMATORS as IMPLEMENTATIONS
from workers.learning.estimators.regressors import REGRESSORS
from workers.learning.estimators.training import DEFAULT_BUDGET_SECONDS, TrainingRequest, train
from workers.learning.featurizers.text import featurize
from workers.learning.metrics import cross_validated_probabilities
from workers.learning.parallel import Parallel


class Candidates:
    """Losses around a mean, that take their time on a clock of their own."""

    def __init__(self, means: Mapping[str, float], seconds: Mapping[str, float] | None = None) -> None:
        self.means, self.seconds = means, seconds or {}
        self.now, self.judged = 0.0, [""]

    def __call__(self, name: str, fold: int) -> Any:
        self.now += self.seconds.get(name, 0.0)
        self.judged.append(name)
        return self.means[name] + np.random.default_rng(fold).normal(scale=0.1, size=50)

    def chosen(self, budget: float = 5.0) -> Any:
        return choose(list(self.means), self, budget_seconds=budget, clock=lambda: self.now)


def test_the_least_log_loss_wins() -> None:
    choice = Candidates({"first": 0.5, "second": 0.4, "third": 0.45}).chosen()
    assert choice.estimator == "second"
    assert list(choice.losses) == ["first", "second", "third"]
    assert choice.losses["second"] == pytest.approx(0.4, abs=0.05)
    assert choice.left_out == ()


def test_a_gain_within_its_standard_error_does_not_move_the_choice() -> None:
    rows = {"first": np.tile([1.0, 0.0], 25), "second": np.tile([0.0, 0.98], 25), "third": np.tile([0.9, 0.0], 25)}

    def winner(*names: str) -> str:
        return choose(names, lambda name, _: rows[name], budget_seconds=1, clock=lambda: 0).estimator

    assert winner("first", "second") == "first"  # a gain of 0.01, with a standard error of 0.08
    assert winner("first", "third") == "third"  # 0.05, with 0.004


def test_what_does_not_end_in_time_is_left_out_with_all_behind_it() -> None:
    slow = Candidates({"first": 0.9, "second": 0.5, "third": 0.1, "fourth": 0.0}, {"first": 0.5, "third": 2.0})
    choice = slow.chosen(budget=5.0)
    assert (choice.estimator, choice.left_out) == ("second", ("third", "fourth"))
    assert "third" not in choice.losses
    assert slow.judged.count("third") == 2  # the third fold began no more
    assert slow.judged.count("fourth") == 0


def test_the_first_is_judged_whatever_the_budget() -> None:
    choice = Candidates({"first": 0.9, "second": 0.1}, {"first": 10.0}).chosen(budget=0.1)
    assert choice.as_params("log_loss") == {
        "estimator": "first",
        "log_loss": {"first": pytest.approx(0.9, abs=0.05)},
        "left_out": ["second"],
    }


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("classes", [2, 10, 77])
def test_more_labels_more_candidates(text: bool, classes: int) -> None:  # noqa: FBT001
    lists = [
        candidates(text=text, labels=labels, classes=classes, columns=4)
        for labels in (10 * classes - 1, 10 * classes, 10_000)
    ]
    assert lists[0] == ("logistic_regression",)
    assert len(lists[1]) >= 3
    assert "hist_gradient_boosting" in lists[2]
    assert "hist_gradient_boosting" not in candidates(text=text, labels=10_000, classes=classes, columns=384)
    for names in lists:
        assert names[0] == "logistic_regression"
        assert set(names) <= set(IMPLEMENTATIONS)


def rings(rows: int, seed: int = 0) -> tuple[Any, Any]:
    """Two rings, one within the other, which no line separates."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    angle = rng.uniform(0, 2 * np.pi, rows)
    X = np.column_stack([np.cos(angle), np.sin(angle)]) * (1.0 + 2.0 * y)[:, np.newaxis]
    return (X + rng.normal(scale=0.3, size=X.shape)).astype(np.float32), y


def test_rings_are_not_left_to_a_line_and_lines_are() -> None:
    X, y = rings(200)
    model = train(TrainingRequest(X=X, y=y, classes=["a", "b"], estimator="auto"))
    chosen = model.hyper_parameters
    assert chosen["estimator"] in {"knn", "gaussian_process", "extra_trees"}
    assert chosen["log_loss"][chosen["estimator"]] < chosen["log_loss"]["logistic_regression"] - 0.3
    far, truth = rings(500, seed=1)
    assert np.mean(model.predictions(far).argmax(axis=1) == truth) > 0.95
    rng = np.random.default_rng(2)
    X = rng.normal(size=(200, 20)).astype(np.float32)
    y = (X.sum(axis=1) + rng.normal(size=200) > 0).astype(np.int64)
    line = train(TrainingRequest(X=X, y=y, classes=["a", "b"], estimator="auto"))
    assert line.hyper_parameters["estimator"] == "logistic_regression"
    assert "C" in line.hyper_parameters


def test_few_labels_are_not_compared() -> None:
    X, y = rings(19)
    model = train(TrainingRequest(X=X, y=y, classes=["a", "b"], estimator="auto"))
    assert model.hyper_parameters["estimator"] == "logistic_regression"
    assert model.hyper_parameters["log_loss"] == {}


def test_one_row_of_a_class_and_ten_of_another_are_compared_on_the_rest() -> None:
    X, y = blobs(40, 2, np.random.default_rng(0))
    y[0] = 2
    model = train(TrainingRequest(X=X, y=y, classes=["a", "b", "c"], estimator="auto"))
    assert "logistic_regression" in model.hyper_parameters["log_loss"]
    assert np.isfinite(list(model.hyper_parameters["log_loss"].values())).all()
    lonely = np.zeros(40, dtype=np.int64)
    lonely[:2] = [1, 2]
    assert np.bincount(lonely).max() >= FOLDS
    alone = train(TrainingRequest(X=X, y=lonely, classes=["a", "b", "c"], estimator="auto"))
    assert alone.hyper_parameters["log_loss"] == {}


def test_the_choice_is_made_once_for_model_committee_and_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = rings(100)
    params = resolve(ESTIMATORS["auto"].parameters, {})
    assert params["budget_seconds"] == DEFAULT_BUDGET_SECONDS
    request = TrainingRequest(X=X, y=y, classes=["a", "b"], estimator="auto", params=params)
    model = train(request)
    same = replace(request, params=model.hyper_parameters)
    monkeypatch.delattr("workers.learning.estimators.training.choose")
    committee = train_committee(same, count=3, kind="bootstrap", parallel=Parallel())
    assert {type(pipeline[-1]) for pipeline in committee.pipelines} == {type(pipeline_of(model)[-1])}
    P = cross_validated_probabilities(same, 5)
    assert np.mean(P.argmax(axis=1) == y) > 0.9


def test_text_is_compared_too() -> None:
    rng = np.random.default_rng(1)
    y = np.arange(80) % 2
    texts = [" ".join(f"{'money' if code else 'animal'}{word}" for word in rng.integers(40, size=5)) for code in y]
    X = featurize(texts, {"max_ngram": 1})
    model = train(TrainingRequest(X=X, y=y, classes=["a", "b"], estimator="auto", text=True, background=X))
    assert list(model.hyper_parameters["log_loss"]) == ["logistic_regression", "linear_svm", "naive_bayes"]
    assert np.mean(model.predictions(X).argmax(axis=1) == y) > 0.95


def numbers(rows: int, noise: float) -> TrainingRequest:
    """Values on a slope in two columns."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(rows, 2)).astype(np.float32)
    y = X @ np.array([3.0, -2.0]) + rng.normal(scale=noise, size=rows)
    return TrainingRequest(X=X, y=y, classes=[], task="regression", estimator="auto", seed=1)


def test_of_numbers_the_least_squared_error_wins() -> None:
    model = train(numbers(80, noise=0.1))
    chosen = model.hyper_parameters
    assert chosen["estimator"] in {"bayesian_ridge", "gaussian_process"}
    assert list(chosen["squared_error"]) == list(candidates_of_numbers(labels=80, columns=2))
    assert chosen["squared_error"]["random_forest"] > 2 * chosen["squared_error"]["bayesian_ridge"]
    again = train(replace(numbers(80, noise=0.1), params=chosen))
    np.testing.assert_array_equal(again.predictions(numbers(80, noise=0.1).X), model.predictions(numbers(80, 0.1).X))


def test_few_numbers_are_not_compared() -> None:
    assert train(numbers(19, noise=0.1)).hyper_parameters["estimator"] == "random_forest"
    many = candidates_of_numbers(labels=1000, columns=4)
    assert "hist_gradient_boosting" in many
    assert "gaussian_process" not in many
    assert "hist_gradient_boosting" not in candidates_of_numbers(labels=1000, columns=1000)
    assert set(many) <= set(REGRESSORS)
