import copy
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array

from service.storage.chunks import Chunk, open_dense, write_csr, write_dense
from service.storage.local import LocalObjects
from service.storage.memory import MemoryObjects
from service.storage.objects import ObjectStore
from workers.jobs.readers import DenseReader, Overlay, SparseReader

if TYPE_CHECKING:
    from workers.learning.matrices import ChunkReader

ROWS, COLUMNS = 40, 5
# rows 0-2, 15-19 and 30-39 are in no chunk; chunks 1 and 2 meet
SPANS = [(20, 30), (3, 9), (9, 15)]
LOOSE = [16, 18, 35]


def whole(*, sparse: bool) -> NDArray[np.float32]:
    """The array that the chunks hold parts of."""
    rng = np.random.default_rng(1)
    values = rng.random((ROWS, COLUMNS), dtype=np.float32) + 1
    return values * (rng.random(values.shape) < 0.4) if sparse else values


def held(array: NDArray[np.float32], loose: list[int]) -> NDArray[np.float32]:
    """The array with zeros where nothing holds a row."""
    result = np.zeros_like(array)
    for start, stop in SPANS:
        result[start:stop] = array[start:stop]
    result[loose] = array[loose]
    return result


def dense_reader(objects: ObjectStore) -> DenseReader:
    array = whole(sparse=False)
    chunks = [write_dense(objects, f"c{a}", [array[a:b]], array="vectors", start=a) for a, b in SPANS]
    overlay = Overlay(np.array(LOOSE), array[LOOSE])
    return DenseReader(objects, chunks, rows=ROWS, columns=COLUMNS, overlay=overlay)


def sparse_reader(objects: ObjectStore) -> SparseReader:
    array = whole(sparse=True)
    chunks = []
    for start, stop in SPANS:
        part = csr_array(array[start:stop])
        parts = (part.data, part.indices, part.indptr)
        chunks.append(write_csr(objects, f"c{start}", parts, array="features", start=start, columns=COLUMNS))
    return SparseReader(objects, chunks, rows=ROWS, columns=COLUMNS)


DENSE = dense_reader(MemoryObjects())
SPARSE = sparse_reader(MemoryObjects())


@given(st.integers(0, ROWS), st.integers(0, ROWS))
def test_any_range_is_read(one: int, other: int) -> None:
    start, stop = sorted((one, other))
    np.testing.assert_array_equal(DENSE.read(start, stop), held(whole(sparse=False), LOOSE)[start:stop])
    sparse = SPARSE.read(start, stop)
    assert isinstance(sparse, csr_array)
    np.testing.assert_array_equal(sparse.toarray(), held(whole(sparse=True), [])[start:stop])


@given(st.lists(st.integers(0, ROWS - 1)))
def test_any_rows_are_taken_in_order(rows: list[int]) -> None:
    wanted = np.array(rows, dtype=np.int64)
    np.testing.assert_array_equal(DENSE.take(wanted), held(whole(sparse=False), LOOSE)[wanted])
    np.testing.assert_array_equal(SPARSE.take(wanted).toarray(), held(whole(sparse=True), [])[wanted])


def test_both_are_chunk_readers() -> None:
    readers: list[ChunkReader] = [DENSE, SPARSE]
    for reader in readers:
        assert (reader.rows, reader.columns) == (ROWS, COLUMNS)
        assert reader.read(0, ROWS).dtype == reader.take(np.arange(4)).dtype == np.float32


def test_a_range_within_one_chunk_is_not_copied() -> None:
    part = DENSE.read(21, 28)
    assert np.shares_memory(part, DENSE.read(20, 30))
    assert not part.flags.writeable
    assert not np.shares_memory(DENSE.read(8, 10), DENSE.read(8, 10))


def test_an_overlay_goes_before_a_chunk() -> None:
    objects = MemoryObjects()
    chunk = write_dense(objects, "a", [np.ones((4, 1), dtype=np.float32)], array="a", start=0)
    overlay = Overlay(np.array([2]), np.array([[7]], dtype=np.float32))
    reader = DenseReader(objects, [chunk], rows=4, columns=1, overlay=overlay)
    assert reader.read(0, 4).ravel().tolist() == [1, 1, 7, 1]
    assert reader.take(np.array([2, 3])).ravel().tolist() == [7, 1]
    assert open_dense(objects, chunk).ravel().tolist() == [1, 1, 1, 1]


def test_an_array_without_chunks_is_zeros() -> None:
    objects = MemoryObjects()
    dense = DenseReader(objects, [], rows=9, columns=2)
    sparse = SparseReader(objects, [], rows=9, columns=2)
    assert not dense.read(0, 9).any()
    assert not dense.take(np.array([3, 4])).any()
    assert sparse.read(0, 9).shape == (9, 2)
    assert sparse.take(np.array([3, 4])).shape == (2, 2)


def test_readers_are_serialised_without_their_data(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    for reader in (dense_reader(objects), sparse_reader(objects)):
        before = len(pickle.dumps(reader))
        expected = reader.read(0, ROWS)
        assert len(pickle.dumps(reader)) == before
        again = copy.deepcopy(reader).read(0, ROWS)
        assert abs(again - expected).max() == 0


@pytest.mark.parametrize(("span", "columns"), [((4, 9), COLUMNS), ((30, 31), COLUMNS + 1)])
def test_chunks_that_do_not_fit_are_refused(span: tuple[int, int], columns: int) -> None:
    chunks = [Chunk("a", 0, 5, "dense", "a", COLUMNS, "float32"), Chunk("a", *span, "dense", "b", columns, "float32")]
    with pytest.raises(ValueError, match="chunk"):
        DenseReader(MemoryObjects(), chunks, rows=ROWS, columns=COLUMNS)
