"""Small pools for the tests of the learning core."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import Matrix, Rows


def blobs(rows: int, classes: int, rng: np.random.Generator, columns: int = 4) -> tuple[NDArray[np.float32], Rows]:
    """Rows [n, columns] around one far-apart centre per class (at most 2 x columns), and their class codes [n]."""
    centres = 8 * np.vstack([np.eye(columns), -np.eye(columns)])[:classes]
    y = np.arange(rows) % classes
    return (centres[y] + rng.normal(size=(rows, columns))).astype(np.float32), y


def probabilities(rows: int, classes: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Random class probabilities [rows, classes]."""
    return rng.dirichlet(np.ones(classes), size=rows).astype(np.float32)


@dataclass(frozen=True, slots=True)
class SlicedReader:
    """A reader whose array lies in several pieces, as chunks do."""

    array: Matrix
    piece: int

    @property
    def rows(self) -> int:
        return int(self.array.shape[0])

    @property
    def columns(self) -> int:
        return int(self.array.shape[1])

    def read(self, start: int, stop: int) -> Matrix:
        return self.take(np.arange(start, stop))

    def take(self, rows: Rows) -> Matrix:
        pieces = [self.array[at : at + self.piece].copy() for at in range(0, self.rows, self.piece)]
        picked = [pieces[row // self.piece][row % self.piece : row % self.piece + 1] for row in rows]
        return np.concatenate(picked)
