"""Column types and ids."""

import time
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, DateTime, Dialect, String, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType, eq
from sqlalchemy.types import TypeDecorator, TypeEngine

from service.chance import bits

_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _BASE32 for low in _BASE32]


def new_id(prefix: str) -> str:
    """A typed opaque id that sorts by time of creation: `prefix_` and 26 characters (ULID layout)."""
    # 26 digits are thirteen pairs, 130 bits of which 128 are used
    number = (time.time_ns() // 1_000_000) << 80 | bits(80)
    return f"{prefix}_" + "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])


def string(length: int | None = None) -> String:
    """Text that PostgreSQL too orders by its bytes: pages go on behind an id, and comparing is several times faster."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


class _Unseen(FunctionElement[str]):
    """A value that the planner does not see when it plans."""

    inherit_cache = True


@compiles(_Unseen)
def _as_it_is(element: _Unseen, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_Unseen, "postgresql")
def _as_subquery(element: _Unseen, compiler: SQLCompiler, **options: Any) -> str:
    return f"(SELECT {compiler.process(element.clauses, **options)})"


class ProjectKey(TypeDecorator[str]):
    """The id of a project, of which PostgreSQL takes every one for as large as another.

    It would look up how many rows the project had when the table was analyzed, take one that came later for empty, and
    join it by reading all its rows for each of them.
    """

    impl = String
    cache_ok = True

    class Comparator(TypeDecorator.Comparator[str]):
        """Hides the values that projects are compared with."""

        def operate(self, op: OperatorType, *other: Any, **how: Any) -> ColumnElement[Any]:
            """Compare with a value that is not seen, or with a column as always."""
            if op is eq and isinstance(other[0], str):
                other = (_Unseen(literal(other[0], self.type)),)
            return super().operate(op, *other, **how)

    comparator_factory = Comparator

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Ordered by bytes, as all text."""
        return dialect.type_descriptor(string(40))


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite stores it without its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times: they are a fault of the caller."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        del dialect
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Json(TypeDecorator[Any]):
    """A JSON document, stored as text in the order it came."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Encode; numbers that JSON cannot hold are refused by the encoder."""
        del dialect
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Decode."""
        del dialect
        return None if value is None else orjson.loads(value)
