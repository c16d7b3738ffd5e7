"""Backups: one consistent view of the tables, and the objects that it names.

Objects are immutable and are copied after the tables were read. One that was deleted in between is named by no later
view, so the tables are read once more then, and only what is new is copied. Nothing is locked, and a backup that is cut
off leaves nothing behind in the service.
"""

import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy.orm import Session

from service.actions.exports import has_encoder
from service.actions.predictions import chunk_of, is_record
from service.db import portable
from service.db.queries import upkeep
from service.db.queries.upkeep import Named
from service.db.tables import SCHEMA
from service.storage.artifacts import committee_key, encoder_key, is_fitted, model_encoder_key, onnx_key
from service.storage.objects import ObjectNotFoundError, ObjectStore
from service.storage.parts import Part, sync, sync_tree, write_part

FORMAT = 1
MANIFEST = "manifest.json"
PASSING = frozenset({"leaders", "array_builds"})  # say what processes do now
_PAUSE_SECONDS = 0.5

Tell = Callable[[str, int, int], None]
Transaction = Callable[[], AbstractContextManager[Session]]


class BackupError(Exception):
    """A backup cannot be made or restored; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds.

    Attributes:
        format: Of the files.
        revision: Of the schema.
        created_at: When it was made.
        derived: Whether features and predictions are in it.
        rows: By table.
        parts: Every other file, by its path in the backup.
    """

    format: int
    revision: str
    created_at: datetime
    derived: bool
    rows: dict[str, int]
    parts: dict[str, Part]

    @property
    def bytes(self) -> int:
        """Of all parts."""
        return sum(part.bytes for part in self.parts.values())


def back_up(
    target: Path, *, snapshot: Transaction, objects: ObjectStore, derived: bool, now: datetime, tell: Tell
) -> Manifest:
    """Write a backup into a new folder, which appears under its name once it is whole.

    Raises:
        BackupError: Something is there already, the schema is another, or an object that a row names is gone.
    """
    if target.exists():
        raise BackupError(f"{target} is there already; a backup overwrites nothing.")
    partial = target.with_name(f".{target.name}.partial-{secrets.token_hex(6)}")
    partial.mkdir(mode=0o700, parents=True)
    try:
        rows, parts = _copy_all(partial, snapshot=snapshot, objects=objects, derived=derived, tell=tell)
        manifest = Manifest(
            format=FORMAT,
            revision=SCHEMA,
            created_at=now,
            derived=derived,
            rows=rows,
            parts=dict(sorted(parts.items())),
        )
        write_part(partial / MANIFEST, [orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2)])
        sync_tree(partial)
        partial.rename(target)
        sync(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest


def _copy_all(
    folder: Path, *, snapshot: Transaction, objects: ObjectStore, derived: bool, tell: Tell
) -> tuple[dict[str, int], dict[str, Part]]:
    copied: dict[str, Part] = {}
    gone: set[str] = set()
    while True:
        with snapshot() as session:
            _check_revision(session)
            keys = {key for one in upkeep.named(session) if _is_kept(one, derived=derived) for key in object_keys(one)}
            rows, parts = _write_tables(session, folder / "tables", derived=derived, tell=tell)
        for key in copied.keys() - keys:
            (folder / "objects" / key).unlink()
            del copied[key]
        missing = _copy_objects(folder / "objects", sorted(keys - copied.keys()), copied, objects=objects, tell=tell)
        if not missing:
            return rows, parts | {f"objects/{key}": part for key, part in copied.items()}
        if lost := sorted(missing & gone):
            names = f"{len(lost)} objects that the tables name are gone, such as {lost[0]}"
            raise BackupError(f"{names}. `gleaner check` tells more, and repairs what can be made again.")
        gone = missing
        time.sleep(_PAUSE_SECONDS)  # whoever deletes an object may be about to commit


def _check_revision(session: Session) -> None:
    revision = portable.revision(session)
    if revision != SCHEMA:
        raise BackupError(f"The database is at revision {revision} and not at {SCHEMA}: run `gleaner migrate` first.")


def object_keys(one: Named) -> tuple[str, ...]:
    """The keys of the objects that a row names."""
    if one.kind == "chunk":
        fitted = (encoder_key(one.project_id, one.row.array),) if is_fitted(one.row.array) else ()
        return chunk_of(one.row).files + fitted
    keys = [one.key]
    if one.kind == "model":
        if one.row.estimator["params"].get("committee", 0):
            keys.append(committee_key(one.key))
        if has_encoder(one.row):
            keys.append(model_encoder_key(one.key))
    return tuple(keys)


def spare_keys(one: Named) -> tuple[str, ...]:
    """The keys of objects that a row may have, made when they are wanted."""
    return (onnx_key(one.key, one.row.classes),) if one.kind == "model" else ()


def _is_kept(one: Named, *, derived: bool) -> bool:
    return one.kind != "chunk" or _is_kept_chunk(one.row.array, one.row.retired, derived=derived)


def _is_kept_chunk(array: str, retired: int | None, *, derived: bool) -> bool:
    """A retired chunk is read only by jobs that run now, which begin again after a restore."""
    return retired is None and (derived or is_record(array))


def _write_tables(
    session: Session, folder: Path, *, derived: bool, tell: Tell
) -> tuple[dict[str, int], dict[str, Part]]:
    shutil.rmtree(folder, ignore_errors=True)
    rows: dict[str, int] = {}
    parts: dict[str, Part] = {}
    found = [table for table in portable.tables(session) if table.name not in PASSING]
    for done, table in enumerate(found):
        tell("tables", done, len(found))
        lines: Iterable[bytes] = portable.lines(session, table)
        if table.name == "chunks":
            lines = (line for line in lines if _keeps(line, derived=derived))
        counter = _Counter(lines)
        name = f"{table.name}.ndjson"
        parts[f"tables/{name}"] = write_part(folder / name, counter)
        rows[str(table.name)] = counter.count
    return rows, parts


def _keeps(line: bytes, *, derived: bool) -> bool:
    chunk: dict[str, Any] = orjson.loads(line)
    return _is_kept_chunk(chunk["array"], chunk["retired"], derived=derived)


class _Counter:
    """Lines with their ends, counted."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            self.count += 1
            yield line + b"\n"


def _copy_objects(
    folder: Path, keys: list[str], copied: dict[str, Part], *, objects: ObjectStore, tell: Tell
) -> set[str]:
    """Copy objects into `copied`; returns those that are gone."""
    missing = set()
    for done, key in enumerate(keys):
        tell("objects", done, len(keys))
        try:
            copied[key] = write_part(folder / key, objects.blocks(key))
        except ObjectNotFoundError:
            (folder / key).unlink(missing_ok=True)
            missing.add(key)
    return missing
