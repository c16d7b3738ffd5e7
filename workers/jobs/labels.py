"""Labels as arrays: one for each example, agreed on by its annotators."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from statistics import median
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.catalog.tasks import Task, classes_of, task_of
from workers.learning.matrices import Rows


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled examples in order of their ids, and a hash of all labels.

    Attributes:
        rows: [n].
        y: as the task has it: class codes [n], whether each class applies [n, classes], or numbers [n].
        test: rows that only measure [n].
    """

    rows: Rows
    y: NDArray[Any]
    test: NDArray[np.bool_]
    digest: str

    def only(self, chosen: NDArray[np.bool_]) -> "Labelled":
        """Some of the examples."""
        return Labelled(self.rows[chosen], self.y[chosen], self.test[chosen], self.digest)

    @property
    def size(self) -> int:
        """How many examples."""
        return int(self.rows.size)


def consensus(answers: Iterable[tuple[str, int, str, str]], task: Mapping[str, Any]) -> Labelled:
    """One label for each example: the most frequent class, and the newer one on a tie; of numbers the median.

    Of several classes an example, each is decided by itself. Whoever answers last has often been asked to correct the
    answer of another.

    Args:
        answers: example id, row, split and label as it is kept, sorted by example id, older answers first.
        task: the project's.
    """
    kind, classes = task_of(task), classes_of(task)
    read = _reader(kind, classes)
    agree = _AGREE[kind]
    rows, agreed, test, said = [], [], [], []
    for example_id, group in groupby(answers, key=itemgetter(0)):
        (_, row, split, value), *others = group
        one = agree([read(value), *(read(other[3]) for other in others)]) if others else read(value)
        rows.append(row)
        agreed.append(one)
        test.append(split == "test")
        said.append(f"{len(example_id)}:{example_id}={one};")
    digest = hashlib.blake2b("".join(said).encode(), digest_size=16).hexdigest()
    return Labelled(
        np.array(rows, dtype=np.int64), _stacked(agreed, kind, len(classes)), np.array(test, dtype=bool), digest
    )


def known_only(labelled: Labelled, task: Task, classes: int) -> Labelled:
    """Without labels of classes behind the first so many, which were added since."""
    if task == "classification":
        return labelled.only(labelled.y < classes)
    return replace(labelled, y=labelled.y[:, :classes]) if task == "multi_label" else labelled


def _reader(task: Task, classes: Sequence[str]) -> Callable[[str], Any]:
    """From a kept label to a code, to the codes of the classes that apply, or to a number."""
    code_of = {name: code for code, name in enumerate(classes)}
    if task == "classification":
        return code_of.__getitem__
    if task == "multi_label":
        return lambda value: tuple(code_of[name] for name in orjson.loads(value))
    return float


def _stacked(agreed: list[Any], task: Task, classes: int) -> NDArray[Any]:
    if task != "multi_label":
        return np.array(agreed, dtype=np.int64 if task == "classification" else np.float64)
    Y = np.zeros((len(agreed), classes), dtype=np.int64)
    for row, codes in enumerate(agreed):
        Y[row, list(codes)] = 1
    return Y


def _majority(said: Sequence[int]) -> int:
    """The most frequent code; of those said equally often, the one that was said last."""
    counts, place = Counter(said), {code: i for i, code in enumerate(said)}
    return max(counts, key=lambda code: (counts[code], place[code]))


def _majority_of_each(said: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The codes that most say apply; on a tie what was said last."""
    counts = Counter(code for codes in said for code in codes)
    last = set(said[-1])
    return tuple(sorted(code for code, n in counts.items() if 2 * n > len(said) - (code in last)))


_AGREE: Mapping[Task, Callable[[Sequence[Any]], Any]] = {
    "classification": _majority,
    "multi_label": _majority_of_each,
    "regression": median,
}
