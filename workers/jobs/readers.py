"""Readers of one array of a project by row number, over its chunks: `ChunkReader`s of the learning core.

Rows that are in no chunk are zeros. Files are opened when they are first read, in each process anew, so a reader is
cheap to serialise.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from service.storage.chunks import Chunk, open_csr, open_dense
from service.storage.objects import ObjectStore
from workers.learning.matrices import Rows

Dense = NDArray[np.float32]
_Opened = TypeVar("_Opened", Dense, csr_array)


@dataclass(frozen=True, slots=True)
class Overlay:
    """Rows of a dense array that are in no chunk yet: `rows` ascending, `values` (len(rows), columns) float32."""

    rows: Rows
    values: Dense


class _Chunked(ABC, Generic[_Opened]):
    """The chunks of one generation and their files."""

    def __init__(self, objects: ObjectStore, chunks: Sequence[Chunk], *, rows: int, columns: int) -> None:
        """Sort the chunks.

        Args:
            objects: Where their files are.
            chunks: In any order.
            rows: The high-water mark of the project.
            columns: Width of the array.

        Raises:
            ValueError: The chunks overlap or have another width.
        """
        self.rows = rows
        self.columns = columns
        self._objects = objects
        self._chunks = sorted(chunks, key=lambda chunk: chunk.start)
        self._starts = np.array([chunk.start for chunk in self._chunks], dtype=np.int64)
        self._stops = np.array([chunk.stop for chunk in self._chunks], dtype=np.int64)
        self._opened: dict[str, _Opened] = {}
        if (self._stops[:-1] > self._starts[1:]).any():
            raise ValueError("chunks overlap")
        if any(chunk.columns != columns for chunk in chunks):
            raise ValueError(f"a chunk has not {columns} columns")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}

    @abstractmethod
    def _open(self, chunk: Chunk) -> _Opened:
        """All rows of a chunk, mapped."""

    def _part(self, chunk: Chunk, start: int, stop: int) -> _Opened:
        """Rows [start, stop) of the project, which the chunk holds."""
        return self._whole(chunk)[start - chunk.start : stop - chunk.start]

    def _whole(self, chunk: Chunk) -> _Opened:
        if chunk.key not in self._opened:
            self._opened[chunk.key] = self._open(chunk)
        return self._opened[chunk.key]

    def _between(self, start: int, stop: int) -> list[Chunk]:
        """The chunks that hold any of the rows [start, stop), in order."""
        first = int(np.searchsorted(self._stops, start, side="right"))
        last = int(np.searchsorted(self._starts, stop, side="left"))
        return self._chunks[first:last]

    def _owners(self, rows: Rows) -> NDArray[np.intp]:
        """The position in the chunk list of each row's chunk, -1 where no chunk holds it."""
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        held = owners >= 0
        held[held] = rows[held] < self._stops[owners[held]]
        return np.where(held, owners, -1)


class DenseReader(_Chunked[Dense]):
    """A dense array, with the rows of small uploads that are still elsewhere laid over its chunks."""

    def __init__(
        self,
        objects: ObjectStore,
        chunks: Sequence[Chunk],
        *,
        rows: int,
        columns: int,
        overlay: Overlay | None = None,
    ) -> None:
        super().__init__(objects, chunks, rows=rows, columns=columns)
        empty = Overlay(np.empty(0, dtype=np.int64), np.empty((0, columns), dtype=np.float32))
        self._overlay = overlay or empty

    def read(self, start: int, stop: int) -> Dense:
        """Rows [start, stop): a view of the mapped file when one chunk holds them all, else put together."""
        chunks = self._between(start, stop)
        first, last = np.searchsorted(self._overlay.rows, (start, stop))
        if len(chunks) == 1 and first == last and chunks[0].start <= start and stop <= chunks[0].stop:
            return self._part(chunks[0], start, stop)
        result = np.zeros((stop - start, self.columns), dtype=np.float32)
        for chunk in chunks:
            begin, end = max(start, chunk.start), min(stop, chunk.stop)
            result[begin - start : end - start] = self._part(chunk, begin, end)
        result[self._overlay.rows[first:last] - start] = self._overlay.values[first:last]
        return result

    def take(self, rows: Rows) -> Dense:
        """The named rows, in the order given."""
        result = np.zeros((len(rows), self.columns), dtype=np.float32)
        owners = self._owners(rows)
        for owner in np.unique(owners[owners >= 0]).tolist():
            wanted = owners == owner
            chunk = self._chunks[owner]
            result[wanted] = self._whole(chunk)[rows[wanted] - chunk.start]
        if len(self._overlay.rows):
            near = np.minimum(np.searchsorted(self._overlay.rows, rows), len(self._overlay.rows) - 1)
            loose = self._overlay.rows[near] == rows
            result[loose] = self._overlay.values[near[loose]]
        return result

    def _open(self, chunk: Chunk) -> Dense:
        return np.asarray(open_dense(self._objects, chunk), dtype=np.float32)


class SparseReader(_Chunked[csr_array]):
    """An array of compressed sparse rows."""

    def read(self, start: int, stop: int) -> csr_array:
        """Rows [start, stop)."""
        pieces = []
        done = start
        for chunk in self._between(start, stop):
            begin, end = max(start, chunk.start), min(stop, chunk.stop)
            pieces += [self._zeros(begin - done), self._part(chunk, begin, end)]
            done = end
        return self._stacked([*pieces, self._zeros(stop - done)])

    def take(self, rows: Rows) -> csr_array:
        """The named rows, in the order given."""
        owners = self._owners(rows)
        order = np.argsort(owners, kind="stable")
        pieces = [self._zeros(int((owners < 0).sum()))]
        for owner in np.unique(owners[owners >= 0]).tolist():
            chunk = self._chunks[owner]
            pieces.append(self._whole(chunk)[rows[owners == owner] - chunk.start])
        return self._stacked(pieces)[np.argsort(order, kind="stable")]

    def _open(self, chunk: Chunk) -> csr_array:
        return csr_array(open_csr(self._objects, chunk), shape=(chunk.rows, chunk.columns))

    def _zeros(self, rows: int) -> csr_array:
        return csr_array((rows, self.columns), dtype=np.float32)

    def _stacked(self, pieces: list[csr_array]) -> csr_array:
        filled = [piece for piece in pieces if piece.shape[0]]
        if len(filled) == 1:
            return filled[0]
        return csr_array(vstack(filled, format="csr")) if filled else self._zeros(0)
