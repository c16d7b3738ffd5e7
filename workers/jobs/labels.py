"""Labels as arrays: what annotators said, and one label an example out of it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.catalog.tasks import Task, classes_of, task_of
from workers.learning.answers import Answers
from workers.learning.matrices import Rows
from workers.learning.truth import TRUTHS

Answer = tuple[str, int, str, str, str]
"""Example id, row, split, label as it is kept, and annotator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Labelled examples in order of their ids, and all answers to them.

    Attributes:
        task: what labels are.
        classes: the project's, in order; none for numbers.
        ids: [n].
        rows: [n].
        test: rows that only measure [n].
        answers: their codes are places among `values`.
        values: the distinct labels, as they are read: class codes, tuples of the codes that apply, or numbers.
        annotators: the names behind the answers' numbers, in order; an empty one: not told.
    """

    task: Task
    classes: Sequence[str]
    ids: Sequence[str]
    rows: Rows
    test: NDArray[np.bool_]
    answers: Answers
    values: Sequence[Any]
    annotators: Sequence[str]


def gather(answers: Iterable[Answer], task: Mapping[str, Any]) -> Gathered:
    """Turn answers into arrays.

    Args:
        answers: sorted by example id, older ones first.
        task: the project's.
    """
    kind, classes = task_of(task), classes_of(task)
    read = _reader(kind, classes)
    listed = list(answers)
    rows = np.fromiter((answer[1] for answer in listed), dtype=np.int64, count=len(listed))
    begins = np.ones(rows.size, dtype=np.bool_)
    begins[1:] = rows[1:] != rows[:-1]  # no two examples have one row
    firsts = [listed[place] for place in np.flatnonzero(begins).tolist()]
    said = [read(answer[3]) for answer in listed]
    values: Sequence[Any] = range(len(classes)) if kind == "classification" else sorted(set(said))
    annotators = sorted({answer[4] for answer in listed})
    return Gathered(
        task=kind,
        classes=classes,
        ids=[first[0] for first in firsts],
        rows=rows[begins],
        test=np.array([first[2] == "test" for first in firsts], dtype=np.bool_),
        answers=Answers(
            examples=np.cumsum(begins) - 1,
            annotators=_places([answer[4] for answer in listed], annotators),
            codes=_places(said, values),
            count=len(firsts),
        ),
        values=values,
        annotators=annotators,
    )


def _reader(task: Task, classes: Sequence[str]) -> Callable[[str], Any]:
    """From a kept label to a code, to the codes of the classes that apply, or to a number."""
    code_of = {name: code for code, name in enumerate(classes)}
    if task == "classification":
        return code_of.__getitem__
    if task == "multi_label":
        return lambda value: tuple(code_of[name] for name in orjson.loads(value))
    return float


def _places(said: Sequence[Any], values: Sequence[Any]) -> NDArray[np.int64]:
    place_of = {value: place for place, value in enumerate(values)}
    return np.fromiter((place_of[value] for value in said), dtype=np.int64, count=len(said))


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled examples, and a hash of all labels.

    Attributes:
        rows: [n].
        y: as the task has it: class codes [n], whether each class applies [n, classes], or numbers [n].
        test: rows that only measure [n].
        places: where they are among the gathered ones [n].
    """

    rows: Rows
    y: NDArray[Any]
    test: NDArray[np.bool_]
    places: NDArray[np.int64]
    digest: str

    def only(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> "Labelled":
        """Some of the examples, or all in another order."""
        return Labelled(self.rows[chosen], self.y[chosen], self.test[chosen], self.places[chosen], self.digest)

    @property
    def size(self) -> int:
        """How many examples."""
        return int(self.rows.size)


def consensus(gathered: Gathered, truth: str) -> Labelled:
    """One label for each example, in order of ids: what models learn from.

    Of classes what `truth` names (see `workers.learning.truth.TRUTHS`); of several classes an example each by majority;
    of numbers the median. The newer answer decides a tie: whoever answers last has often been asked to correct another.
    """
    agreed = _AGREE[gathered.task](gathered, truth)
    said = "".join(f"{len(name)}:{name}={one};" for name, one in zip(gathered.ids, agreed, strict=True))
    digest = hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
    y = _stacked(agreed, gathered.task, len(gathered.classes))
    return Labelled(gathered.rows, y, gathered.test, np.arange(len(agreed)), digest)


def known_only(labelled: Labelled, task: Task, classes: int) -> Labelled:
    """Without labels of classes behind the first so many, which were added since."""
    if task == "classification":
        return labelled.only(labelled.y < classes)
    return replace(labelled, y=labelled.y[:, :classes]) if task == "multi_label" else labelled


def _stacked(agreed: list[Any], task: Task, classes: int) -> NDArray[Any]:
    if task != "multi_label":
        return np.array(agreed, dtype=np.int64 if task == "classification" else np.float64)
    Y = np.zeros((len(agreed), classes), dtype=np.int64)
    for row, codes in enumerate(agreed):
        Y[row, list(codes)] = 1
    return Y


def _one_class(gathered: Gathered, truth: str) -> list[Any]:
    codes: list[Any] = TRUTHS[truth](gathered.answers).tolist()
    return codes


def _of_each_example(agree: Callable[[Sequence[Any]], Any]) -> Callable[[Gathered, str], list[Any]]:
    """Apply `agree` to the answers to each example that has several."""

    def agreed(gathered: Gathered, _: str) -> list[Any]:
        said = [gathered.values[code] for code in gathered.answers.codes.tolist()]
        borders = [0, *np.cumsum(gathered.answers.given).tolist()]
        return [agree(said[a:b]) if b - a > 1 else said[a] for a, b in pairwise(borders)]

    return agreed


def _majority_of_each(said: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The codes that most say apply; on a tie what was said last."""
    counts = Counter(code for codes in said for code in codes)
    last = set(said[-1])
    return tuple(sorted(code for code, n in counts.items() if 2 * n > len(said) - (code in last)))


_AGREE: Mapping[Task, Callable[[Gathered, str], list[Any]]] = {
    "classification": _one_class,
    "multi_label": _of_each_example(_majority_of_each),
    "regression": _of_each_example(median),
}
