"""What the faults of PostgreSQL taught: locks of frozen processes are freed, and a read sees one moment."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from service.db import session as sessions
from service.db.session import Database
from tests.support.postgres import PostgresServer
from tests.support.redis_server import wait_until

LOCK = text("SELECT pg_advisory_xact_lock(7)")


def test_a_lock_of_a_frozen_process_is_freed(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres.create_empty_database()
    frozen, other = Database(url), Database(url)
    try:
        for database, milliseconds in ((other, 200), (frozen, 2000)):  # of waiting; idle may be who is twice as patient
            monkeypatch.setattr(sessions, "_BUSY_MILLISECONDS", milliseconds)
            database.ping()
        with pytest.raises(OperationalError, match="idle-in-transaction"):
            _freeze(frozen, other)
    finally:
        frozen.close()
        other.close()
        postgres.drop_database(url)


def _freeze(frozen: Database, other: Database) -> None:
    with frozen.write() as session:
        session.execute(LOCK)
        with pytest.raises(OperationalError, match="lock timeout"), other.write() as waiting:
            waiting.execute(LOCK)
        wait_until(lambda: _has_lock(other))


def _has_lock(database: Database) -> bool:
    try:
        with database.write() as session:
            session.execute(LOCK)
    except OperationalError:
        return False
    return True


def test_a_read_sees_one_moment(postgres: PostgresServer) -> None:
    url = postgres.create_empty_database()
    database = Database(url)
    count = text("SELECT count(*) FROM seen")
    try:
        with database.write() as session:
            session.execute(text("CREATE TABLE seen (number INTEGER)"))
        with database.read() as reading:
            assert reading.execute(count).scalar() == 0
            with database.write() as session:
                session.execute(text("INSERT INTO seen VALUES (1)"))
            assert reading.execute(count).scalar() == 0
        with database.read() as reading:
            assert reading.execute(count).scalar() == 1
    finally:
        database.close()
        postgres.drop_database(url)
