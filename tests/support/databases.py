"""On which database the tests run, how it looks when it is new, and how many transactions are open on it at once."""

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

import pytest
from sqlalchemy import Engine, event

from service.db.session import Database
from service.db.upgrade import upgrade

SQLITE_NAME = "gleaner.sqlite3"
_OPENING = frozenset({"database_url", "make_place", "unchanged", "_database_of_the_machines"})  # fixtures that do


def default_kind() -> str:
    """`sqlite` or `postgresql`, as `GLEANER_TEST_DATABASE` says."""
    kind = os.environ.get("GLEANER_TEST_DATABASE", "sqlite")
    assert kind in {"sqlite", "postgresql"}, f"GLEANER_TEST_DATABASE is sqlite or postgresql, not {kind}"
    return kind


def objects_kind() -> str:
    """`memory` or `s3`, as `GLEANER_TEST_OBJECTS` says."""
    kind = os.environ.get("GLEANER_TEST_OBJECTS", "memory")
    assert kind in {"memory", "s3"}, f"GLEANER_TEST_OBJECTS is memory or s3, not {kind}"
    return kind


def depends_on_kind(item: pytest.Item) -> bool:
    """Whether a test could fail on one kind of database only, and runs on the one that is chosen and no other."""
    if item.get_closest_marker("any_database"):
        return False
    chosen = getattr(item, "callspec", None)
    if chosen is not None and "database_url" in chosen.params:
        return False
    return not _OPENING.isdisjoint(getattr(item, "fixturenames", ()))


@cache
def empty_sqlite() -> bytes:
    """A SQLite file that the migrations have made."""
    with TemporaryDirectory(prefix="gleaner-") as folder:
        path = Path(folder) / SQLITE_NAME
        database = Database(f"sqlite:///{path}")
        upgrade(database.engine)
        with database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        return path.read_bytes()


class OpenTransactions:
    """Counts the transactions of an engine that are open, each on a connection of its own.

    Attributes:
        most: That were open at the same time.
    """

    def __init__(self, engine: Engine) -> None:
        self.most = 0
        self._open = 0
        self._turn = Lock()
        event.listen(engine, "begin", self._begun)
        event.listen(engine, "commit", self._ended)
        event.listen(engine, "rollback", self._ended)

    def _begun(self, _connection: object) -> None:
        with self._turn:
            self._open += 1
            self.most = max(self.most, self._open)

    def _ended(self, _connection: object) -> None:
        with self._turn:
            self._open -= 1
