import time

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from service.actions import statistics
from service.api.deps.runtime import Runtime

PATIENCE_SECONDS = 10.0
CREATE = "CREATE TABLE grown AS SELECT n, n % 7 AS m FROM generate_series(1, 5000) AS n"


def analyzed_rows(session: Session) -> float:
    """How many rows the planner takes the table to have; -1 when it never looked."""
    rows: float = session.execute(text("SELECT reltuples FROM pg_class WHERE relname = 'grown'")).scalar_one()
    return rows


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_table_that_has_grown_is_analyzed_once(runtime: Runtime) -> None:
    with runtime.database.write() as session:
        session.execute(text(CREATE))
        assert analyzed_rows(session) == -1
    until = time.monotonic() + PATIENCE_SECONDS  # a server counts the changes of a session once that is idle
    found: list[str] = []
    while "grown" not in found and time.monotonic() < until:
        with runtime.database.write() as session:
            found = statistics.refresh(session)
        time.sleep(0.1)
    with runtime.database.write() as session:
        assert analyzed_rows(session) == 5000
        assert "grown" not in statistics.refresh(session)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite_has_nothing_to_analyze(runtime: Runtime) -> None:
    with runtime.database.write() as session:
        assert statistics.refresh(session) == []
