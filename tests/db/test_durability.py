"""What is committed is on the disk before the commit returns, as far as a client of the database decides it."""

from pathlib import Path

import pytest
from sqlalchemy import text

from service.db.session import Database
from tests.support.postgres import PostgresServer

FULL = 2


def test_sqlite_syncs_its_log_at_each_commit(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'gleaner.sqlite3'}")
    try:
        with database.write() as session:
            assert session.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
            assert session.execute(text("PRAGMA synchronous")).scalar_one() == FULL
    finally:
        database.close()


@pytest.mark.parametrize("level", ["on", "remote_apply"])
def test_postgresql_commits_as_durably_as_the_server_says(postgres: PostgresServer, level: str) -> None:
    # fsync is the server's alone: no session can turn it off
    url = postgres.create_empty_database()
    database = Database(url)
    try:
        with database.write() as session:
            session.execute(text(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = {level}"))
        database.close()  # what connects from now on has it
        with database.write() as session:
            assert session.execute(text("SHOW synchronous_commit")).scalar_one() == level
    finally:
        database.close()
        postgres.drop_database(url)
