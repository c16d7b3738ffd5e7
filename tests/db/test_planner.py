import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from service.actions import statistics
from service.api.deps.runtime import Runtime
from service.db.queries import examples, labels, planner, projects
from service.db.tables import Table
from service.db.types import ProjectKey
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.runtime import Api

NOW = datetime(2026, 11, 29, tzinfo=UTC)
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


# a project of examples, each of them labelled, and some of them promised
GROW_PROJECT = (
    """
    INSERT INTO examples (project_id, example_id, row, split, content_hash, features_hash, label_count, skip_count,
                          created_at, updated_at)
    SELECT :id, 'e' || n, n, 'pool', '', '', 1, 0, now(), now() FROM generate_series(1, :rows) AS n
    """,
    """
    INSERT INTO labels (project_id, id, example_id, annotator, value, skip, source, labeled_at, created_at, updated_at)
    SELECT :id, 'l' || n, 'e' || n, 'a', '"x"', false, 'human', now(), now(), now() FROM generate_series(1, :rows) AS n
    """,
    """
    INSERT INTO leases (project_id, example_id, holder, job_id, row, expires_at)
    SELECT :id, 'e' || n, 'annotator:a', 'j', n, now() + interval '1 hour' FROM generate_series(1, 30) AS n
    """,
)


def grow(session: Session, project_id: str, rows: int) -> None:
    for statement in GROW_PROJECT:
        session.execute(text(statement), {"id": project_id, "rows": rows})


def examples_read(session: Session) -> int:
    """How many examples this connection has read of late, in whichever way."""
    query = text("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'examples'")
    found: int = session.execute(query).scalar_one()
    return found


SOME = [f"e{n}" for n in range(200)]
READS: dict[str, Callable[[Session, str], object]] = {
    "a page of labels": lambda session, project_id: labels.page(session, project_id, after="", size=200),
    "examples by id": lambda session, project_id: examples.find(session, project_id, SOME),
    "examples and leases": lambda session, project_id: examples.find_promised(session, project_id, SOME),
    "what is leased": lambda session, project_id: projects.leased(session, project_id, NOW),
}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_project_is_read_whole_for_some_of_it(runtime: Runtime, api: Api) -> None:
    large, small, new = (api.project() for _ in range(3))
    with runtime.database.write() as session:
        grow(session, large, 50_000)
        grow(session, small, 5_000)
        for table in ("examples", "labels", "leases"):
            planner.analyze(session, table)
    with runtime.database.write() as session:
        grow(session, new, 5_000)  # the planner knows nothing of it
    found = {}
    for project_id in (large, small, new):
        for name, read in READS.items():
            with runtime.database.read() as session:
                before = examples_read(session)
                read(session, project_id)
                found[project_id, name] = examples_read(session) - before
    assert all(0 < rows <= 2 * len(SOME) for rows in found.values()), found


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_every_table_by_projects_is_told_that_they_are_alike(runtime: Runtime) -> None:
    columns = (column for table in Table.metadata.sorted_tables for column in table.c)
    declared = {column.table.name for column in columns if isinstance(column.type, ProjectKey)}
    told = text(
        "SELECT relname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
        "WHERE attname = 'project_id' AND attoptions @> ARRAY['n_distinct=10']"
    )
    with runtime.database.read() as session:
        assert {*session.scalars(told)} == declared
    assert len(declared) > 10
