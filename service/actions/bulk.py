"""Bulk bodies: rows are read and checked first, spooled, and stored only then; bad rows are reported."""

import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO, Generic, Literal, Self, TypeVar

import msgspec
from sqlalchemy.orm import Session

from service.actions import projects
from service.actions.outdated import delete_unnamed, outdate
from service.codecs.csv_types import ColumnType
from service.codecs.limits import Limits
from service.codecs.media import Media
from service.db.queries import uploads as queries
from service.db.tables import ErrorList
from service.db.types import new_id
from service.errors import FieldError, NotFoundError, RowsRejectedError
from service.settings import MIB, Settings
from service.storage.objects import ObjectStore

Mode = Literal["atomic", "partial"]
Transaction = Callable[[], AbstractContextManager[Session]]
SpooledRow = TypeVar("SpooledRow", bound=msgspec.Struct)

_IN_MEMORY = 4 * MIB
_TOGETHER = 16 * MIB
_FRAME = struct.Struct("<Q")
_FIRST_ERRORS = 100
KEPT = timedelta(hours=24)
_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkRequest:
    """A bulk body, and what storing it needs: storing takes several transactions, so it opens them itself."""

    project_id: str
    body: IO[bytes]
    media: Media
    mode: Mode
    look: Transaction
    read: Transaction
    write: Transaction
    objects: ObjectStore
    settings: Settings
    clock: Callable[[], datetime]

    @property
    def limits(self) -> Limits:
        """How much of the body is read."""
        return Limits.of(self.settings)

    @property
    def share(self) -> int:
        """How many jobs of a project may be rung."""
        return self.settings.jobs_in_queue_per_project


@dataclass(slots=True)
class Outcome:
    """What became of the rows of a body."""

    received: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    errors: list[FieldError] = field(default_factory=list)
    errors_url: str | None = None
    columns: dict[str, ColumnType] | None = None

    @property
    def stored(self) -> int:
        """How many rows changed something."""
        return self.created + self.updated

    @property
    def errors_truncated(self) -> bool:
        """Whether `errors` leaves some bad rows out."""
        return self.rejected > len(self.errors)

    def add(self, other: "Outcome") -> None:
        """Count what was done to a part of the rows."""
        self.created += other.created
        self.updated += other.updated
        self.unchanged += other.unchanged


class RowSpool(Generic[SpooledRow]):
    """Checked rows in frames, in memory while they are few and then in a file without a name."""

    def __init__(self, row_type: type[SpooledRow], folder: Path) -> None:
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(folder))  # noqa: SIM115 - closed by `__exit__`
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[list[SpooledRow]] = msgspec.msgpack.Decoder(
            list[row_type]  # type: ignore[valid-type] # a type made at run time
        )
        self.rows = 0
        self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add(self, rows: list[SpooledRow]) -> None:
        """Append a frame."""
        if not rows:
            return
        frame = self._encoder.encode(rows)
        self._file.write(_FRAME.pack(len(frame)))
        self._file.write(frame)
        self.rows += len(rows)
        self.bytes += len(frame)

    def frames(self, *, at_least: int = 1) -> Iterator[list[SpooledRow]]:
        """The rows in order, some frames at a time: until they have so many rows, or are too large for more."""
        self._file.seek(0)
        rows: list[SpooledRow] = []
        taken = 0
        while head := self._file.read(_FRAME.size):
            (size,) = _FRAME.unpack(head)
            rows += self._decoder.decode(self._file.read(size))
            taken += size
            if len(rows) >= at_least or taken >= _TOGETHER:
                yield rows
                rows, taken = [], 0
        if rows:
            yield rows


class RowErrors:
    """The bad rows of a body: the first ones at hand, all of them in a scratch file that becomes the errors list."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._path: Path | None = None  # most bodies have no bad row
        self._encode = msgspec.json.Encoder().encode_lines
        self.count = 0
        self.first: list[FieldError] = []
        self._kept: tuple[str, str] | None = None  # id and key of the list, once the object store has it
        self._saved = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._kept is not None and not self._saved:
            delete_unnamed(self._objects, [self._kept[1]])

    def add(self, errors: Iterable[FieldError]) -> None:
        """Add bad rows."""
        added = list(errors)
        if not added:
            return
        self._path = self._path or self._objects.scratch()
        with self._path.open("ab") as file:
            file.write(self._encode([error.as_dict() for error in added]))
        self.count += len(added)
        self.first += added[: _FIRST_ERRORS - len(self.first)]

    def put(self, project_id: str) -> None:
        """Put the whole list into the object store: best before the transaction of `save`, as that takes a while."""
        if self._path is not None and self._kept is None:
            list_id = new_id("err")
            key = f"errors/{project_id}/{list_id}.ndjson"
            self._objects.put(key, self._path)
            self._kept = list_id, key

    def save(self, session: Session, project_id: str, *, now: datetime) -> str | None:
        """Keep the whole list for a day; returns where it is read."""
        self.put(project_id)
        if self._kept is None:
            return None
        list_id, key = self._kept
        session.add(ErrorList(id=list_id, project_id=project_id, key=key, expires_at=now + KEPT))
        session.flush()
        self._saved = True
        return f"/v1/projects/{project_id}/error-lists/{list_id}"


def reject(request: BulkRequest, errors: RowErrors, *, received: int) -> RowsRejectedError:
    """Keep the errors list; returns the error that says that nothing else was stored."""
    errors.put(request.project_id)
    with request.write() as session:
        projects.get(session, request.project_id)
        url = errors.save(session, request.project_id, now=request.clock())
    return RowsRejectedError(
        f"{errors.count} of {received} rows are bad, so nothing was stored. The whole list is at {url}.",
        errors=errors.first,
        extra={"received": received, "rejected": errors.count, "errors_url": url},
    )


def error_list_key(session: Session, project_id: str, list_id: str, *, now: datetime) -> str:
    """The object that holds an errors list."""
    found = queries.error_list(session, project_id, list_id)
    if found is None or found.expires_at <= now:
        raise NotFoundError("There is no such list; lists are kept for 24 hours.")
    return found.key


def forget_error_lists(session: Session, *, now: datetime) -> int:
    """Remove some of the lists whose day is over; how many."""
    expired = queries.expired_error_lists(session, now, limit=_AT_ONCE)
    for kept in expired:
        outdate(session, kept.key)
        session.delete(kept)
    session.flush()
    return len(expired)
