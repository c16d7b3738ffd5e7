"""Binds the files of models to their rows: what lies under a key is what was written there, or nobody gets it."""

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

from sqlalchemy.orm import Session

from service.actions.outdated import outdate
from service.db.queries import digests as queries
from service.errors import DamagedObjectError
from service.settings import MIB
from service.storage.objects import ObjectNotFoundError, ObjectStore
from service.storage.parts import Part, copy_into

_IN_MEMORY = 4 * MIB


@dataclass(frozen=True, slots=True)
class Copy:
    """The bytes of an object in a file without a name, which nobody else can change."""

    file: IO[bytes]
    part: Part


def sha256_of(data: bytes) -> str:
    """What is recorded of a file when it is written."""
    return hashlib.sha256(data).hexdigest()


def recorded(session: Session, key: str) -> str | None:
    """What is recorded of a file; nothing of those of earlier releases."""
    return queries.find(session, key)


def record(session: Session, project_id: str, digests: Mapping[str, str]) -> None:
    """Record what was written under each key, in the transaction that makes the files known."""
    queries.put(session, project_id, digests)


def check(key: str, digest: str | None, data: bytes) -> None:
    """See that the bytes of an object have this digest, unless none is recorded.

    Raises:
        DamagedObjectError: They are others.
    """
    _compare(key, digest, sha256_of(data))


def checked_copy(key: str, digest: str, objects: ObjectStore, folder: Path) -> Copy:
    """The bytes of an object, read once, which have this digest.

    Raises:
        DamagedObjectError: They are others, or gone.
    """
    with ExitStack() as opened:
        file = opened.enter_context(SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(folder)))
        try:
            part = copy_into(file, objects.blocks(key))
        except ObjectNotFoundError as error:
            raise DamagedObjectError(key, "it is lost.") from error
        _compare(key, digest, part.sha256)
        file.seek(0)
        opened.pop_all()  # closed by whoever sends it
    return Copy(file, part)


def forget(session: Session, key: str) -> None:
    """Have a file deleted when the transaction is committed; whoever wants it makes it again."""
    queries.remove(session, key)
    outdate(session, key)


def _compare(key: str, digest: str | None, found: str) -> None:
    if digest not in {None, found}:
        raise DamagedObjectError(key, "it is not the file that was written there.")
