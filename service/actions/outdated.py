"""Objects that nothing names once a transaction is committed, and that are deleted then; `check` finds what is left."""

from sqlalchemy.orm import Session

from service.storage.objects import ObjectStore

_OUTDATED = "outdated"


def outdate(session: Session, key: str) -> None:
    """Have an object deleted when the transaction is committed."""
    session.info.setdefault(_OUTDATED, []).append(key)


def delete_outdated(session: Session, objects: ObjectStore) -> None:
    """Delete what a committed transaction has made outdated."""
    for key in session.info.get(_OUTDATED, []):
        objects.delete(key)
