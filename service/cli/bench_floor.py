"""What plain numpy needs for a ranking, as anybody would write it: the floor that the service is held against."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Figure = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""What a strategy ranks by [n], from probabilities [n, classes] or [members, n, classes]; higher = sooner."""


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities along the last axis."""
    P: NDArray[np.float32] = np.exp(logits - logits.max(axis=-1, keepdims=True))
    P /= P.sum(axis=-1, keepdims=True)
    return P


def top(figures: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """The k largest, the largest first."""
    best = np.argpartition(-figures, k)[:k]
    return best[np.argsort(-figures[best])]


def rank_files(
    files: Sequence[Path], W: NDArray[np.float32], b: NDArray[np.float32], figure: Figure, k: int
) -> NDArray[np.intp]:
    """The k best rows of memory-mapped files by a linear model W [classes, d], b [classes]."""
    return top(np.concatenate([figure(softmax(np.load(file, mmap_mode="r") @ W.T + b)) for file in files]), k)


def _margin(P: NDArray[np.float32]) -> NDArray[np.float32]:
    best = np.partition(P, P.shape[1] - 2, axis=1)[:, -2:]
    negated: NDArray[np.float32] = best[:, 0] - best[:, 1]
    return negated


def _least_confident(P: NDArray[np.float32]) -> NDArray[np.float32]:
    doubt: NDArray[np.float32] = 1 - P.max(axis=1)
    return doubt


def _entropy(P: NDArray[np.float32]) -> NDArray[np.float32]:
    entropy: NDArray[np.float32] = -(P * np.log(P + np.float32(1e-12))).sum(axis=1)
    return entropy


def _vote_entropy(members: NDArray[np.float32]) -> NDArray[np.float32]:
    votes = members.argmax(axis=2)
    shares = np.stack([(votes == code).mean(axis=0, dtype=np.float32) for code in range(members.shape[2])], axis=1)
    return _entropy(shares)


def _max_disagreement(members: NDArray[np.float32]) -> NDArray[np.float32]:
    consensus = np.log(members.mean(axis=0) + np.float32(1e-12))
    divergence = (members * (np.log(members + np.float32(1e-12)) - consensus)).sum(axis=2)
    largest: NDArray[np.float32] = divergence.max(axis=0)
    return largest


def _bald(members: NDArray[np.float32]) -> NDArray[np.float32]:
    own = -(members * np.log(members + np.float32(1e-12))).sum(axis=2)
    information: NDArray[np.float32] = _entropy(members.mean(axis=0)) - own.mean(axis=0)
    return information


UNCERTAINTY: Mapping[str, Figure] = {"margin": _margin, "entropy": _entropy, "least_confident": _least_confident}

COMMITTEE: Mapping[str, Figure] = {
    "vote_entropy": _vote_entropy,
    "consensus_entropy": lambda members: _entropy(members.mean(axis=0)),
    "max_disagreement": _max_disagreement,
    "bald": _bald,
    "committee_deviation": lambda members: members[:, :, 0].std(axis=0),
}
