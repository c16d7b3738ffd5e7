"""Disagreement of a committee of models.

The papers' figures are entropies and divergences in nats, of any size. A score is figure / (1 + figure): it keeps the
order, stays below 1 whatever the number of classes and members, and gives the figure back.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from workers.learning.strategies.base import Block, Need, Scorer

# The members' probabilities of so many numbers stay in the cache of a core through all steps of a formula.
_NUMBERS_AT_ONCE = 131_072


class Disagreement(Scorer):
    """A scorer of the members' probabilities."""

    __slots__ = ()

    needs: ClassVar[tuple[Need, ...]] = ("committee",)

    def score(self, block: Block) -> NDArray[np.float32]:
        """Scores [n]: figure / (1 + figure)."""
        rows, members, classes = block.members.shape
        flat = block.members.reshape(rows, members * classes)
        figures = np.empty(rows, dtype=np.float32)
        step = max(256, _NUMBERS_AT_ONCE // max(1, members * classes))
        for start in range(0, rows, step):
            # Work along long contiguous rows is several times faster than along short ones.
            slab = np.ascontiguousarray(flat[start : start + step].T, dtype=np.float32)
            figures[start : start + step] = self.figures(slab.reshape(members, classes, -1))
        np.maximum(figures, 0, out=figures)  # rounding leaves some just below
        return figures / (1 + figures)

    def value(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The figure [n], in nats."""
        return scores / (1.0 - scores)

    @abstractmethod
    def figures(self, members: NDArray[np.float32]) -> NDArray[np.float32]:
        """The paper's figure [n] of the members' probabilities [members, classes, n]."""


class VoteEntropy(Disagreement):
    """Entropy of the members' hard votes (Dagan and Engelson 1995). O(n M C).

    A member that holds several classes equally probable splits its vote, so that the order of classes decides nothing.
    """

    __slots__ = ()

    def figures(self, members: NDArray[np.float32]) -> NDArray[np.float32]:
        """- sum of (votes / M) log(votes / M) over classes [n]."""
        votes = np.zeros(members.shape[1:], dtype=np.float32)
        for P in members:
            first = P.max(axis=0) == P
            ties = first.sum(axis=0, dtype=np.float32)
            votes += first if (ties <= 1).all() else first / ties
        return _entropy(votes / np.float32(members.shape[0]))


class ConsensusEntropy(Disagreement):
    """Entropy of the mean of the members' probabilities (McCallum and Nigam 1998). O(n M C)."""

    __slots__ = ()

    def figures(self, members: NDArray[np.float32]) -> NDArray[np.float32]:
        """Entropy of the consensus [n]."""
        return _entropy(_mean(members))


class MaxDisagreement(Disagreement):
    """The largest Kullback-Leibler divergence of a member from the mean of all. O(n M C).

    McCallum and Nigam 1998 take the mean over members; the maximum is modAL's (Danka and Horvath 2018, arXiv
    1805.00979).
    """

    __slots__ = ()

    def figures(self, members: NDArray[np.float32]) -> NDArray[np.float32]:
        """The maximum over members of sum p log(p / consensus) [n]."""
        information = _information(members).sum(axis=1)
        information -= (members * _log(_mean(members))).sum(axis=1)
        largest: NDArray[np.float32] = information.max(axis=0)
        return largest


class Bald(Disagreement):
    """Mutual information between label and member: H(mean) - mean H (Houlsby et al. 2011, arXiv 1112.5745). O(n M C).

    Gal, Islam and Ghahramani 2017, arXiv 1703.02910, with a committee in place of dropout.
    """

    __slots__ = ()

    def figures(self, members: NDArray[np.float32]) -> NDArray[np.float32]:
        """Entropy of the consensus less the mean entropy of the members [n]."""
        inner = _information(members).sum(axis=(0, 1)) / np.float32(members.shape[0])
        information: NDArray[np.float32] = _entropy(_mean(members)) + inner
        return information


@dataclass(frozen=True, slots=True)
class PerLabel(Scorer):
    """The disagreement about examples with any number of classes: of each class by itself, the mean over all. O(n M C).

    Each class is a question of two answers, as in binary relevance (Boutell et al. 2004).
    """

    needs: ClassVar[tuple[Need, ...]] = ("committee",)

    disagreement: Disagreement

    def score(self, block: Block) -> NDArray[np.float32]:
        """Scores [n]: figure / (1 + figure), of the mean figure of (1 - p, p)."""
        rows, members, classes = block.members.shape
        p = block.members.transpose(0, 2, 1).reshape(rows * classes, members)
        asked = self.disagreement.score(Block(members=np.stack([1 - p, p], axis=2)))
        figures = self.disagreement.value(asked.astype(np.float64)).reshape(rows, classes).mean(axis=1)
        return np.asarray(figures / (1 + figures), dtype=np.float32)

    def value(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean figure [n], in nats."""
        return self.disagreement.value(scores)


def _mean(members: NDArray[np.float32]) -> NDArray[np.float32]:
    """The consensus [classes, n]."""
    consensus: NDArray[np.float32] = members.mean(axis=0)
    return consensus


def _entropy(P: NDArray[np.float32]) -> NDArray[np.float32]:
    """Entropy [n] of probabilities [classes, n], in nats."""
    entropy: NDArray[np.float32] = -_information(P).sum(axis=0)
    return entropy


def _information(P: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each p log p, which is 0 for 0."""
    terms = _log(P)
    terms *= P
    return terms


def _log(P: NDArray[np.float32]) -> NDArray[np.float32]:
    floored = np.maximum(P, np.finfo(np.float32).tiny)
    logarithm: NDArray[np.float32] = np.log(floored, out=floored)
    return logarithm


SCORERS: Mapping[str, type[Scorer]] = {
    "vote_entropy": VoteEntropy,
    "consensus_entropy": ConsensusEntropy,
    "max_disagreement": MaxDisagreement,
    "bald": Bald,
}
