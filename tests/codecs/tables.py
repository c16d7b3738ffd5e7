"""Bodies of Arrow and Parquet for the tests."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.codecs.bodies import ARROW


def table_body(columns: Mapping[str, Any] | pa.Table, media_type: str = ARROW, **options: Any) -> bytes:
    """A table as a body; `options` go to the writer."""
    table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
    out = io.BytesIO()
    if media_type == ARROW:
        with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            writer.write_table(table)
    else:
        pq.write_table(table, out, **options)
    return out.getvalue()


def vectors(rows: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    """A column of vectors, as lists of float32 unless another type is asked for."""
    return pa.array(rows, type=kind or pa.list_(pa.float32()))


def table_process() -> int:
    """The pid of the process that decodes the tables of this one, once it was needed."""
    ours = [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
    (found,) = (pid for pid in ours if b"service.codecs.arrow_process" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return int(found)


def decoder() -> int:
    """The pid of its only child."""
    parent = table_process()
    return int(Path(f"/proc/{parent}/task/{parent}/children").read_text())
