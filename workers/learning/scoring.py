"""What models say of many rows, block by block."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.estimators.training import Trained
from workers.learning.matrices import ChunkReader, Part, Rows, grid, numbers
from workers.learning.parallel import Parallel
from workers.learning.strategies.base import Predictor


@dataclass(frozen=True, slots=True)
class Predict:
    """A model or committee over rows, as an object that joblib can send to another process."""

    model: Predictor
    features: ChunkReader

    def __call__(self, start: int, stop: int) -> NDArray[np.float32]:
        """What it says of rows [start, stop)."""
        return self.model.predictions(self.features.read(start, stop))


@dataclass(frozen=True, slots=True)
class BestClass:
    """The most probable classes, as an object that joblib can send to another process."""

    probabilities: ChunkReader

    def __call__(self, part: Part) -> tuple[NDArray[np.float32], Rows]:
        """The probability [n] and the code [n] of the best class of each row.

        Raises:
            FloatingPointError: when a probability is not a number.
        """
        start, stop, rows = part
        P = numbers(np.asarray(self.probabilities.read(start, stop)))[rows - start]
        return P.max(axis=1), P.argmax(axis=1)


@dataclass(frozen=True, slots=True)
class _Block:
    """One block's predictions."""

    predict: Predict

    def __call__(self, block: tuple[int, int]) -> tuple[int, int, NDArray[np.float32]]:
        return *block, self.predict(*block)


def predict_blocks(
    model: Trained, features: ChunkReader, start: int, stop: int, parallel: Parallel
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield (start, stop, P [rows, classes]) for each grid block of rows [start, stop), in order."""
    return parallel.over_chunks(_Block(Predict(model, features)), grid(stop, start))
