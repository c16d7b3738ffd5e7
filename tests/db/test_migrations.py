from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Boolean, Column, DateTime, Float, Integer, LargeBinary, Table, inspect, text, update

import service.db.upgrade
from service.db import portable
from service.db.portable import VERSION_TABLE
from service.db.session import Database
from service.db.tables import Job, Model, Pool
from service.db.tables import Table as Declared
from service.db.upgrade import differences, upgrade

_FOLDER = str(Path(service.db.upgrade.__file__).parent / "migrations")
STEPS = {one.revision: str(one.down_revision or "base") for one in ScriptDirectory(_FOLDER).walk_revisions()}
DROPPED = {("array_builds", "until")}
_VALUES: dict[type, Any] = {
    Boolean: True,
    DateTime: datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    Float: 0.5,
    Integer: 1,
    LargeBinary: b"\x00\xff",
}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Database]]:
    """Makes databases without tables."""
    with ExitStack() as made:

        def make(name: str) -> Database:
            if request.param == "sqlite":
                url = f"sqlite:///{tmp_path / name}.sqlite3"
            else:
                url = request.getfixturevalue("postgres").create_empty_database()
            database = Database(url)
            made.callback(database.close)
            return database

        yield make


@pytest.fixture
def database(empty: Callable[[str], Database]) -> Database:
    return empty("old")


@pytest.fixture
def declared(empty: Callable[[str], Database]) -> Database:
    """A database that was made from the tables and by no revision."""
    made = empty("declared")
    Declared.metadata.create_all(made.engine)
    return made


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


def _schema(database: Database) -> dict[str, Any]:
    """All that the database knows of its tables, in no order of their columns."""
    found = inspect(database.engine)

    def of(table: str) -> dict[str, Any]:
        columns = [{**column, "type": repr(column["type"])} for column in found.get_columns(table)]
        indexes = [{**index, "dialect_options": _shown(index)} for index in found.get_indexes(table)]
        return {
            "columns": sorted(columns, key=lambda column: column["name"]),
            "key": found.get_pk_constraint(table),
            "references": found.get_foreign_keys(table),
            "unique": found.get_unique_constraints(table),
            "indexes": indexes,
            "options": found.get_table_options(table),
        }

    return {table: of(table) for table in found.get_table_names() if table != VERSION_TABLE}


def _shown(index: Any) -> dict[str, str]:
    return {name: str(value) for name, value in index["dialect_options"].items()}


def _kept(before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]) -> bool:
    """Whether the one row of each table still says what it said."""
    return before.keys() <= after.keys() and all(
        {name: value for name, value in row.items() if (table, name) not in DROPPED}.items() <= after[table][0].items()
        for table, (row,) in before.items()
    )


@pytest.mark.parametrize("revision", STEPS)
def test_a_filled_database_of_every_revision_becomes_the_declared_one(
    database: Database, declared: Database, revision: str
) -> None:
    upgrade(database.engine, revision)
    _populate(database)
    before = _rows(database)
    assert all(len(rows) == 1 for rows in before.values())
    upgrade(database.engine)
    assert _kept(before, _rows(database))
    assert differences(database.engine) == []
    assert _schema(database) == _schema(declared)


@pytest.mark.parametrize("revision", STEPS)
def test_every_revision_leads_back_to_the_one_before(database: Database, revision: str) -> None:
    before = STEPS[revision]
    if before != "base":
        upgrade(database.engine, before)
    old = _schema(database)
    upgrade(database.engine, revision)
    _populate(database)
    config = Config()
    config.set_main_option("script_location", _FOLDER)
    config.attributes["engine"] = database.engine
    command.downgrade(config, before)
    assert _schema(database) == old


@pytest.mark.parametrize(("rows", "fields"), [(0, []), (1, None)])
def test_pools_of_the_first_version_are_tried_and_may_have_any_field(
    database: Database, rows: int, fields: list[str] | None
) -> None:
    upgrade(database.engine, "0001")
    _populate(database)
    with database.write() as session:
        session.execute(update(Pool).values(next_row=rows, trained_generation=5))
    upgrade(database.engine)
    with database.read() as session:
        pool, job = session.query(Pool).one(), session.query(Job).one()
        assert (pool.attempted_generation, pool.data_fields, job.passing_faults) == (5, fields, 0)


@pytest.mark.parametrize(("name", "serving"), [("mine", 0), (None, 1)])
def test_models_of_clients_go_on_the_way_back(database: Database, name: str | None, serving: int) -> None:
    upgrade(database.engine)
    _populate(database)
    with database.write() as session:
        project_id = session.query(Pool).one().project_id
        session.execute(update(Model).values(project_id=project_id, version=1, name=name))
        session.execute(update(Pool).values(model_version=1))
    config = Config()
    config.set_main_option("script_location", _FOLDER)
    config.attributes["engine"] = database.engine
    command.downgrade(config, "0002")
    with database.read() as session:
        assert session.execute(text("SELECT model_version FROM pools")).scalar_one() == serving
        assert session.execute(text("SELECT count(*) FROM models")).scalar_one() == serving


@pytest.mark.parametrize("empty", ["postgresql"], indirect=True)
def test_the_second_revision_copies_no_table_of_postgresql(database: Database) -> None:
    files = text("SELECT relname, relfilenode FROM pg_class WHERE relkind = 'r' AND relname !~ '^(pg|sql)_'")
    upgrade(database.engine, "0001")
    with database.read() as session:
        before = session.execute(files).all()
    upgrade(database.engine, "0002")
    with database.read() as session:
        assert sorted(session.execute(files).all()) == sorted(before)


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
