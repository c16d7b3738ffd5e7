"""Labels, their history and the leases that they end."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, and_, delete, exists, select, tuple_
from sqlalchemy.orm import Session, aliased

from service.db.many import among, insert_many, update_many, write
from service.db.queries.examples import parts_of, staging_uploads
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
    return session.scalars(_visible(session, project_id).where(Label.id == label_id)).first()


def _visible(session: Session, project_id: str) -> Select[Label]:
    """Labels, but for those that came with an upload that nobody sees yet; mostly there is none to look for."""
    query = select(Label).where(Label.project_id == project_id)
    staging = staging_uploads(session, project_id)
    if not staging:
        return query
    of_example = and_(Example.project_id == Label.project_id, Example.example_id == Label.example_id)
    return query.where(~exists().where(of_example, Example.upload_id.in_(staging)))


def page(session: Session, project_id: str, *, after: str, size: int) -> Sequence[Row[Any]]:
    """Labels in order of creation with what their batch knows: (label, split, batch or none, propensity).

    A label whose example is gone is left out, and others take its place.
    """
    found: list[Row[Any]] = []
    while len(found) < size:
        cut = _cut(session, project_id, after=after, size=size)
        found += [row for row in cut if row.split is not None]
        if len(cut) < size:
            break
        after = cut[-1][0].id
    return found[:size]


def _cut(session: Session, project_id: str, *, after: str, size: int) -> Sequence[Row[Any]]:
    """As `page`; a label whose example is gone has no split."""
    first = _visible(session, project_id).where(Label.id > after).order_by(Label.id).limit(size)
    # cut before it is joined: whoever joins first may read the whole project for each page
    label = aliased(Label, first.subquery())
    of_example = and_(Example.project_id == label.project_id, Example.example_id == label.example_id)
    of_item = and_(BatchItem.job_id == label.batch_id, BatchItem.example_id == label.example_id)
    columns: tuple[Any, ...] = (Example.split, Batch.strategy, Batch.seed, Batch.model_version, BatchItem.propensity)
    query = select(label, *columns).outerjoin(Example, of_example)
    query = query.outerjoin(Batch, Batch.job_id == label.batch_id).outerjoin(BatchItem, of_item)
    return session.execute(query.order_by(label.id)).all()
