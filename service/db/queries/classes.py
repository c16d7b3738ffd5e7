"""What names classes: labels, models and queries."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, literal, select
from sqlalchemy.orm import Session

from service.db.many import among, map_values
from service.db.queries.jobs import UNFINISHED
from service.db.queries.labels import KEPT
from service.db.tables import Job, Label, LabelHistory, Model

_LABELS: Any = Label.__table__
_HISTORY: Any = LabelHistory.__table__


def values(session: Session, project_id: str) -> Sequence[str]:
    """What labels say, each once; skips say nothing."""
    query = select(_LABELS.c.value).where(_LABELS.c.project_id == project_id, _LABELS.c.value.is_not(None))
    return session.scalars(query.distinct()).all()


def replace_values(session: Session, project_id: str, changed: Mapping[str, str], *, now: datetime) -> None:
    """Let labels say other values, by the old ones; what they said goes to their history."""
    mine = _LABELS.c.project_id == project_id
    kept = [_LABELS.c[name] for name in KEPT]
    old = select(_LABELS.c.id, literal(now, _HISTORY.c.replaced_at.type), *kept)
    old = old.where(mine, among(session, _LABELS.c.value, list(changed)))
    session.execute(insert(_HISTORY).from_select(["label_id", "replaced_at", *KEPT], old))
    map_values(session, _LABELS.c.value, changed, where=mine, updated_at=now)


def models(session: Session, project_id: str) -> Sequence[Model]:
    """Every version."""
    return session.scalars(select(Model).where(Model.project_id == project_id)).all()


def queries_under_way(session: Session, project_id: str) -> Sequence[Job]:
    """Queries that are queued or running."""
    query = select(Job).where(Job.project_id == project_id, Job.kind == "query", Job.state.in_(UNFINISHED))
    return session.scalars(query).all()
