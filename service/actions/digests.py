"""Binds the files of models to their rows: what lies under a key is what was written there, or nobody gets it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.orm import Session

from service.actions.outdated import outdate
from service.db.queries import digests as queries
from service.errors import DamagedObjectError
from service.storage.objects import ObjectNotFoundError, ObjectStore
from service.storage.parts import part_of


def sha256_of(data: bytes) -> str:
    """What is recorded of a file when it is written."""
    return hashlib.sha256(data).hexdigest()


def recorded(session: Session, key: str) -> str | None:
    """What is recorded of a file; nothing of those of earlier releases."""
    return queries.find(session, key)


def record(session: Session, project_id: str, digests: Mapping[str, str]) -> None:
    """Record what was written under each key, in the transaction that makes the files known."""
    queries.put(session, project_id, digests)


def check(session: Session, key: str, data: bytes) -> None:
    """See that the bytes of an object are those that were written; files of earlier releases may hold any.

    Raises:
        DamagedObjectError: They are others.
    """
    _compare(key, recorded(session, key), sha256_of(data))


def checked_path(key: str, digest: str | None, objects: ObjectStore) -> Path:
    """Where the bytes of an object are, which have this digest unless none is recorded.

    Raises:
        DamagedObjectError: They are others, or gone.
    """
    try:
        path = objects.path(key)
        _compare(key, digest, part_of(path).sha256)
    except (ObjectNotFoundError, FileNotFoundError) as error:
        raise DamagedObjectError(key, "it is lost.") from error
    return path


def forget(session: Session, key: str) -> None:
    """Have a file deleted when the transaction is committed; whoever wants it makes it again."""
    queries.remove(session, key)
    outdate(session, key)


def _compare(key: str, digest: str | None, found: str) -> None:
    if digest not in {None, found}:
        raise DamagedObjectError(key, "it is not the file that was written there.")
