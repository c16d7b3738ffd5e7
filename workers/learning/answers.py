"""Answers of several annotators as arrays, and the votes that they add up to."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Who said what of which example.

    Attributes:
        examples: the example of each answer [m], ascending, in [0, count); of one example the older answers come first.
        annotators: who gave it [m], as whole numbers from 0 on.
        codes: what was said [m], as class codes.
        count: number of examples, each of which has an answer.
    """

    examples: Numbers
    annotators: Numbers
    codes: Numbers
    count: int

    @property
    def given(self) -> Numbers:
        """How many answers each example has [count]."""
        return np.bincount(self.examples, minlength=self.count)

    def several(self) -> "Answers":
        """Only what can be compared: the answers of examples that have two or more. The others are renumbered away."""
        compared = self.given > 1
        kept = compared[self.examples]
        place = np.cumsum(compared) - 1
        return replace(
            self,
            examples=place[self.examples[kept]],
            annotators=self.annotators[kept],
            codes=self.codes[kept],
            count=int(np.count_nonzero(compared)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """The distinct answers to each example: `e` of them in order of examples and codes.

    Attributes:
        examples: [e], ascending.
        codes: [e].
        counts: how often it was said [e].
        latest: the place of the newest answer that says so [e].
        entries: the place of each answer's vote among the e [m].
        starts: where each example begins among the e [count].
    """

    examples: Numbers
    codes: Numbers
    counts: Numbers
    latest: Numbers
    entries: Numbers
    starts: Numbers

    def best(self, figures: NDArray[np.float64] | Numbers) -> Numbers:
        """The code with the highest figure [e] for each example [count]; of equal ones, that which was said last.

        Whoever answers last has often been asked to correct the answer of another.
        """
        order = np.lexsort((self.latest, figures, self.examples))
        last = np.cumsum(np.bincount(self.examples, minlength=self.starts.size)) - 1
        return self.codes[order[last]]


def count_votes(answers: Answers) -> Votes:
    """Add up equal answers. O(m log m)."""
    width = int(answers.codes.max(initial=0)) + 1
    keys, entries, counts = np.unique(answers.examples * width + answers.codes, return_inverse=True, return_counts=True)
    latest = np.empty(keys.size, dtype=np.int64)
    latest[entries] = np.arange(entries.size)  # of equal places the last one stays
    examples, codes = np.divmod(keys, width)
    starts = np.searchsorted(examples, np.arange(answers.count))
    return Votes(examples=examples, codes=codes, counts=counts, latest=latest, entries=entries, starts=starts)
