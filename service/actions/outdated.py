"""Objects that nothing names once a transaction is committed, and that are deleted then; `check` finds what is left."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from service.errors import UnavailableError
from service.storage.objects import ObjectStore
from service.telemetry import logger

_log = logger(__name__)
_OUTDATED = "outdated"


def outdate(session: Session, key: str) -> None:
    """Have an object deleted when the transaction is committed."""
    session.info.setdefault(_OUTDATED, []).append(key)


def delete_outdated(session: Session, objects: ObjectStore) -> None:
    """Delete what a committed transaction has made outdated, as what was committed is done whatever becomes of it."""
    delete_unnamed(objects, session.info.get(_OUTDATED, []))


def delete_unnamed(objects: ObjectStore, keys: Sequence[str]) -> None:
    """Delete objects that nothing names, unless the object store is away."""
    try:
        for key in keys:
            objects.delete(key)
    except UnavailableError:
        _log.warning("outdated_objects_left", keys=keys)
