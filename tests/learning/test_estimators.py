"""What single estimators promise beyond the contract of all."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.svm import LinearSVC

from tests.learning.pools import blobs
from tests.support.estimators import pipeline_of, quick_params
from workers.learning.estimators.preprocessing import Preprocessed
from workers.learning.estimators.temperature import with_probabilities
from workers.learning.estimators.training import TrainingRequest, learn, train
from workers.learning.featurizers.text import featurize


def overlapping(rows: int, classes: int, seed: int = 0, spread: float = 5.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    X, y = blobs(rows, classes, rng)
    X += rng.normal(scale=spread, size=X.shape).astype(np.float32)
    return X, y


class FixedLine:
    """A classifier that learns nothing: the score of a row is its first column, whatever the labels."""

    def fit(self, X: Any, y: Any) -> "FixedLine":
        self.classes_ = np.unique(y)
        self.coef_, self.intercept_ = np.eye(1, X.shape[1]), np.zeros(1)
        self.n_iter_ = 1
        return self

    def decision_function(self, X: Any) -> Any:
        return X[:, 0]


def test_temperature_is_the_one_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(scale=8, size=(20_000, 2))
    y = (rng.random(20_000) < expit(X[:, 0] / 4)).astype(np.int64)
    model, temperature = with_probabilities(FixedLine, Preprocessed([], X), y, temperature=None, rng=rng)
    assert temperature == pytest.approx(4, rel=0.05)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], expit(X[:, 0] / temperature))


def test_without_rows_to_hold_out_scores_are_taken_as_they_are() -> None:
    X, y = np.array([[2.0], [-3.0]]), np.array([0, 1])
    _, temperature = with_probabilities(
        FixedLine, Preprocessed([], X), y, temperature=None, rng=np.random.default_rng(0)
    )
    assert temperature == pytest.approx(1, abs=1e-4)


def test_a_given_temperature_is_kept() -> None:
    X, y = overlapping(60, 2)
    model, temperature = with_probabilities(
        LinearSVC, Preprocessed([], X), y, temperature=0.5, rng=np.random.default_rng(0)
    )
    assert temperature == 0.5
    scores = LinearSVC().fit(X, y).decision_function(X)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], expit(2 * scores), atol=1e-3)


@pytest.mark.parametrize("estimator", ["linear_svm", "sgd"])
@pytest.mark.parametrize("classes", [2, 5])
def test_scores_become_as_good_probabilities_as_those_of_logistic_regression(estimator: str, classes: int) -> None:
    X, y = overlapping(900, classes)
    names = [str(code) for code in range(classes)]
    request = TrainingRequest(X=X[:300], y=y[:300], classes=names, seed=1)
    found = [train(replace(request, estimator=name)).predictions(X[300:]) for name in (estimator, request.estimator)]
    loss, usual = (-np.log(P[np.arange(600), y[300:]]).mean() for P in found)
    assert loss < 1.1 * usual


def test_a_gaussian_process_of_many_rows_learns_from_a_sample_that_has_every_class() -> None:
    X, y = overlapping(400, 2)
    y[7] = 2
    request = TrainingRequest(X=X, y=y, classes=["a", "b", "c"], estimator="gaussian_process", params={"max_rows": 20})
    model = train(request)
    assert model.hyper_parameters["rows"] in {20, 21}
    P = model.predictions(X)
    assert np.isfinite(P).all()
    assert (P > 0).all()
    first, *_ = pipeline_of(model)[-1].base_estimator_.estimators_
    assert np.sum(first.y_train_) == pytest.approx(10, abs=1)
    np.testing.assert_array_equal(train(request).predictions(X), P)
    assert (train(replace(request, seed=1)).predictions(X) != P).any()
    assert train(replace(request, params={"max_rows": 400})).hyper_parameters["rows"] == 400


def test_neighbours_are_no_more_than_labels() -> None:
    X, y = overlapping(6, 2)
    model = train(TrainingRequest(X=X, y=y, classes=["a", "b"], estimator="knn", params={"n_neighbors": 50}))
    assert model.hyper_parameters["n_neighbors"] == 6


def test_naive_bayes_is_gaussian_on_vectors_and_multinomial_on_text() -> None:
    X, y = overlapping(20, 2)
    request = TrainingRequest(X=X, y=y, classes=["a", "b"], estimator="naive_bayes")
    assert isinstance(pipeline_of(train(request))[-1], GaussianNB)
    texts = featurize([f"word{code} other" for code in y], {})
    assert isinstance(pipeline_of(train(replace(request, X=texts, text=True)))[-1], MultinomialNB)


@pytest.mark.parametrize(
    "estimator",
    ["logistic_regression", "linear_svm", "sgd", "random_forest", "extra_trees", "hist_gradient_boosting"],
)
def test_balanced_classes_find_more_of_the_rare_one(estimator: str) -> None:
    X, y = overlapping(400, 2, spread=6.0)
    kept = np.flatnonzero((y == 0) | (np.arange(400) % 10 == 1))
    params = {**quick_params(estimator), **({"min_samples_leaf": 5} if "tree" in estimator or "f" in estimator else {})}
    request = TrainingRequest(X=X[kept], y=y[kept], classes=["a", "b"], estimator=estimator, params=params)
    plain = train(request).predictions(X)[:, 1].sum()
    balanced = train(replace(request, params={**params, "class_weight": "balanced"})).predictions(X)[:, 1].sum()
    assert balanced > 1.1 * plain


@pytest.mark.parametrize("estimator", ["knn", "hist_gradient_boosting", "gaussian_process", "mlp"])
def test_dense_estimators_see_texts_by_what_the_pool_tells(estimator: str) -> None:
    """Six labels say nothing of most words; in the pool, words of a topic go together."""
    rng = np.random.default_rng(1)
    y = np.arange(600) % 2
    texts = [" ".join(f"{'money' if code else 'animal'}{word}" for word in rng.integers(40, size=5)) for code in y]
    X = featurize(texts, {"max_ngram": 1})
    request = TrainingRequest(
        X=X[:20], y=y[:20], classes=["a", "b"], estimator=estimator, params={"latent": 8}, background=X, text=True
    )
    learnt = learn(request)
    model = train(replace(request, learnt=learnt))
    assert pipeline_of(model)[-1].n_features_in_ == 8
    assert np.mean(model.predictions(X[20:]).argmax(axis=1) == y[20:]) > 0.95
    few = train(replace(request, background=X[:4]))  # too few rows to learn dimensions from
    assert "projection" in pipeline_of(few).named_steps
    assert np.isfinite(few.predictions(X)).all()
