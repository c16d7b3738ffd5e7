"""Labels as arrays: one class an example, by majority of its annotators."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

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
    rows, codes, test, digest = [], [], [], hashlib.blake2b(digest_size=16)
    for example_id, group in groupby(answers, key=lambda answer: answer[0]):
        given = list(group)
        said = [code_of[value] for _, _, _, value in given]
        counts, place = Counter(said), {code: i for i, code in enumerate(said)}
        code = max(counts, key=lambda code: (counts[code], place[code]))
        rows.append(given[0][1])
        codes.append(code)
        test.append(given[0][2] == "test")
        digest.update(f"{len(example_id)}:{example_id}={code};".encode())
    return Labelled(
        np.array(rows, dtype=np.int64), np.array(codes, dtype=np.int64), np.array(test, dtype=bool), digest.hexdigest()
    )
