"""Writes rows as chunks, in a job or on a machine that works for it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np
from scipy.sparse import csr_array, vstack

from service.storage.chunks import Chunk, chunk_key, open_csr, open_dense, write_csr, write_dense
from service.storage.objects import ObjectStore
from workers.learning.matrices import TILE, Matrix, grid

Make: TypeAlias = Callable[[int, int], Matrix]


def open_matrix(objects: ObjectStore, chunk: Chunk) -> Matrix:
    """All rows of a chunk."""
    if chunk.kind == "dense":
        return open_dense(objects, chunk)
    return csr_array(open_csr(objects, chunk), shape=(chunk.rows, chunk.columns))


def write_blocks(objects: ObjectStore, blocks: Iterable[Matrix], *, project_id: str, array: str, start: int) -> Chunk:
    """Write consecutive blocks from row `start` on as a chunk that is in no list yet; dense ones are not held."""
    key = chunk_key(project_id, array, start)
    rest = iter(blocks)
    first = next(rest)
    if isinstance(first, np.ndarray):
        dense = (np.asarray(block) for block in chain([first], rest))
        return write_dense(objects, key, dense, array=array, start=start)
    made = csr_array(vstack([first, *rest], format="csr"))
    parts = (made.data, made.indices, made.indptr)
    return write_csr(objects, key, parts, array=array, start=start, columns=made.shape[1])


@dataclass(frozen=True, slots=True)
class WriteChunk:
    """Makes the rows [start, stop) and writes them, as an object that joblib can send to another machine."""

    objects: ObjectStore
    project_id: str
    array: str
    make: Make

    def __call__(self, block: tuple[int, int]) -> Chunk:
        """The chunk, which is in no list yet."""
        start, stop = block
        tiles = (self.make(*tile) for tile in grid(stop, start, TILE))
        return write_blocks(self.objects, tiles, project_id=self.project_id, array=self.array, start=start)
