"""One class for each example out of the answers of several annotators."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from workers.learning.answers import Answers, Numbers, Votes, count_votes

_MOST_ROUNDS = 200
_TOLERANCE = 1e-6
# Posteriors that differ by less are told apart by rounding only.
_DIGITS = 9
# So many answers of the average annotator stand beside each one's own, and so many of each kind beside those of all.
_SHRINKAGE = 0.3
_SMOOTHING = 0.01


def majority(answers: Answers) -> Numbers:
    """The most frequent answer to each example [count]; of equally frequent ones, the newest."""
    votes = count_votes(answers)
    return votes.best(votes.counts)


def dawid_skene(answers: Answers) -> Numbers:
    """The most probable class of each example [count] by `estimate`; of equally probable ones, the newest answer."""
    found = estimate(answers)
    return found.votes.best(np.round(found.posteriors, _DIGITS))


TRUTHS: Mapping[str, Callable[[Answers], Numbers]] = {"majority": majority, "dawid_skene": dawid_skene}
"""What models can learn from, by the names that a project's `annotation.truth` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the model of Dawid and Skene says.

    Attributes:
        votes: the classes that each example was given.
        posteriors: the probability that each of these votes is the truth [e]; they sum to 1 for each example.
        priors: how frequent each class is [classes].
        confusions: what annotators say where they can be compared.
        rounds: of expectation maximisation.
    """

    votes: Votes
    posteriors: NDArray[np.float64]
    priors: NDArray[np.float64]
    confusions: "Confusions"
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusions:
    """The confusion matrices of all annotators, without the cells for which nothing speaks.

    Attributes:
        annotators: [t], ascending.
        truths: the class of the example [t].
        said: the class that the annotator gave it [t].
        counts: how often, as expected [t].
        shares: with what probability the annotator says so of such an example [t].
    """

    annotators: Numbers
    truths: Numbers
    said: Numbers
    counts: NDArray[np.float64]
    shares: NDArray[np.float64]


def estimate(answers: Answers) -> Estimate:
    """Weigh answers by the confusion matrices of their annotators, which are estimated together with the truth.

    Dawid and Skene 1979, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm", Journal of the
    Royal Statistical Society C 28(1), from the shares of votes on, with three departures. The truth of an example is
    one of the answers to it: nobody is overruled by nobody, and the cost depends on the answers, not on the number of
    classes. Examples with one answer tell nothing of annotators. And each annotator's matrix is drawn towards that of
    all, as those who answered seldom would else be trusted blindly or not at all.

    The result does not depend on the order of answers. Each of at most 200 rounds is O(m c), with c different answers
    to an example.
    """
    votes = count_votes(answers)
    links = _Links.of(answers, votes)
    posteriors = votes.counts / answers.given[votes.examples]
    rounds, change = 0, np.inf
    while change > _TOLERANCE and rounds < _MOST_ROUNDS:
        _, shares = links.confused(posteriors)
        likelihoods = np.bincount(links.votes, weights=np.log(shares)[links.cells], minlength=votes.codes.size)
        priors = _priors(votes, posteriors, links.compared)
        better = _normalised(np.log(priors[votes.codes]) + likelihoods, votes)
        change = float(np.abs(better - posteriors).max(initial=0.0))
        posteriors, rounds = better, rounds + 1
    counts, shares = links.confused(posteriors)
    confusions = Confusions(
        annotators=links.annotators, truths=links.truths, said=links.said, counts=counts, shares=shares
    )
    priors = _priors(votes, posteriors, links.compared)
    return Estimate(votes=votes, posteriors=posteriors, priors=priors, confusions=confusions, rounds=rounds)


def _priors(votes: Votes, posteriors: NDArray[np.float64], compared: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How frequent each class is among the examples that can be compared [classes]."""
    sums = np.bincount(votes.codes, weights=np.where(compared, posteriors, 0.0)) + _SMOOTHING
    priors: NDArray[np.float64] = sums / sums.sum()
    return priors


def _normalised(logs: NDArray[np.float64], votes: Votes) -> NDArray[np.float64]:
    """Probabilities [e] that sum to 1 for each example, out of their logarithms up to a constant of the example."""
    if logs.size == 0:
        return logs
    odds = np.exp(logs - np.maximum.reduceat(logs, votes.starts)[votes.examples])
    shares: NDArray[np.float64] = odds / np.add.reduceat(odds, votes.starts)[votes.examples]
    return shares


@dataclass(frozen=True, slots=True, kw_only=True)
class _Links:
    """Each answer to an example that has several, with each of the classes that its example may be.

    Attributes:
        votes: the class that the example may be, as a place among the votes [l].
        cells: the cell of the annotator's confusion matrix that speaks for it [l].
        compared: whether the example of each vote has several answers [e].
        annotators, truths, said: of each cell [t].
        rows: the cell's row, of one annotator and one true class [t].
        pairs: the cell's true class and answer, whoever gave it [t].
        pair_truths: the true class of each pair [p].
    """

    votes: Numbers
    cells: Numbers
    compared: NDArray[np.bool_]
    annotators: Numbers
    truths: Numbers
    said: Numbers
    rows: Numbers
    pairs: Numbers
    pair_truths: Numbers

    @classmethod
    def of(cls, answers: Answers, votes: Votes) -> Self:
        """Link answers in an order that does not depend on theirs, so that sums do not either."""
        compared = answers.given > 1
        order = np.lexsort((answers.codes, answers.annotators, answers.examples))
        order = order[compared[answers.examples[order]]]
        examples = answers.examples[order]
        choices = np.bincount(votes.examples, minlength=answers.count)[examples]
        answer = np.repeat(np.arange(order.size), choices)
        nth = np.arange(answer.size) - np.repeat(np.cumsum(choices) - choices, choices)
        linked = votes.starts[examples[answer]] + nth
        width = int(answers.codes.max(initial=0)) + 1
        of_answer = order[answer]
        keys = (answers.annotators[of_answer] * width + votes.codes[linked]) * width + answers.codes[of_answer]
        keys, cells = np.unique(keys, return_inverse=True)
        pair_keys, pairs = np.unique(keys % width**2, return_inverse=True)
        return cls(
            votes=linked,
            cells=cells,
            compared=compared[votes.examples],
            annotators=keys // width**2,
            truths=keys // width % width,
            said=keys % width,
            rows=np.unique(keys // width, return_inverse=True)[1],
            pairs=pairs,
            pair_truths=pair_keys // width,
        )

    def confused(self, posteriors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How often each cell is expected to have occurred [t], and its probability given the true class [t]."""
        counts = np.bincount(self.cells, posteriors[self.votes], self.annotators.size).astype(np.float64)
        of_pair = np.bincount(self.pairs, weights=counts) + _SMOOTHING
        of_all = of_pair / np.bincount(self.pair_truths, weights=of_pair)[self.pair_truths]
        in_row = np.bincount(self.rows, weights=counts)[self.rows]
        return counts, (counts + _SHRINKAGE * of_all[self.pairs]) / (in_row + _SHRINKAGE)
