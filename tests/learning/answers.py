"""Answers of annotators out of tables."""

from collections.abc import Sequence

import numpy as np

from workers.learning.answers import Answers


def answers_of(table: Sequence[Sequence[int | None]]) -> Answers:
    """What each annotator (a column) said of each example (a row); None: nothing."""
    said = [
        (example, annotator, code)
        for example, row in enumerate(table)
        for annotator, code in enumerate(row)
        if code is not None
    ]
    examples, annotators, codes = np.array(said, dtype=np.int64).reshape(-1, 3).T
    return Answers(examples=examples, annotators=annotators, codes=codes, count=len(table))


def counted(table: Sequence[Sequence[int]]) -> Answers:
    """How many annotators said each class (a column) of each example (a row)."""
    return answers_of([[code for code, count in enumerate(row) for _ in range(count)] for row in table])
