"""Transactions: the only module that opens and commits them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.orm import Session

from service.db.tables import SCHEMA
from service.errors import UnavailableError

_BUSY_MILLISECONDS = 15_000
_TRUSTED_SECONDS = 1.0  # a connection that was used a moment ago is not asked whether it lives
# A server that vanished without a word is given up after about 15 seconds, in a connection that waits or sends.
_POSTGRESQL_CONNECTION = {
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}


class Database:
    """One engine and its two kinds of transaction, `read` and `write`, and `look` for what needs none.

    A write transaction on SQLite begins as `IMMEDIATE`: it waits for its turn at the start instead of failing in the
    middle. More than `connections` transactions wait for each other, for half a minute at most; half of the connections
    stay open when nobody needs them.
    """

    def __init__(self, url: str, *, connections: int = 40) -> None:
        sqlite = make_url(url).get_backend_name() == "sqlite"
        kept = (connections + 1) // 2
        self.engine = create_engine(
            url,
            pool_size=kept,
            max_overflow=connections - kept,
            connect_args={} if sqlite else _POSTGRESQL_CONNECTION,
        )
        event.listen(self.engine, "connect", _prepare_sqlite if sqlite else _prepare_postgresql)
        event.listen(self.engine, "handle_error", _lost_is_passing, retval=True)
        if sqlite:
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            _ping_idle(self.engine)
        self._writes = self.engine.execution_options(gleaner_write=True)
        self._looks = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        # SQLite has one writer at a time, and those who wait poll. Threads of one process queue here instead.
        self._turn = Lock() if sqlite else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads, all of it from one moment; it ends with a rollback."""
        with Session(self.engine, autoflush=False) as session:
            if self._turn is None:  # SQLite reads so by itself
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextmanager
    def look(self) -> Iterator[Session]:
        """For one statement that only reads: to begin and end a transaction for it costs two more round trips."""
        if self._turn is not None:
            with self.read() as session:
                yield session
            return
        with Session(self._looks, autoflush=False) as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A transaction that only reads, however long it takes."""
        with self.read() as session:
            if self._turn is None:
                session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that is committed when the block ends well, else rolled back."""
        with self._take_turn(), Session(self._writes, expire_on_commit=False, autoflush=False) as session:
            yield session
            session.commit()

    @contextmanager
    def _take_turn(self) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=_BUSY_MILLISECONDS / 1000):
            raise UnavailableError("The database is busy with another request.", headers={"Retry-After": "5"})
        try:
            yield
        finally:
            self._turn.release()

    def ping(self) -> None:
        """Raise when the database does not answer."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def is_migrated(self) -> bool:
        """Whether the schema is the one that this code needs, or a later one; a DBAPIError when there is none."""
        with self.read() as session:
            revision: str = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        return revision >= SCHEMA

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _ping_idle(engine: Engine) -> None:
    """Replace connections that died while nobody used them; a ping costs as much as a small statement."""

    def note_use(_connection: object, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    def ping(connection: Any, record: Any, _proxy: object) -> None:
        used_at = record.info.get("used_at")
        if used_at is None or time.monotonic() - used_at < _TRUSTED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", note_use)
    event.listen(engine, "checkout", ping)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver leaves BEGIN to us
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # an acknowledged label survives a power cut
        "foreign_keys=ON",
        f"busy_timeout={_BUSY_MILLISECONDS}",
        "temp_store=MEMORY",
        "mmap_size=0",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_postgresql(connection: Any, _record: object) -> None:
    """Wait for locks as long as on SQLite, and let the server free those that a frozen process of ours holds."""
    connection.execute("SET random_page_cost = 1.1")  # of today's disks: 1,000 keys are looked up, not the whole table
    connection.execute(f"SET lock_timeout = {_BUSY_MILLISECONDS}")
    connection.execute(f"SET idle_in_transaction_session_timeout = {2 * _BUSY_MILLISECONDS}")
    connection.commit()


def _lost_is_passing(context: ExceptionContext) -> BaseException | None:
    """A lost connection is an OperationalError, as which the driver does not know every way to lose one."""
    known = context.sqlalchemy_exception
    if context.is_disconnect and isinstance(known, DBAPIError) and not isinstance(known, OperationalError):
        return OperationalError(known.statement, known.params, context.original_exception, connection_invalidated=True)
    return None


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("gleaner_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
