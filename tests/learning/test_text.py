from dataclasses import replace

import numpy as np
import pytest

from workers.learning.estimators.terms import learn_terms
from workers.learning.estimators.training import TrainingRequest, learn, train
from workers.learning.featurizers.text import featurize


def test_counts_words_and_pairs() -> None:
    counts = featurize(["Good good day", "good day", ""], {})
    assert (counts.format, counts.dtype, counts.shape) == ("csr", np.float32, (3, 2**18))
    assert counts.sum(axis=1).tolist() == [5, 3, 0]  # three words and two pairs; two words and one pair; nothing
    assert counts[[1]].multiply(counts[[0]]).sum() == 2 + 1 + 1


def test_parameters() -> None:
    counts = featurize(["Good good day"], {"n_features": 1024, "max_ngram": 1, "lowercase": False})
    assert counts.shape == (1, 1024)
    assert counts.sum() == 3
    assert counts.nnz == 3


def test_rows_do_not_depend_on_their_neighbours() -> None:
    alone, together = featurize(["a text"], {}), featurize(["another", "a text"], {})
    assert (alone - together[[1]]).nnz == 0


def test_words_that_no_label_has_change_no_prediction() -> None:
    X = featurize(["win a prize", "free prize now", "see you at home", "are you at work"], {})
    pool = featurize(["win a prize", "win a prize from some entirely unknown sender", "unknown words"], {})
    y = np.array([1, 1, 0, 0])
    model = train(
        TrainingRequest(
            X=X,
            y=y,
            classes=["ham", "spam"],
            estimator="logistic_regression",
            params={"latent": 0},
            background=pool,
            text=True,
        )
    )
    short, long, nothing = model.predictions(pool)
    np.testing.assert_allclose(long, short, atol=1e-6)
    assert short[1] > 0.8
    np.testing.assert_allclose(nothing, 0.5, atol=0.05)


def animals_and_money(rows: int, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """Texts of four words each of one of two topics that have 40 words each."""
    y = np.arange(rows) % 2
    return [" ".join(f"{'animal' if code else 'money'}{word}" for word in rng.integers(40, size=4)) for code in y], y


def test_words_that_go_together_in_the_pool_tell_what_labels_do_not() -> None:
    texts, y = animals_and_money(600, np.random.default_rng(0))
    X = featurize(texts, {"max_ngram": 1})
    request = TrainingRequest(X=X[:6], y=y[:6], classes=["money", "animals"], background=X, text=True)
    request = replace(request, params={"latent": 8})
    right = np.mean(train(request).predictions(X).argmax(axis=1) == y)
    alone = np.mean(train(replace(request, params={"latent": 0})).predictions(X).argmax(axis=1) == y)
    assert right > 0.99
    assert alone < 0.9


def test_what_is_learnt_without_labels_can_be_shared() -> None:
    texts, y = animals_and_money(200, np.random.default_rng(1))
    X = featurize(texts, {"max_ngram": 1})
    request = TrainingRequest(X=X[:30], y=y[:30], classes=["money", "animals"], background=X, text=True)
    shared = train(replace(request, learnt=learn(request), background=None))
    np.testing.assert_array_equal(shared.predictions(X), train(request).predictions(X))


def test_the_pool_weighs_less_the_more_labels_there_are() -> None:
    texts, _ = animals_and_money(2_000, np.random.default_rng(2))
    X = featurize(texts, {})
    weights = learn_terms(X, 64)
    told = [
        dict(weights.steps(X[:rows], "both"))["features"].transformer_weights["latent"] for rows in (2, 75, 300, 1_200)
    ]
    assert told == pytest.approx([2.0, 2.0, 1.0, 0.5])


def test_a_model_file_stays_small() -> None:
    rng = np.random.default_rng(3)
    texts = [" ".join(f"word{word}" for word in rng.integers(3_000, size=12)) for _ in range(1_000)]
    X = featurize(texts, {})
    request = TrainingRequest(X=X[:50], y=np.arange(50) % 2, classes=["x", "y"], background=X, text=True)
    assert len(train(request).dump()) < 8 * 2**20
