"""What programs may say: only of what they were given, as what it is, within their budgets, until they are stopped."""

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy.orm import Session

from service.actions.label_rows import Answer
from service.db.queries import annotators as queries
from service.db.tables import Annotator, Pool
from service.errors import FieldError

_STOPPED = FieldError("/annotator", "annotator_stopped", "This program was stopped: nothing more is taken from it.")
_SOURCE = FieldError("/source", "not_automated", "What a program says has the source `automated`.")
_NOT_GIVEN = FieldError("/example_id", "not_given", "This program was not sent this example in the batch `batch_id`.")
_USED_UP = FieldError("/annotator", "budget_used_up", "This program has as many labels as it may (`max_labels`).")
OF_PROGRAM = FieldError("/annotator", "name_of_program", "This name is a program's, whose labels come by its batches.")
"""What keeps a label that comes with an example from being stored."""


def names(session: Session, project_id: str) -> Collection[str]:
    """What the programs of a project are called."""
    return queries.named(session, project_id).keys()


class Programs:
    """The programs of a project while answers are being recorded; its pool is locked."""

    def __init__(self, session: Session, project_id: str) -> None:
        self._session = session
        self._by_name = queries.named(session, project_id)
        self._given: set[tuple[str, str, str]] = set()
        self._taken: dict[str, int] = {}

    def look(self, answers: Iterable[Answer]) -> None:
        """Read what they were given in the batches that some answers name."""
        said = [answer for answer in answers if answer.annotator in self._by_name]
        ids = {self._by_name[answer.annotator].id for answer in said}
        batches = {answer.batch_id for answer in said if answer.batch_id is not None}
        self._given = set(queries.given(self._session, ids, list(batches))) if batches else set()
        self._taken = {}

    def problem(self, answer: Answer, old: Any) -> FieldError | None:
        """What keeps an answer from being recorded; a program may always repeat what it said."""
        program = self._by_name.get(answer.annotator)
        if program is None or _repeats(answer, old):
            return None
        if program.state == "stopped":
            return _STOPPED
        if answer.source != "automated":
            return _SOURCE
        if (program.id, answer.batch_id, answer.example_id) not in self._given:
            return _NOT_GIVEN
        if _is_new(answer, old):
            self._taken[program.id] = self._taken.get(program.id, 0) + 1
            if self._taken[program.id] > _left(program):
                return _USED_UP
        return None

    def count(self, answer: Answer, old: Any) -> None:
        """Count what was recorded, if it is a new label, against the budget of its program."""
        program = self._by_name.get(answer.annotator)
        if program is not None and _is_new(answer, old):
            program.labels_used += 1


def _is_new(answer: Answer, old: Any) -> bool:
    """Whether a program labels what it has not labelled so far; it may have skipped it."""
    return not answer.skip and (old is None or old.skip)


def heard(session: Session, pool: Pool) -> Programs | None:
    """The programs of a project, for answers that may be theirs; none: it has none."""
    return Programs(session, pool.project_id) if pool.programs else None


def _repeats(answer: Answer, old: Any) -> bool:
    if old is None:
        return False
    same: bool = (old.value, old.skip, old.source) == (answer.value, answer.skip, answer.source)
    return same


def _left(program: Annotator) -> int:
    return max(0, program.max_labels - program.labels_used)
