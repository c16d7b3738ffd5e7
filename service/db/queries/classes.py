"""What names classes: labels and models."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from service.db.tables import Label, Model

_LABELS: Any = Label.__table__
_AT_ONCE = 5000


def labels(session: Session, project_id: str) -> Iterator[Sequence[Row[Any]]]:
    """All labels that are no skips, some at a time, in order of their ids; they may be changed meanwhile."""
    query = select(_LABELS).where(_LABELS.c.project_id == project_id, _LABELS.c.value.is_not(None))
    query, after = query.order_by(_LABELS.c.id).limit(_AT_ONCE), ""
    while found := session.execute(query.where(_LABELS.c.id > after)).all():
        yield found
        after = found[-1].id


def models(session: Session, project_id: str) -> Sequence[Model]:
    """Every version."""
    return session.scalars(select(Model).where(Model.project_id == project_id)).all()
