"""From the rows of a body of labels to answers that can be recorded: checked against the project, spooled."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
from msgspec import UNSET

from service.actions.bulk import RowErrors, RowSpool
from service.actions.label_values import Labels
from service.codecs.blocks import Block, SeenIds
from service.codecs.rows import LabelRow
from service.errors import FieldError

_CLOCKS_DIFFER = timedelta(days=1)
# A label from the future could not be corrected, as an older one never overwrites a newer one.
_IN_FUTURE = FieldError("/labeled_at", "in_the_future", "A label cannot be made more than a day from now.")
_DUPLICATE = FieldError("/example_id", "duplicate", "The body has an answer of this annotator for this example before.")


class Answer(msgspec.Struct, array_like=True):
    """A label, or a skip, as it is recorded; `annotator` is empty when it was not told.

    `value` is as `service.actions.label_values` keeps it.
    """

    line: int
    example_id: str
    value: str | None
    skip: bool
    annotator: str
    source: str
    batch_id: str | None
    labeled_at: datetime | None


def read(
    blocks: Iterable[Block[LabelRow]],
    labels: Labels,
    *,
    spool: RowSpool[Answer],
    errors: RowErrors,
    now: datetime,
) -> int:
    """Spool the good rows, and gather what is wrong with the others; how many rows there were."""
    seen = SeenIds()
    received = 0
    for block in blocks:
        received += block.received
        problems: dict[int, FieldError] = {
            i: problem
            for i, row in enumerate(block.rows)
            if row.label is not UNSET and (problem := labels.problem(row.label))
        }
        values = [
            None if row.label is UNSET or i in problems else labels.encode(row.label)
            for i, row in enumerate(block.rows)
        ]
        answers = list(map(_answer, block.lines, block.rows, values))
        latest = now + _CLOCKS_DIFFER
        problems.update((i, _IN_FUTURE) for i, a in enumerate(answers) if a.labeled_at and a.labeled_at > latest)
        good = [i for i in range(len(answers)) if i not in problems]
        # no name has a control character in it, so the border is unambiguous
        pairs = [f"{answers[i].example_id}\0{answers[i].annotator}" for i in good]
        problems.update((good[position], _DUPLICATE) for position in seen.add(pairs))
        bad = [replace(p, line=answers[i].line, id=answers[i].example_id) for i, p in problems.items()]
        errors.add(sorted([*block.errors, *bad], key=lambda error: error.line or 0))
        spool.add([answer for i, answer in enumerate(answers) if i not in problems])
    return received


def _answer(line: int, row: LabelRow, value: str | None) -> Answer:
    return Answer(
        line=line,
        example_id=row.example_id,
        value=value,
        skip=row.skip,
        annotator="" if row.annotator is UNSET else row.annotator,
        source=row.source,
        batch_id=None if row.batch_id is UNSET else row.batch_id,
        labeled_at=None if row.labeled_at is UNSET else row.labeled_at,
    )
