"""A model's probabilities over many rows."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.estimators.training import Trained
from workers.learning.matrices import ChunkReader, grid
from workers.learning.parallel import Parallel


@dataclass(frozen=True, slots=True)
class _Predict:
    """One block's work, as an object that joblib can send to another process."""

    model: Trained
    features: ChunkReader

    def __call__(self, block: tuple[int, int]) -> tuple[int, int, NDArray[np.float32]]:
        start, stop = block
        return start, stop, self.model.predictions(self.features.read(start, stop))


def predict_blocks(
    model: Trained, features: ChunkReader, start: int, stop: int, parallel: Parallel
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield (start, stop, P [rows, classes]) for each grid block of rows [start, stop), in order."""
    return parallel.map(_Predict(model, features), grid(stop, start))
