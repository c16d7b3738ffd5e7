"""Large uploads: their rows while nobody sees them, the rows that wait to be applied, and lists of bad rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from service.db.results import changed
from service.db.tables import ErrorList, Example, Label, Pool, Project, StagedExample, Upload

_STAGED: Any = StagedExample.__table__


def get(session: Session, upload_id: str) -> Upload | None:
    """The upload, as it is now."""
    return session.get(Upload, upload_id, populate_existing=True)


def is_publishing(session: Session, project_id: str) -> bool:
    """Whether an upload into the project is published, and some of its rows wait to be applied."""
    query = select(Upload.id).where(Upload.project_id == project_id, Upload.state == "publishing")
    return session.scalars(query.limit(1)).first() is not None


def abandoned(session: Session, now: datetime) -> str | None:
    """A project whose pool is held by an upload of a process that fell silent."""
    query = select(Pool.project_id).join(Project, Project.id == Pool.project_id)
    query = query.where(Pool.upload_id.is_not(None), Pool.upload_until <= now, Project.state == "active")
    return session.scalars(query.limit(1)).first()


def stage(session: Session, rows: list[dict[str, Any]]) -> None:
    """Keep rows to be applied once the upload is published."""
    if rows:
        session.execute(insert(_STAGED), rows)


def staged(session: Session, upload_id: str, *, limit: int) -> Sequence[StagedExample]:
    """The next rows to apply."""
    query = select(StagedExample).where(StagedExample.upload_id == upload_id).order_by(StagedExample.position)
    return session.scalars(query.limit(limit)).all()


def drop_staged(session: Session, upload_id: str, *, limit: int) -> int:
    """Forget the next rows; how many."""
    first = select(StagedExample.position).where(StagedExample.upload_id == upload_id)
    positions = first.order_by(StagedExample.position).limit(limit)
    mine = delete(StagedExample).where(StagedExample.upload_id == upload_id)
    return changed(session, mine.where(StagedExample.position.in_(positions)))


def remove_rows(session: Session, upload: Upload, *, start: int, stop: int) -> None:
    """Delete an upload's examples of a row range, and their labels."""
    rows = (
        (Example.project_id == upload.project_id)
        & (Example.row >= start)
        & (Example.row < stop)
        & (Example.upload_id == upload.id)
    )
    ids = select(Example.example_id).where(rows)
    changed(session, delete(Label).where(Label.project_id == upload.project_id, Label.example_id.in_(ids)))
    changed(session, delete(Example).where(rows))


def error_list(session: Session, project_id: str, list_id: str) -> ErrorList | None:
    """A list of bad rows."""
    query = select(ErrorList).where(ErrorList.id == list_id, ErrorList.project_id == project_id)
    return session.scalars(query).first()


def expired_error_lists(session: Session, now: datetime, *, limit: int) -> Sequence[ErrorList]:
    """Lists that are kept no longer, locked; without those that others have locked."""
    query = select(ErrorList).where(ErrorList.expires_at <= now).limit(limit)
    return session.scalars(query.with_for_update(skip_locked=True)).all()
