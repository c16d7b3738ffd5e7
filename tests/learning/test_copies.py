import numpy as np
import pytest

from tests.learning.pools import SlicedReader
from workers.learning import copies
from workers.learning.copies import contents, first_of_each, no_contents
from workers.learning.matrices import ArrayReader


def test_first_of_each_goes_by_priority_and_leaves_out_what_is_taken() -> None:
    hashes = np.array([7, 8, 7, 9, 8, 7], dtype=np.uint64)
    priority = np.array([3, 0, 1, 0, 2, 2])
    assert first_of_each(hashes, priority, no_contents()).tolist() == [False, True, True, True, False, False]
    taken = np.array([8, 5], dtype=np.uint64)
    assert first_of_each(hashes, priority, taken).tolist() == [False, False, True, True, False, False]
    assert first_of_each(no_contents(), np.arange(0), taken).size == 0


def test_copies_have_the_same_content_in_any_chunking(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    X[20:] = X[:20]
    rows = np.random.default_rng(1).permutation(40)
    whole = contents(ArrayReader(X), rows)
    monkeypatch.setattr(copies, "GRID", 7)
    np.testing.assert_array_equal(contents(SlicedReader(X, 6), rows), whole)
    assert np.unique(whole).size == 20
    assert whole[rows == 3] == whole[rows == 23]


def test_without_features_there_are_no_copies() -> None:
    assert contents(None, np.arange(5)).size == 0
