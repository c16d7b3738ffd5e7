"""Any number of classes an example: one model of two classes for each of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from workers.learning.estimators.files import read_members
from workers.learning.estimators.model import TrainedModel
from workers.learning.matrices import Matrix


@dataclass(frozen=True)
class MultiLabelModel:
    """Binary relevance (Boutell et al. 2004): a model for each class, all behind the same steps.

    Attributes:
        members: by class, a pipeline, or the share of the labels where all of them said the same.
        hyper_parameters: the parameters in force, those chosen on the data included; empty after `load`.
    """

    members: tuple[Pipeline | float, ...]
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)

    def predictions(self, X: Matrix) -> NDArray[np.float32]:
        """The probability [n, classes] of each class by itself, of rows `X` [n, d].

        Raises:
            FloatingPointError: when a model has none for a row.
        """
        P = np.empty((X.shape[0], len(self.members)), dtype=np.float32)
        for code, member in enumerate(self.members):
            P[:, code] = member if isinstance(member, float) else _positive(member, X)
        return P

    def dump(self) -> bytes:
        """The model's file (skops format); shared steps are in it once."""
        data: bytes = skops.io.dumps(list(self.members))
        return data

    @classmethod
    def load(cls, data: bytes) -> Self:
        """The model of a file made by `dump`.

        Raises:
            ModelFileError: when the file holds anything else.
        """
        return cls(read_members(data))


def _positive(pipeline: Pipeline, X: Matrix) -> NDArray[np.float32]:
    P: NDArray[np.float32] = TrainedModel(pipeline, 2).predictions(X)[:, 1]
    return P
