import numpy as np
import pytest
from scipy.sparse import csr_array

from workers.learning.matrices import GRID, TILE, ArrayReader, grid, sample_rows
from workers.learning.parallel import Parallel


@pytest.mark.parametrize(
    ("stop", "start", "blocks"),
    [
        (0, 0, []),
        (5, 5, []),
        (10, 0, [(0, 10)]),
        (GRID, 0, [(0, GRID)]),
        (GRID + 1, 0, [(0, GRID), (GRID, GRID + 1)]),
        (2 * GRID + 3, GRID - 1, [(GRID - 1, GRID), (GRID, 2 * GRID), (2 * GRID, 2 * GRID + 3)]),
    ],
)
def test_grid_is_cut_at_multiples(stop: int, start: int, blocks: list[tuple[int, int]]) -> None:
    assert grid(stop, start) == blocks


def test_tiles_divide_the_grid() -> None:
    assert grid(12, 3, 4) == [(3, 4), (4, 8), (8, 12)]
    assert GRID % TILE == 0


@pytest.mark.parametrize("convert", [np.asarray, csr_array])
def test_array_reader(convert: type) -> None:
    X = np.arange(12, dtype=np.float32).reshape(6, 2)
    reader = ArrayReader(convert(X))
    assert (reader.rows, reader.columns) == (6, 2)
    read, taken = reader.read(2, 4), reader.take(np.array([5, 0]))
    np.testing.assert_array_equal(read if isinstance(read, np.ndarray) else read.toarray(), X[2:4])
    np.testing.assert_array_equal(taken if isinstance(taken, np.ndarray) else taken.toarray(), X[[5, 0]])


def test_sample_holds_candidates_only() -> None:
    X = np.arange(100, dtype=np.float32)[:, np.newaxis]
    even = np.arange(100) % 2 == 0
    sample = sample_rows(ArrayReader(X), even, 10, np.random.default_rng(0))
    assert np.unique(sample).size == 10
    assert (sample % 2 == 0).all()
    np.testing.assert_array_equal(sample_rows(ArrayReader(X), even, 90, np.random.default_rng(0)), X[even])


def _square(number: int) -> int:
    return number**2


@pytest.mark.parametrize("parallel", [Parallel(), Parallel("threads", 2), Parallel("loky", 2)], ids=str)
def test_parallel_keeps_the_order(parallel: Parallel) -> None:
    assert list(parallel.map(_square, range(20))) == [number**2 for number in range(20)]
    assert list(parallel.map(_square, [])) == []
