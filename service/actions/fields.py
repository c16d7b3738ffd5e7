"""The names of the fields in the examples' data: what a query can filter by."""

from collections.abc import Iterable, Mapping
from typing import Any

from service.catalog.names import listed
from service.codecs.rows import pointer_to
from service.db.tables import Pool
from service.errors import FieldError, InvalidRequestError

# Names beyond these are made by a program; then any name is allowed, and finds what it finds.
_MOST = 1000


def add_fields(pool: Pool, names: Iterable[str]) -> None:
    """Remember the names of fields of an upload; the pool is locked."""
    known = pool.data_fields
    if known is None or known == (every := sorted({*known, *names})):
        return
    pool.data_fields = every if len(every) <= _MOST else None


def check_filter(pool: Pool, wanted: Mapping[str, Any]) -> None:
    """Check that a filter asks for fields that exist.

    Raises:
        InvalidRequestError: no example ever had one of them.
    """
    known = pool.data_fields
    unknown = [] if known is None else [name for name in wanted if name not in known]
    if unknown:
        detail = f"No example's `data` has this field. Fields that can be filtered by: {listed(known or ())}."
        errors = [FieldError(pointer_to("filter", name), "unknown_field", detail) for name in unknown]
        raise InvalidRequestError("The filter names fields that no example has.", errors=errors)
