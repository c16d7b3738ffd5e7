"""What the faults of PostgreSQL taught: locks of frozen processes are freed, and a read sees one moment."""

import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from service.db import session as sessions
from service.db.session import Database
from tests.support.postgres import PostgresServer

LOCK = text("SELECT pg_advisory_xact_lock(7)")


def test_a_lock_of_a_frozen_process_is_freed(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_BUSY_MILLISECONDS", 200)
    url = postgres.create_empty_database()
    frozen, other = Database(url), Database(url)
    try:
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
        time.sleep(0.4)  # twice the wait for a lock is the longest that a transaction may idle
        with other.write() as second:
            second.execute(LOCK)


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
