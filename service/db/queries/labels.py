"""Labels, their history and the leases that they end."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, and_, delete, select, tuple_
from sqlalchemy.orm import Session

from service.db.many import among, insert_many, update_many, write
from service.db.queries.examples import parts_of, visible
from service.db.results import changed
from service.db.tables import Batch, BatchItem, Example, Job, Label, LabelHistory, Lease

_LABELS: Any = Label.__table__
_HISTORY: Any = LabelHistory.__table__
_LEASES: Any = Lease.__table__
KEPT = ("project_id", "example_id", "annotator", "value", "skip", "source", "labeled_at")
"""What of a label goes to its history."""


def of_examples(session: Session, project_id: str, ids: Sequence[str]) -> Sequence[Row[Any]]:
    """The current labels of some examples, in no order."""
    if not ids:
        return []
    query = select(_LABELS).where(_LABELS.c.project_id == project_id, among(session, _LABELS.c.example_id, ids))
    return session.execute(query).all()


def end_leases(session: Session, project_id: str, ended: Sequence[tuple[str, str]]) -> None:
    """Remove leases, named by example id and holder."""
    for part in parts_of(ended):
        mine = delete(_LEASES).where(_LEASES.c.project_id == project_id)
        write(session, mine.where(tuple_(_LEASES.c.example_id, _LEASES.c.holder).in_(part)))


def known_batches(session: Session, project_id: str, ids: Sequence[str]) -> set[str]:
    """Which of the ids are queries of the project."""
    if not ids:
        return set()
    mine = select(Job.id).where(Job.project_id == project_id, Job.kind == "query")
    return set(session.scalars(mine.where(among(session, Job.id, ids))))


def add(session: Session, rows: list[dict[str, Any]]) -> None:
    """Insert labels."""
    insert_many(session, _LABELS, rows)


def replace(session: Session, project_id: str, old: Sequence[Any], new: list[dict[str, Any]]) -> None:
    """Change labels: `new` has `id` and the values; what they were goes to the history."""
    if not new:
        return
    keep(session, old, replaced_at=new[0]["updated_at"])
    update_many(session, _LABELS, new, key="id", project_id=project_id)


def keep(session: Session, old: Sequence[Any], *, replaced_at: Any) -> None:
    """Write what labels were to the history."""
    rows = [
        {"label_id": label.id, "replaced_at": replaced_at, **{name: getattr(label, name) for name in KEPT}}
        for label in old
    ]
    insert_many(session, _HISTORY, rows)


def said_again(session: Session, project_id: str, rows: list[dict[str, Any]]) -> None:
    """Note that labels were given again, later: each of the rows has `id` and `labeled_at`."""
    update_many(session, _LABELS, rows, key="id", project_id=project_id)


def remove(session: Session, project_id: str, ids: Sequence[str]) -> None:
    """Delete labels."""
    changed(session, delete(Label).where(Label.project_id == project_id, among(session, Label.id, ids)))


def get(session: Session, project_id: str, label_id: str) -> Label | None:
    """One label of a visible example."""
    return session.scalars(_visible(project_id).where(Label.id == label_id)).first()


def _visible(project_id: str) -> Any:
    of_example = and_(Example.project_id == Label.project_id, Example.example_id == Label.example_id)
    query = select(Label).join(Example, of_example)
    return query.where(Label.project_id == project_id, visible(project_id))


def page(session: Session, project_id: str, *, after: str, size: int) -> Sequence[Row[Any]]:
    """Labels in order of creation with what their batch knows: (label, split, batch or none, propensity)."""
    of_item = and_(BatchItem.job_id == Label.batch_id, BatchItem.example_id == Label.example_id)
    query = _visible(project_id).add_columns(Example.split)
    query = query.add_columns(Batch.strategy, Batch.seed, Batch.model_version, BatchItem.propensity)
    query = query.outerjoin(Batch, Batch.job_id == Label.batch_id).outerjoin(BatchItem, of_item)
    found: Sequence[Row[Any]] = session.execute(query.where(Label.id > after).order_by(Label.id).limit(size)).all()
    return found
