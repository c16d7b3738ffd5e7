"""What was written into the files of models."""

from collections.abc import Mapping

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.db.results import changed
from service.db.tables import ObjectDigest


def find(session: Session, key: str) -> str | None:
    """The SHA-256 of what was written, in hexadecimal digits; none for files of earlier releases."""
    return session.scalars(select(ObjectDigest.sha256).where(ObjectDigest.key == key)).first()


def of_all(session: Session) -> dict[str, str]:
    """The digests by key."""
    return {row.key: row.sha256 for row in session.scalars(select(ObjectDigest))}


def put(session: Session, project_id: str, digests: Mapping[str, str]) -> None:
    """Record what was written under each key, in the place of what was there."""
    for key, sha256 in digests.items():
        session.merge(ObjectDigest(key=key, project_id=project_id, sha256=sha256))
    session.flush()


def remove(session: Session, key: str) -> None:
    """Forget the file, which is about to be deleted."""
    changed(session, delete(ObjectDigest).where(ObjectDigest.key == key))
