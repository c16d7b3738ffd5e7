"""Programs that label, and their calls. Whoever changes one holds the pool of its project."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from service.db.many import among
from service.db.results import changed
from service.db.tables import Annotator, AnnotatorCall, BatchItem, Example, Label

OPEN = ("ranking", "sent", "accepted")
_ANEW = {"populate_existing": True}


def get(session: Session, annotator_id: str) -> Annotator | None:
    """The program, read anew: others may have changed it before the pool was locked."""
    return session.get(Annotator, annotator_id, populate_existing=True)


def page(session: Session, project_id: str, *, after: str | None, size: int) -> Sequence[Annotator]:
    """A project's programs in order of creation."""
    query = select(Annotator).where(Annotator.project_id == project_id).order_by(Annotator.id).limit(size)
    return session.scalars(query.where(Annotator.id > after) if after else query).all()


def named(session: Session, project_id: str) -> dict[str, Annotator]:
    """All programs of a project by name, read anew."""
    query = select(Annotator).where(Annotator.project_id == project_id)
    return {one.name: one for one in session.scalars(query, execution_options=_ANEW)}


def wake(session: Session, project_id: str, now: datetime) -> None:
    """Have all programs of a project looked at."""
    changed(session, update(Annotator).where(Annotator.project_id == project_id).values(due_at=now))


def put_off(session: Session, annotator_id: str) -> None:
    """Look at a program no more by itself."""
    changed(session, update(Annotator).where(Annotator.id == annotator_id).values(due_at=None))


def any_due(session: Session, now: datetime) -> bool:
    """Whether a program is to be looked at."""
    return session.execute(select(exists().where(Annotator.due_at <= now))).scalar_one()


def next_due(session: Session, now: datetime) -> tuple[str, str] | None:
    """Id and project of the program that has waited longest to be looked at."""
    query = select(Annotator.id, Annotator.project_id).where(Annotator.due_at <= now).order_by(Annotator.due_at)
    found = session.execute(query.limit(1)).first()
    return None if found is None else (found.id, found.project_id)


def open_call(session: Session, annotator_id: str) -> AnnotatorCall | None:
    """The call that has not ended; there is one at most."""
    query = select(AnnotatorCall).where(AnnotatorCall.annotator_id == annotator_id, AnnotatorCall.state.in_(OPEN))
    return session.scalars(query, execution_options=_ANEW).first()


def call_of_delivery(session: Session, delivery_id: str) -> tuple[str, str, str] | None:
    """Call, program and project of a delivery."""
    query = select(AnnotatorCall.id, Annotator.id, Annotator.project_id)
    query = query.join(Annotator, Annotator.id == AnnotatorCall.annotator_id)
    found = session.execute(query.where(AnnotatorCall.delivery_id == delivery_id)).first()
    return None if found is None else (found[0], found[1], found[2])


def call(session: Session, call_id: str) -> AnnotatorCall | None:
    """One call, read anew."""
    return session.get(AnnotatorCall, call_id, populate_existing=True)


def calls(session: Session, annotator_id: str, *, before: str | None, size: int) -> Sequence[AnnotatorCall]:
    """A program's calls, the newest first."""
    query = select(AnnotatorCall).where(AnnotatorCall.annotator_id == annotator_id)
    query = query.order_by(AnnotatorCall.id.desc()).limit(size)
    return session.scalars(query.where(AnnotatorCall.id < before) if before else query).all()


def given(session: Session, annotator_ids: Collection[str], job_ids: Sequence[str]) -> list[tuple[str, str, str]]:
    """Program, batch and example of what was sent to these programs in these batches."""
    query = select(AnnotatorCall.annotator_id, BatchItem.job_id, BatchItem.example_id)
    query = query.join(BatchItem, BatchItem.job_id == AnnotatorCall.job_id)
    query = query.where(AnnotatorCall.annotator_id.in_(annotator_ids), AnnotatorCall.delivery_id.is_not(None))
    found = session.execute(query.where(among(session, AnnotatorCall.job_id, job_ids)))
    return [(annotator_id, job_id, example_id) for annotator_id, job_id, example_id in found]


def done_rows(session: Session, project_id: str, name: str) -> Sequence[int]:
    """Rows of the examples of all batches that a program has answered, whatever it said or left out."""
    query = select(Example.row).join(BatchItem, BatchItem.example_id == Example.example_id)
    query = query.join(AnnotatorCall, AnnotatorCall.job_id == BatchItem.job_id)
    query = query.join(Annotator, Annotator.id == AnnotatorCall.annotator_id)
    query = query.where(Example.project_id == project_id, Annotator.project_id == project_id, Annotator.name == name)
    return session.scalars(query.where(AnnotatorCall.state == "answered")).all()


def answers(session: Session, project_id: str, job_id: str, name: str) -> tuple[int, int]:
    """How many examples of a batch a program has labelled, and how many it has skipped."""
    query = select(Label.skip, func.count()).join(BatchItem, BatchItem.example_id == Label.example_id)
    query = query.where(BatchItem.job_id == job_id, Label.project_id == project_id, Label.annotator == name)
    found = dict(session.execute(query.group_by(Label.skip)).all())
    return found.get(False, 0), found.get(True, 0)
