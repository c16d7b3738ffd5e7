"""Time as the tests want it, and databases that are quick because nothing on them must survive the test."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import event

from service.api.deps.runtime import Runtime
from service.db.session import Database
from service.queue.memory import MemoryQueue
from service.security.addresses import AddressGuard
from service.security.sealing import Sealer
from service.settings import Settings
from service.storage.memory import MemoryObjects
from tests.support.databases import SQLITE_NAME, empty_sqlite
from tests.support.spare_databases import SpareDatabases

spare: SpareDatabases | None = None  # of PostgreSQL; SQLite when there are none


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def sleep(self, seconds: float) -> datetime:
        """Move on; return the new time."""
        self.now += timedelta(seconds=seconds)
        return self.now


@contextmanager
def quick_runtime(**settings: Any) -> Iterator[Runtime]:
    """A runtime on a folder of its own, whose database waits for no disk."""
    with TemporaryDirectory(prefix="gleaner-") as folder, _empty_database(Path(folder)) as url:
        chosen = Settings(data_dir=Path(folder), database_url=url, **settings)
        database = Database(chosen.sql_url)
        if not url:
            event.listen(database.engine, "connect", _hurry)
        sealer, guard = Sealer("a secret of the tests"), AddressGuard(chosen.webhook_allow)
        try:
            yield Runtime(chosen, database, MemoryQueue(), MemoryObjects(), sealer, guard)
        finally:
            database.close()


@contextmanager
def _empty_database(folder: Path) -> Iterator[str]:
    """The URL of a database that the migrations have made; empty: it is a file of the folder."""
    if spare is None:
        (folder / SQLITE_NAME).write_bytes(empty_sqlite())
        yield ""
        return
    url = spare.take()
    try:
        yield url
    finally:
        spare.give_back(url)


def _hurry(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")
