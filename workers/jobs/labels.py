"""Labels as arrays: one class an example, by majority of its annotators."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import Rows


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled examples in order of their ids: rows [n], class codes [n], test rows [n], and a hash of all labels."""

    rows: Rows
    codes: NDArray[np.int64]
    test: NDArray[np.bool_]
    digest: str

    def only(self, chosen: NDArray[np.bool_]) -> "Labelled":
        """Some of the examples."""
        return Labelled(self.rows[chosen], self.codes[chosen], self.test[chosen], self.digest)

    @property
    def size(self) -> int:
        """How many examples."""
        return int(self.rows.size)


def consensus(answers: Iterable[tuple[str, int, str, str]], classes: Sequence[str]) -> Labelled:
    """One class for each example: the most frequent answer, the newer one on a tie.

    Whoever answers last has often been asked to correct the answer of another.

    Args:
        answers: example id, row, split and class, sorted by example id, older answers first.
        classes: the project's classes in order.
    """
    code_of = {name: code for code, name in enumerate(classes)}
    rows, codes, test, said = [], [], [], []
    for example_id, group in groupby(answers, key=itemgetter(0)):
        (_, row, split, value), *others = group
        code = _majority([code_of[value], *(code_of[other[3]] for other in others)]) if others else code_of[value]
        rows.append(row)
        codes.append(code)
        test.append(split == "test")
        said.append(f"{len(example_id)}:{example_id}={code};")
    digest = hashlib.blake2b("".join(said).encode(), digest_size=16).hexdigest()
    return Labelled(np.array(rows, dtype=np.int64), np.array(codes, dtype=np.int64), np.array(test, dtype=bool), digest)


def _majority(said: Sequence[int]) -> int:
    """The most frequent code; of those said equally often, the one that was said last."""
    counts, place = Counter(said), {code: i for i, code in enumerate(said)}
    return max(counts, key=lambda code: (counts[code], place[code]))
