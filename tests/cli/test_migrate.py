"""`gleaner migrate`, several at once and killed in the middle, on both databases."""

import signal
import subprocess
from collections.abc import Callable

import pytest
from sqlalchemy import select

from service.cli.supervisor import gleaner_command
from service.db import portable
from service.db.tables import Key
from service.db.upgrade import differences, upgrade
from tests.support.killed import run_killed
from tests.support.places import Place
from tests.support.redis_server import PATIENCE_SECONDS

AT_ONCE = 3


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, make_place: Callable[..., Place]) -> Place:
    return make_place("new", request.param)


def check_is_migrated(place: Place) -> None:
    with place.database() as database:
        assert differences(database.engine) == []
        with database.read() as session:
            assert [key.name for key in session.scalars(select(Key))] == ["admin"]


def test_several_at_once_migrate_once(place: Place) -> None:
    command = gleaner_command("migrate")
    started = [
        subprocess.Popen(command, env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(AT_ONCE)
    ]
    told = [process.communicate(timeout=PATIENCE_SECONDS)[0].decode() for process in started]
    assert [process.returncode for process in started] == [0] * AT_ONCE, told
    assert sum("Admin key" in output for output in told) >= 1
    check_is_migrated(place)


def shape(place: Place) -> dict[str, set[str]]:
    """The columns of each table, and the revision."""
    with place.database() as database, database.read() as session:
        found = {table.name: {column.name for column in table.columns} for table in portable.tables(session)}
        return {**found, portable.VERSION_TABLE: {portable.revision(session)}} if found else {}


@pytest.mark.parametrize(
    ("revision", "at"),
    [
        ("", ("alembic.op.create_table", 9)),
        ("", ("alembic.op.create_index", 12)),
        ("0001", ("alembic.op.add_column", 3)),
    ],
    ids=str,
)
def test_a_migration_that_is_killed_changes_nothing(place: Place, revision: str, at: tuple[str, int]) -> None:
    if revision:
        with place.database() as database:
            upgrade(database.engine, revision)
    before = shape(place)
    assert run_killed(*at, "migrate", environment=place.environment) == -signal.SIGKILL
    assert shape(place) == before
    assert place.invoke("migrate").exit_code == 0
    check_is_migrated(place)
