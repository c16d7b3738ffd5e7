import numpy as np

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
