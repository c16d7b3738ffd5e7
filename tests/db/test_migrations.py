from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Boolean, Column, DateTime, Float, Integer, LargeBinary, Table

import service.db.upgrade
from service.db import portable
from service.db.session import Database
from service.db.upgrade import differences, upgrade

_VERSIONS = ScriptDirectory(str(Path(service.db.upgrade.__file__).parent / "migrations"))
REVISIONS = [revision.revision for revision in _VERSIONS.walk_revisions()]
_VALUES: dict[type, Any] = {
    Boolean: True,
    DateTime: datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    Float: 0.5,
    Integer: 1,
    LargeBinary: b"\x00\xff",
}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'old.sqlite3'}"
    else:
        url = request.getfixturevalue("postgres").create_empty_database()
    made = Database(url)
    yield made
    made.close()


def _value(column: Column[Any]) -> Any:
    """A value that fits: a column that refers to another holds what that one holds."""
    for reference in column.foreign_keys:
        return _value(reference.column)
    kind = next((kind for kind in _VALUES if isinstance(column.type, kind)), None)
    return _VALUES[kind] if kind else f'"{column.table.name}"'


def _populate(database: Database) -> None:
    with database.write() as session:
        for table in portable.tables(session):
            portable.fill(session, table, [{column.name: _value(column) for column in table.columns}])


def _rows(database: Database) -> dict[str, list[dict[str, Any]]]:
    def read(table: Table) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in portable.lines(session, table)]

    with database.read() as session:
        return {table.name: read(table) for table in portable.tables(session)}


@pytest.mark.parametrize("revision", REVISIONS)
def test_rows_of_every_revision_are_kept(database: Database, revision: str) -> None:
    upgrade(database.engine, revision)
    _populate(database)
    before = _rows(database)
    assert all(len(rows) == 1 for rows in before.values())
    upgrade(database.engine)
    after = _rows(database)
    assert before.keys() <= after.keys()
    for name, (row,) in before.items():
        (kept,) = after[name]
        assert row.items() <= kept.items()


def test_the_newest_revision_is_what_the_tables_declare(database: Database) -> None:
    upgrade(database.engine)
    assert differences(database.engine) == []


def test_rows_move_between_databases_unchanged(database: Database, tmp_path: Path) -> None:
    upgrade(database.engine)
    _populate(database)
    other = Database(f"sqlite:///{tmp_path / 'new.sqlite3'}")
    upgrade(other.engine)
    with database.snapshot() as source, other.write() as target:
        for table in portable.tables(source):
            portable.fill(target, table, portable.rows(table, portable.lines(source, table)))
    assert _rows(other) == _rows(database)
    other.close()
