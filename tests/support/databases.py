"""On which database the tests run, how it looks when it is new, and how many transactions are open on it at once."""

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from sqlalchemy import Engine, event

from service.db.session import Database
from service.db.upgrade import upgrade

SQLITE_NAME = "gleaner.sqlite3"


def default_kind() -> str:
    """`sqlite` or `postgresql`, as `GLEANER_TEST_DATABASE` says."""
    kind = os.environ.get("GLEANER_TEST_DATABASE", "sqlite")
    assert kind in {"sqlite", "postgresql"}, f"GLEANER_TEST_DATABASE is sqlite or postgresql, not {kind}"
    return kind


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
