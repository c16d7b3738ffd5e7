"""The files of the array store: immutable chunks that cover rows [start, stop) of one array of one project.

The files are plain `.npy`, so that reading is mapping. What chunks an array has is in SQL.
"""

import io
import math
import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from service.errors import DamagedObjectError
from service.storage.objects import ObjectStore

FILTER_ROWS = 16_384

_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)"
    rb"\{'descr': '(?P<dtype>[<|](?:b1|[iu][1248]|f[248]))', 'fortran_order': False, "
    rb"'shape': \((?P<shape>[0-9]{1,18},(?: [0-9]{1,18})?)\), \} *\n",
    re.DOTALL,
)
_HEADER_BYTES = 256

Parts = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk as SQL records it.

    Attributes:
        array: Name of the array, such as `vectors`.
        start: First row.
        stop: The row after the last.
        kind: Dense rows, or compressed sparse rows.
        key: What the keys of its files start with.
        columns: Width of the array.
        dtype: numpy's name of the numbers' type.
    """

    array: str
    start: int
    stop: int
    kind: Literal["dense", "csr"]
    key: str
    columns: int
    dtype: str

    @property
    def rows(self) -> int:
        """How many rows it covers."""
        return self.stop - self.start

    @property
    def files(self) -> tuple[str, ...]:
        """The keys of its objects."""
        parts = ("",) if self.kind == "dense" else (".data", ".indices", ".indptr")
        return tuple(f"{self.key}{part}.npy" for part in parts)


def chunk_key(project_id: str, array: str, start: int) -> str:
    """A new key for a chunk; no two are the same, so that a repeated job never touches another's files."""
    return f"{project_prefix(project_id)}{array.replace(':', '-')}/{start:012d}-{secrets.token_hex(8)}"


def project_prefix(project_id: str) -> str:
    """The prefix of every chunk of a project."""
    return f"arrays/{project_id}/"


class ChunkWriter:
    """Writes a dense chunk whose number of rows is not known before; as a context, it abandons what is not finished."""

    def __init__(self, objects: ObjectStore, *, columns: int, dtype: DTypeLike = np.float32) -> None:
        self._objects = objects
        self.columns = columns
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._path = objects.scratch()
        self._file = self._path.open("xb")
        # numpy pads the header so that it can be written again once the rows are counted
        self._file.write(self._header(0))
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.abandon()

    def append(self, block: NDArray[Any]) -> None:
        """Add rows (n, columns).

        Raises:
            ValueError: The block has another width.
        """
        if block.shape[1:] != (self.columns,):
            raise ValueError(f"expected rows of {self.columns} columns, got shape {block.shape}")
        self._file.write(np.ascontiguousarray(block, dtype=self._dtype).data)
        self.rows += len(block)

    def block(self, start: int, stop: int) -> NDArray[Any]:
        """Appended rows [start, stop), read back."""
        self._file.flush()
        offset = len(self._header(0)) + start * self.columns * self._dtype.itemsize
        count = (stop - start) * self.columns
        return np.fromfile(self._path, dtype=self._dtype, count=count, offset=offset).reshape(-1, self.columns)

    def mapped(self) -> NDArray[Any]:
        """All appended rows, of which there is at least one, mapped until the chunk is finished or abandoned."""
        self._file.flush()
        shape, offset = (self.rows, self.columns), len(self._header(0))
        return np.memmap(self._path, dtype=self._dtype, mode="r", offset=offset, shape=shape).view(np.ndarray)

    def finish(self, key: str, *, array: str, start: int, keep: NDArray[np.bool_] | None = None) -> Chunk:
        """Put the chunk under its key.

        Args:
            key: From `chunk_key`.
            array: Name of the array.
            start: First row that the chunk covers.
            keep: Which of the appended rows go in, when not all do.

        Raises:
            ValueError: No row is left, or `keep` has another length.
        """
        self._file.close()
        if keep is not None and len(keep) != self.rows:
            raise ValueError(f"{self.rows} rows were appended, but keep has {len(keep)}")
        if keep is not None and not keep.all():
            self._filter(keep)
        if not self.rows:
            raise ValueError("a chunk must have rows")
        with self._path.open("r+b") as file:
            file.write(self._header(self.rows))
        chunk = Chunk(array, start, start + self.rows, "dense", key, self.columns, self._dtype.name)
        self._objects.put(chunk.files[0], self._path)
        return chunk

    def abandon(self) -> None:
        """Remove what was written; after `finish`, nothing happens."""
        with suppress(OSError):  # closing writes what is left, for which a full disk has no room
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _header(self, rows: int) -> bytes:
        header = io.BytesIO()
        fields = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (rows, self.columns)}
        npy.write_array_header_1_0(header, fields)
        return header.getvalue()

    def _filter(self, keep: NDArray[np.bool_]) -> None:
        """Move the kept rows together within the file; they only ever move forward over rows that are done with."""
        offset = len(self._header(0))
        row_bytes = self.columns * self._dtype.itemsize
        written = 0
        with self._path.open("r+b") as file:
            for first in range(0, self.rows, FILTER_ROWS):
                mask = keep[first : first + FILTER_ROWS]
                file.seek(offset + first * row_bytes)
                block = np.frombuffer(file.read(len(mask) * row_bytes), dtype=np.uint8).reshape(len(mask), row_bytes)
                file.seek(offset + written * row_bytes)
                file.write(block[mask].data)
                written += int(mask.sum())
            file.truncate(offset + written * row_bytes)
        self.rows = written


def write_dense(objects: ObjectStore, key: str, blocks: Iterable[NDArray[Any]], *, array: str, start: int) -> Chunk:
    """Write consecutive blocks of rows, all of the first one's width and type, as one chunk.

    Raises:
        ValueError: There are no rows, or the widths differ.
    """
    iterator = iter(blocks)
    first = next(iterator, None)
    if first is None:
        raise ValueError("a chunk must have rows")
    with ChunkWriter(objects, columns=first.shape[1], dtype=first.dtype) as writer:
        writer.append(first)
        for block in iterator:
            writer.append(block)
        return writer.finish(key, array=array, start=start)


def write_csr(objects: ObjectStore, key: str, parts: Parts, *, array: str, start: int, columns: int) -> Chunk:
    """Write compressed sparse rows.

    Args:
        objects: Where to.
        key: From `chunk_key`.
        parts: `data`, `indices` and `indptr`, as in scipy's csr_array.
        array: Name of the array.
        start: First row that the chunk covers.
        columns: Width of the array.

    Raises:
        ValueError: There are no rows, or the parts do not fit together.
    """
    data, _, indptr = parts
    if not _fits(parts, rows=len(indptr) - 1, columns=columns):
        raise ValueError("the parts do not make a matrix in CSR form")
    chunk = Chunk(array, start, start + len(indptr) - 1, "csr", key, columns, data.dtype.name)
    for name, part in zip(chunk.files, parts, strict=True):
        path = objects.scratch()
        try:
            with path.open("xb") as file:
                npy.write_array(file, part, allow_pickle=False)
            objects.put(name, path)
        finally:
            path.unlink(missing_ok=True)
    return chunk


def open_dense(objects: ObjectStore, chunk: Chunk) -> NDArray[Any]:
    """The rows of a dense chunk (rows, columns), mapped read-only.

    Raises:
        ObjectNotFoundError: Its file is gone.
        DamagedObjectError: The file is not what the record says.
    """
    (name,) = chunk.files
    array = _map(objects.open(name), name)
    if array.shape != (chunk.rows, chunk.columns) or array.dtype.name != chunk.dtype:
        raise DamagedObjectError(name, f"it holds {array.dtype} {array.shape}.")
    return array


def open_csr(objects: ObjectStore, chunk: Chunk) -> Parts:
    """`data`, `indices` and `indptr` of a sparse chunk, mapped read-only.

    Raises:
        ObjectNotFoundError: A file is gone.
        DamagedObjectError: The files are not what the record says.
    """
    data, indices, indptr = (_map(objects.open(name), name) for name in chunk.files)
    parts = (data, indices, indptr)
    if not _fits(parts, rows=chunk.rows, columns=chunk.columns) or data.dtype.name != chunk.dtype:
        raise DamagedObjectError(chunk.key, f"its files do not make a matrix ({chunk.rows}, {chunk.columns}).")
    return parts


def delete_chunk(objects: ObjectStore, chunk: Chunk) -> None:
    """Remove a chunk's files; those that are gone already are no error."""
    for name in chunk.files:
        objects.delete(name)


def _map(file: BinaryIO, name: str) -> NDArray[Any]:
    """The array of a file, whose header is matched and not evaluated, as numpy does it; the file is closed."""
    with file:
        header = _HEADER.match(file.read(_HEADER_BYTES))
        size = file.seek(0, os.SEEK_END)
        if header is None:
            raise DamagedObjectError(name, "it is no .npy file of numbers.")
        offset = npy.MAGIC_LEN + 2 + int.from_bytes(header["length"], "little")
        shape = tuple(int(number) for number in header["shape"].split(b",") if number.strip())
        dtype = np.dtype(header["dtype"].decode())
        if size != offset + math.prod(shape) * dtype.itemsize:
            raise DamagedObjectError(name, f"it has {size} bytes, and its header tells of {dtype} {shape}.")
        # a plain view: numpy's memmap class makes each slice slower
        return np.memmap(file, dtype=dtype, mode="r", offset=offset, shape=shape).view(np.ndarray)


def _fits(parts: Parts, *, rows: int, columns: int) -> bool:
    """Whether the parts make a matrix: code that trusts them would read and write outside of it."""
    data, indices, indptr = parts
    if any(part.ndim != 1 for part in parts) or rows < 1 or len(indptr) != rows + 1:
        return False
    if indices.dtype.kind != "i" or indptr.dtype.kind != "i":
        return False
    whole = indptr[0] == 0 and indptr[-1] == len(data) == len(indices) and (np.diff(indptr) >= 0).all()
    return bool(whole and (not len(indices) or 0 <= indices.min() <= indices.max() < columns))
