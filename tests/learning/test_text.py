import numpy as np

from workers.learning.estimators.training import TrainingRequest, train
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
    short, long, nothing = model.predict_proba(pool)
    np.testing.assert_allclose(long, short, atol=1e-6)
    assert short[1] > 0.8
    np.testing.assert_allclose(nothing, 0.5, atol=0.05)
