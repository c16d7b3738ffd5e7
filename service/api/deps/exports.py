"""Lists that can be had whole, as a stream: the form by `Accept`, the rows by slices that are short reads."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Header
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from service.api.deps.runtime import Runtime
from service.codecs.exports import Column, write_csv, write_ndjson
from service.codecs.table_exports import write_parquet
from service.errors import NotAcceptableError

Position = TypeVar("Position")

# OpenAPI says it by the media types of the answer
Accept = Annotated[str | None, Header(include_in_schema=False)]
JSON, NDJSON, CSV, PARQUET = "application/json", "application/x-ndjson", "text/csv", "application/vnd.apache.parquet"
STREAMS: dict[str, Any] = {
    "description": "A page, or the whole list as a stream.",
    "content": {
        NDJSON: {"schema": {"type": "string"}},
        CSV: {"schema": {"type": "string"}},
        PARQUET: {"schema": {"type": "string", "format": "binary"}},
    },
}
_JSON = (JSON, "application/*", "*/*", "")
_SLICE = 1000


def form_of(accept: str | None) -> str:
    """The media type to answer with: the first one of `Accept` that can be made.

    Raises:
        NotAcceptableError: None can be made here.
    """
    can = {NDJSON, CSV} if find_spec("pyarrow") is None else {NDJSON, CSV, PARQUET}
    for part in (accept or "").split(","):
        wanted = part.partition(";")[0].strip().lower()
        if wanted in can:
            return wanted
        if wanted in _JSON:
            return JSON
    more = "" if PARQUET in can else f", and as {PARQUET} where the extra `arrow` of gleaner is installed"
    raise NotAcceptableError(f"This list can be read as {', '.join([JSON, *sorted(can)])}{more}.")


@dataclass(frozen=True, slots=True)
class Export(Generic[Position]):
    """A list to be streamed.

    Attributes:
        columns: The fields of a row, in order.
        read: Up to so many rows from behind a position on (None: from the first), and where the last of them is.
    """

    columns: Sequence[Column]
    read: Callable[[Session, Position | None, int], tuple[list[dict[str, Any]], Position | None]]

    def stream(self, held: Runtime, form: str) -> StreamingResponse:
        """The whole list in a form from `form_of`."""
        rows = self._rows(held)
        names = [column.name for column in self.columns]
        if form == NDJSON:
            pieces = write_ndjson(rows)
        elif form == CSV:
            pieces = write_csv(rows, names)
        else:
            pieces = write_parquet(rows, self.columns)
        return StreamingResponse(pieces, media_type=form)

    def _rows(self, held: Runtime) -> Iterator[dict[str, Any]]:
        after: Position | None = None
        while True:
            with held.database.read() as session:
                rows, after = self.read(session, after, _SLICE)
            yield from rows
            if len(rows) < _SLICE:
                return
