"""Groups of self-labelling, the examples that they leave to people, and what these say."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, case, delete, select, text, update
from sqlalchemy.orm import Session

from service.db.many import among, insert_many
from service.db.queries.batches import filtered
from service.db.queries.examples import visible
from service.db.results import changed
from service.db.tables import Autolabel, AutolabelMark, BatchItem, Example, Label, LabelHistory

_MARKS: Any = AutolabelMark.__table__
_LABELS: Any = Label.__table__
_LIVE = ("labelling", "labelled")
_AUTOMATED = text("labels.source = 'automated'")  # as the index says it: a parameter would not match


def get(session: Session, autolabel_id: str) -> Autolabel | None:
    """The group, read anew."""
    return session.get(Autolabel, autolabel_id, populate_existing=True)


def page(session: Session, project_id: str, *, before: str | None, size: int) -> Sequence[Autolabel]:
    """A project's groups, the newest first."""
    query = select(Autolabel).where(Autolabel.project_id == project_id).order_by(Autolabel.id.desc()).limit(size)
    return session.scalars(query.where(Autolabel.id < before) if before else query).all()


def add_marks(session: Session, rows: list[dict[str, Any]]) -> None:
    """Leave examples to people."""
    insert_many(session, _MARKS, rows)


def forget_marks(session: Session, autolabel_id: str, *, limit: int) -> int:
    """Leave some examples to people no more; how many."""
    mine = AutolabelMark.autolabel_id == autolabel_id
    some = select(AutolabelMark.example_id).where(mine).order_by(AutolabelMark.example_id).limit(limit)
    return changed(session, delete(AutolabelMark).where(mine, AutolabelMark.example_id.in_(some)))


def marked_rows(session: Session, project_id: str, *, kind: str, unlabeled: bool = False) -> Sequence[int]:
    """Rows that are marked by a group whose labels stand, of examples that are still what they were."""
    same = (Example.project_id == AutolabelMark.project_id) & (Example.example_id == AutolabelMark.example_id)
    query = select(Example.row).join(AutolabelMark, same & (Example.row == AutolabelMark.row))
    query = query.join(Autolabel, Autolabel.id == AutolabelMark.autolabel_id).where(Autolabel.state.in_(_LIVE))
    query = query.where(AutolabelMark.project_id == project_id, AutolabelMark.kind == kind)
    return session.scalars(query.where(Example.label_count == 0) if unlabeled else query).all()


def rows_seen(session: Session, project_id: str) -> int:
    """The high-water mark of the pool when the last group was made whose labels stand; 0 without any."""
    query = select(Autolabel.outcome).where(Autolabel.project_id == project_id, Autolabel.state.in_(_LIVE))
    return max((outcome["rows"] for outcome in session.scalars(query) if outcome), default=0)


def rename(session: Session, project_id: str, names: dict[str, str]) -> None:
    """Say the same by other names of classes."""
    mine = update(AutolabelMark).where(AutolabelMark.project_id == project_id, AutolabelMark.value.in_(list(names)))
    changed(session, mine.values(value=case(names, value=AutolabelMark.value)))


def audit_answers(session: Session, autolabel_id: str) -> Sequence[Row[str, str, str | None]]:
    """Example, what the model says and what a person says of each audited example, the oldest answer first."""
    of_label = (Label.project_id == AutolabelMark.project_id) & (Label.example_id == AutolabelMark.example_id)
    same = (Example.project_id == AutolabelMark.project_id) & (Example.example_id == AutolabelMark.example_id)
    query = select(AutolabelMark.example_id, AutolabelMark.value, Label.value).join(Label, of_label)
    query = query.join(Example, same & (Example.row == AutolabelMark.row))
    query = query.where(AutolabelMark.autolabel_id == autolabel_id, AutolabelMark.kind == "audit")
    query = query.where(Label.source == "human", Label.skip.is_(False))
    return session.execute(query.order_by(Label.labeled_at, Label.id)).all()


def labels(session: Session, project_id: str, autolabel_id: str, *, limit: int) -> Sequence[Row[Any]]:
    """Some of the labels of a group."""
    query = select(_LABELS).where(_LABELS.c.project_id == project_id, _LABELS.c.annotator == autolabel_id, _AUTOMATED)
    return session.execute(query.order_by(_LABELS.c.id).limit(limit)).all()


def drawn_rows(session: Session, project_id: str, *, after: datetime) -> Sequence[int]:
    """Rows that were drawn at random out of the whole pool, and labelled by a person after a time, by nobody before."""
    same = (Example.project_id == Label.project_id) & (Example.example_id == Label.example_id)
    of_item = (BatchItem.job_id == Label.batch_id) & (BatchItem.example_id == Label.example_id)
    query = select(Example.example_id, Example.row, BatchItem.job_id).join(Label, same).join(BatchItem, of_item)
    query = query.where(Label.project_id == project_id, Label.source == "human", Label.skip.is_(False))
    query = query.where(BatchItem.propensity.is_not(None), Example.split == "pool", visible(project_id))
    drawn = session.execute(query.where(Label.created_at > after)).all()
    part = filtered(session, {one.job_id for one in drawn})
    rows = {one.example_id: one.row for one in drawn if one.job_id not in part}
    learnt = _labelled_before(session, project_id, list(rows), after)
    return [row for example_id, row in rows.items() if example_id not in learnt]


def _labelled_before(session: Session, project_id: str, ids: Sequence[str], time: datetime) -> set[str]:
    """Which examples had a label until a time, whatever became of it."""
    found: set[str] = set()
    for table, at in ((Label, Label.created_at), (LabelHistory, LabelHistory.labeled_at)):
        query = select(table.example_id).where(table.project_id == project_id, table.skip.is_(False), at <= time)
        found.update(session.scalars(query.where(among(session, table.example_id, ids))))
    return found


def changed_rows(session: Session, project_id: str, *, after: datetime, labelled: datetime) -> Sequence[int]:
    """Rows of labelled examples that changed after a time, and had a label until another one, whatever became of it.

    A training between the two may have learnt them as what they were.
    """
    query = select(Example.example_id, Example.row).where(Example.project_id == project_id, Example.label_count > 0)
    rows = dict(session.execute(query.where(Example.updated_at > after)).all())
    learnt = _labelled_before(session, project_id, list(rows), labelled)
    return [row for example_id, row in rows.items() if example_id in learnt]
