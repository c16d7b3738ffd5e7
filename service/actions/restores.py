"""Restoring a backup into an empty service.

Nothing is written before every checksum was verified. The objects come first, then all rows in one transaction; the
object `RESTORE_MARKER` says from the first to the last step which backup is being restored, so that no service starts
on half of it and a restore that was cut off can be repeated.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from service.actions.backups import FORMAT, MANIFEST, PASSING, BackupError, Manifest, Tell
from service.db import portable
from service.storage.objects import RESTORE_MARKER, ObjectNotFoundError, ObjectStore, checked_key
from service.storage.parts import blocks, part_of, write_part

# What `gleaner migrate` and a dispatcher write without anybody's doing.
_OWN_TABLES = frozenset({"keys", "leaders"})
_OBJECTS = "objects/"
_NOT_EMPTY = "The service is not empty: it has {}. Restore into an empty database and data folder."


def read_manifest(folder: Path, *, revisions: set[str]) -> Manifest:
    """What a backup says of itself.

    Args:
        folder: The backup.
        revisions: Of the schema, that this release knows.

    Raises:
        BackupError: It is none, or one of a later release.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BackupError(f"{folder} is no backup: it has no {MANIFEST}.") from error
    try:
        told = msgspec.json.decode(content)
        newer = told["format"] > FORMAT or told["revision"] not in revisions
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise BackupError(f"The {MANIFEST} of {folder} is damaged.") from error
    if newer:
        raise BackupError(f"The backup has schema {told['revision']} of a later release; this one cannot read it.")
    try:
        return msgspec.convert(told, Manifest)
    except msgspec.ValidationError as error:
        raise BackupError(f"The {MANIFEST} of {folder} is damaged.") from error


def verify(folder: Path, manifest: Manifest, *, tell: Tell) -> None:
    """Compare every file with its checksum.

    Raises:
        BackupError: One differs, or is missing.
    """
    bad = []
    for done, (name, part) in enumerate(manifest.parts.items()):
        tell("verifying", done, len(manifest.parts))
        path = folder / checked_key(name)
        if not path.is_file() or part_of(blocks(path.open("rb"))) != part:
            bad.append(name)
    if bad:
        raise BackupError(f"The backup is damaged: {len(bad)} files differ or are missing, such as {bad[0]}.")


def begin(session: Session, folder: Path, manifest: Manifest, *, objects: ObjectStore) -> bool:
    """Mark the service as being restored from this backup; false when only the last step of that is missing.

    Raises:
        BackupError: The service is not empty, or the restore of another backup was cut off in it.
    """
    backup_id = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest().encode()
    marked = _marked(objects)
    if marked not in {None, backup_id}:
        raise BackupError("The restore of another backup was cut off here: repeat that, or begin with empty stores.")
    if marked and _sizes(session) == {name: count for name, count in manifest.rows.items() if count}:
        return False
    _check_empty(session)
    if marked is None and next(objects.list(), None) is not None:
        raise BackupError(_NOT_EMPTY.format("objects"))
    objects.put_bytes(RESTORE_MARKER, backup_id)
    return True


def _marked(objects: ObjectStore) -> bytes | None:
    try:
        return objects.get(RESTORE_MARKER)
    except ObjectNotFoundError:
        return None


def _check_empty(session: Session) -> None:
    filled = [name for name in _sizes(session) if name not in _OWN_TABLES]
    if filled:
        raise BackupError(_NOT_EMPTY.format(f"rows in {', '.join(filled[:3])}"))


def _sizes(session: Session) -> dict[str, int]:
    """How many rows each table has that a backup holds; without those that have none."""
    kept = {table.name: portable.size(session, table) for table in portable.tables(session)}
    return {name: size for name, size in kept.items() if size and name not in PASSING}


def put_objects(folder: Path, manifest: Manifest, *, objects: ObjectStore, tell: Tell) -> None:
    """Store the objects; repeated, each is replaced by itself."""
    names = [name for name in manifest.parts if name.startswith(_OBJECTS)]
    for done, name in enumerate(names):
        tell("objects", done, len(names))
        copy = objects.scratch()
        try:
            if write_part(copy, blocks((folder / name).open("rb"))) != manifest.parts[name]:
                raise BackupError(f"{name} changed while it was read.")
            objects.put(name.removeprefix(_OBJECTS), copy)
        finally:
            copy.unlink(missing_ok=True)


def fill_tables(session: Session, folder: Path, manifest: Manifest, *, now: datetime, tell: Tell) -> None:
    """Insert every row; jobs that ran are queued again. The schema is the backup's, and one transaction does it all.

    Raises:
        BackupError: The database has another schema, or somebody wrote to it since the restore began.
    """
    if portable.revision(session) != manifest.revision:
        raise BackupError(f"The database is not at revision {manifest.revision}: restore into one without tables.")
    found = portable.tables(session)
    portable.keep_writers_out(session, found)
    _check_empty(session)
    for table in reversed(found):
        if table.name in _OWN_TABLES:
            session.execute(table.delete())
    for done, table in enumerate(found):
        tell("tables", done, len(found))
        path = folder / "tables" / f"{table.name}.ndjson"
        if table.name not in manifest.rows:
            continue
        with path.open("rb") as lines:
            rows = portable.rows(table, lines)
            count = portable.fill(session, table, _queued_again(rows, now=now) if table.name == "jobs" else rows)
        if count != manifest.rows[table.name]:
            raise BackupError(f"{table.name} has {count} rows, and not {manifest.rows[table.name]}.")


def end(objects: ObjectStore) -> None:
    """The restore is complete."""
    objects.delete(RESTORE_MARKER)


def _queued_again(rows: Iterator[dict[str, Any]], *, now: datetime) -> Iterator[dict[str, Any]]:
    """Jobs as a service begins with them: no worker has one. The sweep finds no ring of theirs in Redis and rings."""
    for job in rows:
        if job["state"] == "running":
            job |= {"state": "queued", "token": None, "lease_until": None, "pinned_generation": None}
            job |= {"rung_at": now, "progress_phase": "queued", "version": job["version"] + 1}
        yield job
