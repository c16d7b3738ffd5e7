from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Boolean, Column, DateTime, Float, Integer, LargeBinary, Table, inspect, text, update
from sqlalchemy.orm import Session

import service.db.upgrade
from service.db import portable
from service.db.portable import VERSION_TABLE
from service.db.session import Database
from service.db.tables import SCHEMA, Job, Model, Pool
from service.db.tables import Table as Declared
from service.db.upgrade import upgrade
from tests.support.databases import empty_sqlite
from tests.support.postgres import PostgresServer

_FOLDER = str(Path(service.db.upgrade.__file__).parent / "migrations")
At = Callable[[str], Database]
Rows = dict[str, list[dict[str, Any]]]
STEPS = {one.revision: str(one.down_revision or "base") for one in ScriptDirectory(_FOLDER).walk_revisions()}
DROPPED = {("array_builds", "until")}
_VALUES: dict[type, Any] = {
    Boolean: True,
    DateTime: datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    Float: 0.5,
    Integer: 1,
    LargeBinary: b"\x00\xff",
}


class Stages:
    """Databases of one kind without rows, as each revision leaves them: made once, each from the one before.

    Attributes:
        declared: All that a database knows of its tables which was made from them, and by no revision.
    """

    def __init__(self, folder: Path, server: PostgresServer | None) -> None:
        self._folder, self._server, self._number = folder, server, 0
        self._made = {"base": self._new()}
        with _open(self._new()) as database:
            Declared.metadata.create_all(database.engine)
            self.declared = _schema(database)
        self._schemas: dict[str, dict[str, Any]] = {}

    def copy(self, revision: str = SCHEMA) -> str:
        """The URL of a new one."""
        return self._new(self._at(revision))

    def schema(self, revision: str) -> dict[str, Any]:
        """All that one knows of its tables."""
        if revision not in self._schemas:
            with _open(self._at(revision)) as database:
                self._schemas[revision] = _schema(database)
        return self._schemas[revision]

    def _at(self, revision: str) -> str:
        if revision not in self._made:
            url = self.copy(STEPS[revision])
            with _open(url) as database:
                upgrade(database.engine, revision)
            self._made[revision] = url
        return self._made[revision]

    def _new(self, like: str = "") -> str:
        """The URL of a database that nobody is connected to, like another or empty."""
        if self._server is not None:
            return self._server.copy_database(like) if like else self._server.create_empty_database()
        self._number += 1
        path = self._folder / f"{self._number}.sqlite3"
        path.write_bytes(Path(like.removeprefix("sqlite:///")).read_bytes() if like else b"")  # a closed one has no log
        return f"sqlite:///{path}"


@contextmanager
def _open(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    return Stages(tmp_path_factory.mktemp("stages"), server)


@pytest.fixture
def at(stages: Stages) -> Iterator[At]:
    """Makes a database of a revision."""
    with ExitStack() as made:
        yield lambda revision: made.enter_context(_open(stages.copy(revision)))


def _value(column: Column[Any]) -> Any:
    """A value that fits: a column that refers to another holds what that one holds."""
    for reference in column.foreign_keys:
        return _value(reference.column)
    kind = next((kind for kind in _VALUES if isinstance(column.type, kind)), None)
    return _VALUES[kind] if kind else f'"{column.table.name}"'


def _populate(database: Database) -> Rows:
    """One row in each table, and what they say."""
    with database.write() as session:
        tables = portable.tables(session)
        for table in tables:
            portable.fill(session, table, [{column.name: _value(column) for column in table.columns}])
        return _read(session, tables)


def _rows(database: Database) -> Rows:
    with database.read() as session:
        return _read(session, portable.tables(session))


def _read(session: Session, tables: Iterable[Table]) -> Rows:
    return {table.name: [orjson.loads(line) for line in portable.lines(session, table)] for table in tables}


def _schema(database: Database) -> dict[str, Any]:
    """All that the database knows of its tables, in no order of their columns."""
    found = inspect(database.engine)
    columns, indexes = found.get_multi_columns(), found.get_multi_indexes()
    others: dict[str, Mapping[Any, Any]] = {
        "key": found.get_multi_pk_constraint(),
        "references": found.get_multi_foreign_keys(),
        "unique": found.get_multi_unique_constraints(),
        "options": found.get_multi_table_options(),
    }

    def of(table: tuple[str | None, str]) -> dict[str, Any]:
        shown = [{**column, "type": repr(column["type"])} for column in columns[table]]
        return {
            "columns": sorted(shown, key=lambda column: column["name"]),
            "indexes": [{**index, "dialect_options": _shown(index)} for index in indexes[table]],
            **{name: told[table] for name, told in others.items()},
        }

    return {table[1]: of(table) for table in columns if table[1] != VERSION_TABLE}


def _shown(index: Any) -> dict[str, str]:
    return {name: str(value) for name, value in index["dialect_options"].items()}


def _kept(before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]) -> bool:
    """Whether the one row of each table still says what it said."""
    return before.keys() <= after.keys() and all(
        {name: value for name, value in row.items() if (table, name) not in DROPPED}.items() <= after[table][0].items()
        for table, (row,) in before.items()
    )


def _downgrade(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", _FOLDER)
    config.attributes["engine"] = database.engine
    command.downgrade(config, revision)


@pytest.mark.parametrize("revision", STEPS)
def test_a_filled_database_of_every_revision_becomes_the_declared_one(stages: Stages, at: At, revision: str) -> None:
    database = at(revision)
    before = _populate(database)
    assert all(len(rows) == 1 for rows in before.values())
    upgrade(database.engine)
    assert _kept(before, _rows(database))
    assert _schema(database) == stages.declared


@pytest.mark.parametrize("revision", STEPS)
def test_every_revision_leads_back_to_the_one_before(stages: Stages, at: At, revision: str) -> None:
    database = at(revision)
    _populate(database)
    _downgrade(database, STEPS[revision])
    assert _schema(database) == stages.schema(STEPS[revision])


@pytest.mark.parametrize(("rows", "fields"), [(0, []), (1, None)])
def test_pools_of_the_first_version_are_tried_and_may_have_any_field(
    at: At, rows: int, fields: list[str] | None
) -> None:
    database = at("0001")
    _populate(database)
    with database.write() as session:
        session.execute(update(Pool).values(next_row=rows, trained_generation=5))
    upgrade(database.engine)
    with database.read() as session:
        pool, job = session.query(Pool).one(), session.query(Job).one()
        assert (pool.attempted_generation, pool.data_fields, job.passing_faults) == (5, fields, 0)


@pytest.mark.parametrize(("name", "serving"), [("mine", 0), (None, 1)])
def test_models_of_clients_go_on_the_way_back(at: At, name: str | None, serving: int) -> None:
    database = at(SCHEMA)
    _populate(database)
    with database.write() as session:
        project_id = session.query(Pool).one().project_id
        session.execute(update(Model).values(project_id=project_id, version=1, name=name))
        session.execute(update(Pool).values(model_version=1))
    _downgrade(database, "0002")
    with database.read() as session:
        assert session.execute(text("SELECT model_version FROM pools")).scalar_one() == serving
        assert session.execute(text("SELECT count(*) FROM models")).scalar_one() == serving


def test_models_of_before_are_kept_as_if_they_had_served_until_the_update(at: At) -> None:
    database = at("0013")
    _populate(database)
    began = datetime.now(UTC)
    upgrade(database.engine)
    with database.read() as session:
        served = session.query(Model).one().superseded_at
    assert served is not None
    assert began <= served <= datetime.now(UTC)


@pytest.mark.parametrize("stages", ["postgresql"], indirect=True)
def test_the_second_revision_copies_no_table_of_postgresql(at: At) -> None:
    files = text("SELECT relname, relfilenode FROM pg_class WHERE relkind = 'r' AND relname !~ '^(pg|sql)_'")
    database = at("0001")
    with database.read() as session:
        before = session.execute(files).all()
    upgrade(database.engine, "0002")
    with database.read() as session:
        assert sorted(session.execute(files).all()) == sorted(before)


def test_rows_move_between_databases_unchanged(at: At, tmp_path: Path) -> None:
    database = at(SCHEMA)
    rows = _populate(database)
    (tmp_path / "new.sqlite3").write_bytes(empty_sqlite())
    with _open(f"sqlite:///{tmp_path / 'new.sqlite3'}") as other:
        with database.snapshot() as source, other.write() as target:
            for table in portable.tables(source):
                portable.fill(target, table, portable.rows(table, portable.lines(source, table)))
        assert _rows(other) == rows
