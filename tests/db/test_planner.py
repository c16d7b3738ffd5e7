import time

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from service.actions import statistics
from service.api.deps.runtime import Runtime

PATIENCE_SECONDS = 10.0
GROW = "INSERT INTO leaders SELECT n::text, 'a', now() FROM generate_series(1, 5000) AS n"
# A database may be shared with others, who name tables as they like and may be another user.
OTHERS = (
    "CREATE SCHEMA other",
    "CREATE TABLE other.leaders AS SELECT n FROM generate_series(1, 5000) AS n",
    "CREATE TABLE other.theirs AS SELECT n FROM generate_series(1, 5000) AS n",
    "CREATE TABLE theirs AS SELECT n FROM generate_series(1, 5000) AS n",
)


def analyzed(session: Session) -> dict[str, float]:
    """How many rows the planner takes the tables to have; -1 when it never looked."""
    query = text(
        "SELECT nspname || '.' || relname, reltuples FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE relname IN ('leaders', 'theirs') AND relkind = 'r'"
    )
    return {str(name): float(rows) for name, rows in session.execute(query)}


def counted(session: Session) -> int:
    """Tables of others whose changes the server has counted, which it does once the session that made them is idle."""
    query = text("SELECT count(*) FROM pg_stat_user_tables WHERE n_mod_since_analyze = 5000 AND relname = 'theirs'")
    found: int = session.execute(query).scalar_one()
    return found


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_table_of_ours_that_has_grown_is_analyzed_once(runtime: Runtime) -> None:
    with runtime.database.write() as session:
        for statement in (*OTHERS, GROW):
            session.execute(text(statement))
        assert set(analyzed(session).values()) == {-1}
    until = time.monotonic() + PATIENCE_SECONDS
    found: list[str] = []
    seen = 0
    while not (found and seen == 2) and time.monotonic() < until:
        with runtime.database.write() as session:
            seen = counted(session)
            found += statistics.refresh(session)
        time.sleep(0.1)
    assert (found, seen) == (["leaders"], 2)
    with runtime.database.write() as session:
        assert statistics.refresh(session) == []
        assert analyzed(session) == {
            "public.leaders": 5000,
            "other.leaders": -1,
            "other.theirs": -1,
            "public.theirs": -1,
        }


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite_has_nothing_to_analyze(runtime: Runtime) -> None:
    with runtime.database.write() as session:
        assert statistics.refresh(session) == []
