import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss, precision_score, recall_score

from tests.learning.pools import blobs, probabilities
from workers.learning.estimators.training import Trained, TrainingRequest, train
from workers.learning.metric import Metric, wilson_interval
from workers.learning.metrics import cross_validated_probabilities, evaluate
from workers.learning.metrics_by_class import evaluate_by_class
from workers.learning.parallel import Parallel


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Figures of the score interval without continuity correction (Newcombe 1998, table I, method 3).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_wilson_interval_matches_published_figures(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=6e-5)


def test_figures_are_those_of_scikit_learn_and_lie_in_their_intervals() -> None:
    rng = np.random.default_rng(0)
    P, y = probabilities(200, 4, rng), rng.integers(0, 3, 200)
    metrics = evaluate(P, y, rng)
    guesses = P.argmax(axis=1)
    assert metrics["accuracy"].value == np.mean(guesses == y)
    assert metrics["macro_f1"].value == pytest.approx(f1_score(y, guesses, average="macro"))
    assert metrics["balanced_accuracy"].value == pytest.approx(
        np.mean([np.mean(guesses[y == code] == code) for code in range(3)])
    )
    assert metrics["log_loss"].value == pytest.approx(log_loss(y, P, labels=range(4)), rel=1e-5)
    for metric in metrics.values():
        assert metric.low < metric.value < metric.high
        assert metric.n == 200


def test_bootstrap_interval_covers_the_true_macro_f1() -> None:
    rng = np.random.default_rng(1)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, 3, n)
        guesses = np.where(rng.random(n) < 0.7, y, rng.integers(0, 3, n))
        return np.eye(3, dtype=np.float32)[guesses], y

    truth = evaluate(*draw(200_000), rng)["macro_f1"].value
    intervals = [evaluate(*draw(150), rng)["macro_f1"] for _ in range(60)]
    covered = sum(metric.low <= truth <= metric.high for metric in intervals)
    assert covered >= 51  # 95 % of 60 is 57; 51 or fewer has a chance below 0.1 %


def test_classes_by_themselves_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    P, y = probabilities(300, 5, rng)[:, :4], rng.integers(0, 3, 300)
    guesses = P.argmax(axis=1)
    found = evaluate_by_class(P, y, "classification")
    assert set(found) == {0, 1, 2, 3}
    for code in range(3):
        assert_share(found[code].recall, recall_score(y == code, guesses == code), np.sum(y == code))
        assert_share(found[code].precision, precision_score(y == code, guesses == code), np.sum(guesses == code))
    assert found[3].recall is None  # it is predicted only
    Y = rng.integers(0, 2, (300, 4)) * np.array([1, 1, 1, 0])
    several = evaluate_by_class(np.where(P < 0.9, P, 0.1)[:, :4] * np.array([2, 2, 2, 0]), Y, "multi_label")
    assert set(several) == {0, 1, 2}
    assert_share(several[1].recall, recall_score(Y[:, 1], np.where(P < 0.9, P, 0.1)[:, 1] * 2 >= 0.5), Y[:, 1].sum())
    assert evaluate_by_class(P[:, :2], y.astype(float), "regression") == {}


def assert_share(metric: Metric | None, value: float, n: int) -> None:
    assert metric is not None
    assert metric.value == pytest.approx(value)
    assert metric.n == n
    assert metric.low <= metric.value <= metric.high


def test_one_row_and_none() -> None:
    P = np.array([[0.9, 0.1]], dtype=np.float32)
    metrics = evaluate(P, np.array([1]), np.random.default_rng(0))
    assert metrics["accuracy"].value == 0
    assert 0.7 < metrics["accuracy"].high < 0.8  # z^2 / (1 + z^2)
    assert metrics["log_loss"].value == pytest.approx(-np.log(0.1))
    with pytest.raises(ValueError, match="at least one row"):
        evaluate(P[:0], np.array([], dtype=np.int64), np.random.default_rng(0))


def test_cross_validation_judges_every_row_by_a_model_that_has_not_seen_it() -> None:
    X, y = blobs(40, 3, np.random.default_rng(2))
    y[0] = 4  # the only one of its class
    request = TrainingRequest(X=X, y=y, classes=["x"] * 5, params={"C": 10.0})
    P = cross_validated_probabilities(request, 5)
    np.testing.assert_array_equal(cross_validated_probabilities(request, 5, Parallel("threads", 2)), P)
    np.testing.assert_allclose(P.sum(axis=1), 1, atol=1e-5)
    assert P[0, 4] == 0
    assert np.mean(P[1:].argmax(axis=1) == y[1:]) > 0.9
    noise = TrainingRequest(X=X, y=np.random.default_rng(3).integers(0, 2, 40), classes=["x", "y"])
    assert np.mean(cross_validated_probabilities(noise, 5).argmax(axis=1) == noise.y) < 0.8


@pytest.mark.parametrize(("rows", "models"), [(100, 5), (2_000, 5), (4_000, 3), (9_000, 2)])
def test_cross_validation_of_many_rows_trains_fewer_models(
    monkeypatch: pytest.MonkeyPatch, rows: int, models: int
) -> None:
    sizes = []

    def note(request: TrainingRequest) -> Trained:
        sizes.append(len(request.y))
        return train(request)

    monkeypatch.setattr("workers.learning.metrics.train", note)
    X, y = blobs(rows, 2, np.random.default_rng(0))
    cross_validated_probabilities(TrainingRequest(X=X, y=y, classes=["x", "y"], params={"C": 1.0}), 5)
    assert len(sizes) == models
    assert sum(sizes) == rows * (models - 1)


def test_cross_validation_of_two_rows() -> None:
    X = np.array([[0], [1]], dtype=np.float32)
    request = TrainingRequest(X=X, y=np.array([0, 1]), classes=["x", "y"])
    np.testing.assert_array_equal(cross_validated_probabilities(request, 5), [[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="at least two rows"):
        cross_validated_probabilities(TrainingRequest(X=X[:1], y=np.array([0]), classes=["x", "y"]), 5)


@pytest.mark.parametrize("name", ["macro_f1", "balanced_accuracy"])
def test_few_rows_that_are_all_right_are_no_proof(name: str) -> None:
    """Resampling them sees no errors: the interval is as wide as that of the accuracy."""
    P = np.eye(2, dtype=np.float32)
    found = evaluate(P, np.arange(2), np.random.default_rng(0), task="classification")
    assert found[name].value == 1.0
    assert found[name].low == found["accuracy"].low < 0.5
