"""Uncertainty of one model: the classic scorers (Settles 2009)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workers.learning.strategies.base import Block, Scorer


@dataclass(frozen=True, slots=True)
class ByClass(Scorer):
    """Compares an example's classes with each other; `aggregate` says how over several (see `PerLabel`)."""

    aggregate: Literal["mean", "most"] = "mean"


@dataclass(frozen=True, slots=True)
class LeastConfident(ByClass):
    """1 - p1, with p1 the probability of the most probable class (Lewis and Gale 1994). O(n C)."""

    def score(self, block: Block) -> NDArray[np.float32]:
        """1 - p1 [n]."""
        scores: NDArray[np.float32] = np.float32(1) - by_class(block.P).max(axis=0)
        return scores

    def value(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """p1 [n]."""
        return 1.0 - scores


@dataclass(frozen=True, slots=True)
class Margin(ByClass):
    """1 - (p1 - p2), with p1 and p2 the two highest probabilities (Scheffer et al. 2001). O(n C)."""

    def score(self, block: Block) -> NDArray[np.float32]:
        """1 - (p1 - p2) [n]."""
        first = np.zeros(block.P.shape[0], dtype=np.float32)
        second = np.zeros_like(first)
        for column in by_class(block.P):
            np.maximum(second, np.minimum(first, column), out=second)
            np.maximum(first, column, out=first)
        return np.float32(1) - (first - second)

    def value(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """p1 - p2 [n]."""
        return 1.0 - scores


@dataclass(frozen=True, slots=True)
class Entropy(ByClass):
    """Entropy of the class probabilities (Settles 2009), divided by its maximum, log(classes). O(n C)."""

    def score(self, block: Block) -> NDArray[np.float32]:
        """Normalised entropy [n], in [0, 1]."""
        p = by_class(block.P)
        total = -(p * np.log(np.maximum(p, np.finfo(np.float32).tiny))).sum(axis=0)
        scores: NDArray[np.float32] = np.clip(total / np.float32(np.log(max(p.shape[0], 2))), 0, 1)
        return scores


@dataclass(frozen=True, slots=True)
class Certainty(Scorer):
    """The probability of one class (relevance sampling, Lewis and Gale 1994). O(n).

    `target_class` is its code. A class that the model knows nothing of has the probability 0.
    """

    target_class: int

    def score(self, block: Block) -> NDArray[np.float32]:
        """P[:, target_class] [n]."""
        if self.target_class >= block.P.shape[1]:
            return np.zeros(block.P.shape[0], dtype=np.float32)
        return np.asarray(block.P[:, self.target_class], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class PerLabel(Scorer):
    """The uncertainty of examples with any number of classes: of each class by itself, over all of them. O(n C).

    Binary relevance with a mean over the labels (Brinker 2006, doi 10.1007/3-540-31314-1_24) or the most uncertain one.
    """

    uncertainty: ByClass

    def score(self, block: Block) -> NDArray[np.float32]:
        """Mean or maximum [n] over the classes of the score of (1 - p, p)."""
        n, classes = block.P.shape
        p = block.P.reshape(-1)
        each = self.uncertainty.score(Block(P=np.stack([1 - p, p], axis=1))).reshape(n, classes)
        return np.asarray(
            each.mean(axis=1) if self.uncertainty.aggregate == "mean" else each.max(axis=1), dtype=np.float32
        )


def by_class(P: NDArray[np.float32]) -> NDArray[np.float32]:
    """`P` as float32 [classes, n]: work along long contiguous rows is several times faster than along short ones."""
    return np.ascontiguousarray(P.T, dtype=np.float32)


SCORERS: Mapping[str, type[Scorer]] = {
    "least_confident": LeastConfident,
    "margin": Margin,
    "entropy": Entropy,
    "certainty": Certainty,
}
