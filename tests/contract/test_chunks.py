import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.errors import DamagedObjectError
from service.storage.bitmaps import Change, apply_changes, change_of, pack, unpack
from service.storage.chunks import (
    Chunk,
    ChunkWriter,
    Parts,
    chunk_key,
    delete_chunk,
    open_csr,
    open_dense,
    project_prefix,
    write_csr,
    write_dense,
)
from service.storage.local import LocalObjects
from service.storage.memory import MemoryObjects
from service.storage.objects import ObjectNotFoundError, ObjectStore

CSR: Parts = (
    np.array([1, 2, 3], dtype=np.float32),
    np.array([0, 4, 1], dtype=np.int32),
    np.array([0, 2, 2, 3], dtype=np.int32),
)


def matrix(rows: int, columns: int = 3) -> NDArray[np.float32]:
    return np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)


def test_blocks_become_one_mapped_array(objects: ObjectStore) -> None:
    key = chunk_key("prj_1", "features:ab12", 100)
    chunk = write_dense(objects, key, iter([matrix(4), matrix(2)]), array="features:ab12", start=100)
    assert chunk == Chunk("features:ab12", 100, 106, "dense", key, 3, "float32")
    opened = open_dense(objects, chunk)
    np.testing.assert_array_equal(opened, np.concatenate([matrix(4), matrix(2)]))
    assert not opened.flags.writeable
    assert isinstance(opened.base, np.memmap)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.uint8, np.bool_, np.int64])
def test_types_are_kept(dtype: type[np.generic]) -> None:
    objects = MemoryObjects()
    chunk = write_dense(objects, "a", [matrix(4).astype(dtype)], array="a", start=0)
    opened = open_dense(objects, chunk)
    assert opened.dtype == dtype
    np.testing.assert_array_equal(opened, matrix(4).astype(dtype))


def test_blocks_in_any_layout_are_written_by_row() -> None:
    objects = MemoryObjects()
    block = np.asfortranarray(matrix(6))[::2].astype(">f4")
    chunk = write_dense(objects, "a", [block], array="a", start=0)
    np.testing.assert_array_equal(open_dense(objects, chunk), matrix(6)[::2])


def test_what_is_written_so_far_can_be_mapped(objects: ObjectStore) -> None:
    with ChunkWriter(objects, columns=3) as writer:
        writer.append(matrix(4))
        np.testing.assert_array_equal(writer.mapped(), matrix(4))
        writer.append(matrix(2))
        mapped = writer.mapped()
        np.testing.assert_array_equal(mapped, np.concatenate([matrix(4), matrix(2)]))
        assert not mapped.flags.writeable


@given(arrays(np.bool_, st.integers(1, 60)), st.integers(1, 7))
def test_dropped_rows_are_left_out(keep: NDArray[np.bool_], block_rows: int) -> None:
    objects = MemoryObjects()
    rows = matrix(len(keep), 2)
    with ChunkWriter(objects, columns=2) as writer:
        for first in range(0, len(rows), block_rows):
            writer.append(rows[first : first + block_rows])
        if not keep.any():
            with pytest.raises(ValueError, match="must have rows"):
                writer.finish("a", array="vectors", start=5, keep=keep)
            return
        chunk = writer.finish("a", array="vectors", start=5, keep=keep)
    assert (chunk.start, chunk.rows) == (5, keep.sum())
    np.testing.assert_array_equal(open_dense(objects, chunk), rows[keep])


def test_rows_are_read_back_while_a_chunk_is_written() -> None:
    with ChunkWriter(MemoryObjects(), columns=3) as writer:
        writer.append(matrix(4))
        np.testing.assert_array_equal(writer.block(1, 3), matrix(4)[1:3])
        writer.append(matrix(6)[4:])
        np.testing.assert_array_equal(writer.block(0, 6), matrix(6))
        assert writer.block(6, 6).shape == (0, 3)


def test_filtering_goes_over_more_than_one_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.storage.chunks.FILTER_ROWS", 8)
    objects = MemoryObjects()
    keep = np.random.default_rng(0).random(100) < 0.6
    with ChunkWriter(objects, columns=3) as writer:
        writer.append(matrix(100))
        chunk = writer.finish("a", array="vectors", start=0, keep=keep)
    np.testing.assert_array_equal(open_dense(objects, chunk), matrix(100)[keep])


def test_an_exception_between_blocks_leaves_nothing(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)

    def blocks() -> Iterator[NDArray[np.float32]]:
        yield matrix(4)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="source broke"):
        write_dense(objects, "a", blocks(), array="a", start=0)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_abandoned_writer_leaves_nothing(tmp_path: Path) -> None:
    writer = ChunkWriter(LocalObjects(tmp_path), columns=3)
    writer.append(matrix(4))
    writer.abandon()
    writer.abandon()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may become larger."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("full_disk")
def test_what_a_full_disk_has_no_room_for_is_abandoned_all_the_same(tmp_path: Path) -> None:
    writer = ChunkWriter(LocalObjects(tmp_path), columns=3)
    writer.append(matrix(4))
    writer.abandon()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_wrong_shapes_are_refused(objects: ObjectStore) -> None:
    with ChunkWriter(objects, columns=3) as writer:
        writer.append(matrix(2))
        for block in (matrix(2, 4), np.zeros(3, dtype=np.float32)):
            with pytest.raises(ValueError, match="expected rows of 3 columns"):
                writer.append(block)
        with pytest.raises(ValueError, match="keep has 1"):
            writer.finish("a", array="a", start=0, keep=np.array([True]))
    with pytest.raises(ValueError, match="must have rows"):
        write_dense(objects, "a", [], array="a", start=0)
    assert list(objects.list()) == []


def test_sparse_rows_come_back(objects: ObjectStore) -> None:
    chunk = write_csr(objects, "p/x", CSR, array="features", start=7, columns=5)
    assert (chunk.start, chunk.stop, chunk.kind, chunk.columns) == (7, 10, "csr", 5)
    assert list(objects.list()) == ["p/x.data.npy", "p/x.indices.npy", "p/x.indptr.npy"]
    for got, put in zip(open_csr(objects, chunk), CSR, strict=True):
        np.testing.assert_array_equal(got, put)
        assert got.dtype == put.dtype
        assert not got.flags.writeable
    delete_chunk(objects, chunk)
    delete_chunk(objects, chunk)
    assert list(objects.list()) == []
    with pytest.raises(ObjectNotFoundError):
        open_csr(objects, chunk)


def test_sparse_rows_may_all_be_empty(objects: ObjectStore) -> None:
    empty = (np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int32), np.zeros(3, dtype=np.int32))
    chunk = write_csr(objects, "x", empty, array="a", start=0, columns=5)
    assert [len(part) for part in open_csr(objects, chunk)] == [0, 0, 3]


@pytest.mark.parametrize(
    ("data", "indices", "indptr"),
    [
        ([1.0], [0], [0]),
        ([1.0], [0], [0, 2]),
        ([1.0], [0], [1, 1]),
        ([1.0], [0, 1], [0, 1]),
        ([1.0, 2.0], [0, 1], [0, 3, 2]),
        ([1.0], [5], [0, 1]),
        ([1.0], [-1], [0, 1]),
    ],
)
def test_parts_that_are_no_matrix_are_refused(data: list[float], indices: list[int], indptr: list[int]) -> None:
    objects = MemoryObjects()
    parts = (np.array(data), np.array(indices), np.array(indptr))
    with pytest.raises(ValueError, match="CSR"):
        write_csr(objects, "x", parts, array="a", start=0, columns=5)
    assert list(objects.list()) == []


def test_files_that_are_not_as_recorded_are_refused(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    chunk = write_dense(objects, "a", [matrix(50)], array="a", start=0)
    whole = objects.get("a.npy")
    pickled = tmp_path / "pickled.npy"
    np.save(pickled, np.array([{}]), allow_pickle=True)
    for damaged in (b"", b"junk" * 100, whole[:-1], whole[:20], pickled.read_bytes()):
        objects.put_bytes("a.npy", damaged)
        with pytest.raises(DamagedObjectError):
            open_dense(objects, chunk)
    objects.put_bytes("a.npy", whole)
    for wrong in (
        Chunk("a", 0, 51, "dense", "a", 3, "float32"),
        Chunk("a", 0, 50, "dense", "a", 4, "float32"),
        Chunk("a", 0, 50, "dense", "a", 3, "float64"),
    ):
        with pytest.raises(DamagedObjectError):
            open_dense(objects, wrong)


def test_sparse_files_that_are_not_as_recorded_are_refused(objects: ObjectStore) -> None:
    chunk = write_csr(objects, "x", CSR, array="a", start=0, columns=5)
    objects.put_bytes("x.indptr.npy", objects.get("x.data.npy"))
    with pytest.raises(DamagedObjectError):
        open_csr(objects, chunk)


def test_keys_are_new_each_time_and_below_their_project() -> None:
    keys = {chunk_key("prj_1", "predictions:3", 0) for _ in range(50)}
    assert len(keys) == 50
    assert all(key.startswith(project_prefix("prj_1") + "predictions-3/") for key in keys)


@given(arrays(np.bool_, st.integers(0, 100)))
def test_bitmaps_come_back(mask: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(unpack(pack(mask), len(mask)), mask)


def test_a_bitmap_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="no bitmap of 9 rows"):
        unpack(b"\0", 9)


@given(st.data())
def test_changes_are_applied_in_order(data: st.DataObject) -> None:
    mask = data.draw(arrays(np.bool_, 40))
    expected = mask.copy()
    changes = []
    for _ in range(data.draw(st.integers(0, 5))):
        rows = np.array(data.draw(st.lists(st.integers(0, 39), min_size=1, unique=True)), dtype=np.int64)
        value = data.draw(st.booleans())
        changes.append(change_of(rows, value=value))
        expected[rows] = value
    apply_changes(mask, changes)
    np.testing.assert_array_equal(mask, expected)


def test_a_whole_range_needs_no_bits() -> None:
    assert change_of(np.array([5, 4, 3]), value=True) == Change(3, 6, None, value=True)
    assert change_of(np.array([3, 5]), value=False) == Change(3, 6, b"\xa0", value=False)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (3, 6)])
def test_changes_beyond_the_mask_are_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="not in a mask"):
        apply_changes(np.zeros(5, dtype=np.bool_), [Change(start, stop, None, value=True)])
