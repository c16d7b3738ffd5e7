"""Databases of PostgreSQL that several tests use, one after the other: to empty one is quicker than to make one."""

from typing import Any

import psycopg

from tests.support.postgres import PostgresServer
from tests.support.redis_server import wait_until

# The planner takes a table of which it knows nothing for ten pages at least: up to there a used one is as a new one.
_MOST_BYTES = 10 * 8192
_PATIENCE_SECONDS = 10.0
_END_OTHERS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# Everything that anybody has made, altered, analyzed or vacuumed differs here, down to the statistics of a table.
_STATE = """
    SELECT (SELECT sum(hashtextextended(c::text, 0)) FROM pg_class c WHERE c.oid >= 16384),
           (SELECT sum(hashtextextended(a::text, 0)) FROM pg_attribute a WHERE a.attrelid >= 16384),
           (SELECT sum(hashtextextended(t::text, 0)) FROM pg_trigger t),
           (SELECT sum(hashtextextended(p::text, 0)) FROM pg_proc p WHERE p.oid >= 16384),
           (SELECT sum(hashtextextended(n::text, 0)) FROM pg_namespace n),
           (SELECT count(*) FROM pg_constraint),
           (SELECT count(*) FROM pg_statistic WHERE starelid >= 16384),
           (SELECT count(*) FROM pg_db_role_setting WHERE setdatabase = d.oid), datconnlimit
    FROM pg_database d WHERE datname = current_database()
"""
_SIZES = """
    SELECT relname, pg_relation_size(oid), relkind = 'r' AND relname <> 'alembic_version'
    FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'i', 't') AND pg_relation_size(oid) > 0
"""
_SETTINGS = ("SET session_replication_role = replica", "SET track_counts = off")  # no foreign keys, no traces
_RESTART = ("SELECT setval(seqrelid, seqstart, false) FROM pg_sequence", "SELECT pg_stat_reset()")


class SpareDatabases:
    """Databases of one server, with the present schema and no rows."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._new: tuple[Any, ...] | None = None
        self._spare: list[str] = []

    def take(self) -> str:
        """The URL of an empty database."""
        if self._spare:
            return self._spare.pop()
        url = self._server.create_database()
        if self._new is None:
            with _connect(url) as connection:
                self._new = _state(connection)
        return url

    def give_back(self, url: str) -> None:
        """Empty a database that the test is done with; drop it if it is no longer as a new one would be."""
        if self._is_emptied(url):
            self._spare.append(url)
        else:
            self._server.drop_database(url)

    def _is_emptied(self, url: str) -> bool:
        with _connect(url) as connection:
            wait_until(lambda: connection.execute(_END_OTHERS).fetchone() == (0,), _PATIENCE_SECONDS)
            if _state(connection) != self._new:
                return False
            sizes = connection.execute(_SIZES).fetchall()
            if max(size for _, size, _ in sizes) > _MOST_BYTES:
                return False
            tables = sorted(name for name, _, holds_rows in sizes if holds_rows)
            connection.execute("; ".join([*_SETTINGS, *map(_delete, tables), *_RESTART]))
        return True


def _connect(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def _delete(table: str) -> str:
    return f'DELETE FROM "{table}"'  # noqa: S608  # a table of ours, none of a stranger's naming


def _state(connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[Any, ...] | None:
    return connection.execute(_STATE).fetchone()
