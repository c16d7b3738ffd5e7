"""A reader that has scattered rows read by those who read chunks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, vstack

from workers.learning.matrices import ChunkReader, Matrix, Part, Rows, is_sparse, occupied
from workers.learning.parallel import Parallel


def reachable(reader: ChunkReader, parallel: Parallel) -> ChunkReader:
    """The reader itself, unless a cluster works on chunks: rows from all over a pool are then taken there.

    Otherwise a few rows of each chunk would bring all chunks to this machine.
    """
    return reader if parallel.cluster is None else _FarReader(reader, parallel)


@dataclass(frozen=True, slots=True)
class _FarReader:
    """A reader whose `take` is done by the cluster. Sent there, it is the reader alone."""

    near: ChunkReader
    parallel: Parallel

    def __reduce__(self) -> tuple[Callable[[ChunkReader], ChunkReader], tuple[ChunkReader]]:
        return _itself, (self.near,)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.near.rows

    @property
    def columns(self) -> int:
        """Number of columns."""
        return self.near.columns

    def read(self, start: int, stop: int) -> Matrix:
        """Rows [start, stop), read here."""
        return self.near.read(start, stop)

    def take(self, rows: Rows) -> Matrix:
        """The named rows, in the order given."""
        distinct, places = np.unique(rows, return_inverse=True)
        found = list(self.parallel.over_chunks(_Take(self.near), occupied(distinct, self.rows)))
        if not found:
            return self.near.take(rows)
        whole = csr_array(vstack(found, format="csr")) if is_sparse(found[0]) else np.concatenate(found)
        return whole[places]


def _itself(reader: ChunkReader) -> ChunkReader:
    return reader


@dataclass(frozen=True, slots=True)
class _Take:
    """Rows of one block."""

    reader: ChunkReader

    def __call__(self, part: Part) -> Matrix:
        return self.reader.take(part.rows)
