"""Time as the tests want it, and a database that is quick because nothing on it must survive the test."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import event

from service.api.deps.runtime import Runtime
from service.db.session import Database
from service.db.upgrade import upgrade
from service.queue.memory import MemoryQueue
from service.security.addresses import AddressGuard
from service.security.sealing import Sealer
from service.settings import Settings
from service.storage.memory import MemoryObjects

_NAME = "gleaner.sqlite3"


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
    """A runtime on a folder of its own, whose SQLite waits for no disk."""
    with TemporaryDirectory(prefix="gleaner-") as folder:
        chosen = Settings(data_dir=Path(folder), **settings)
        (chosen.data_dir / _NAME).write_bytes(_empty())
        database = Database(chosen.sql_url)
        event.listen(database.engine, "connect", _hurry)
        sealer, guard = Sealer("a secret of the tests"), AddressGuard(chosen.webhook_allow)
        try:
            yield Runtime(chosen, database, MemoryQueue(), MemoryObjects(), sealer, guard)
        finally:
            database.close()


@cache
def _empty() -> bytes:
    """A database that the migrations have made."""
    with TemporaryDirectory(prefix="gleaner-") as folder:
        path = Path(folder) / _NAME
        database = Database(f"sqlite:///{path}")
        upgrade(database.engine)
        with database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        return path.read_bytes()


def _hurry(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")
