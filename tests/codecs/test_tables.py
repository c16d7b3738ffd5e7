import gzip
import math
import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from backports import zstd
from msgspec import UNSET

from service.codecs.children import ARROW as CHILDREN
from service.codecs.rows import ExampleRow
from service.codecs.table_frames import Place, Rows, Task, read_frames
from service.errors import InvalidRequestError, PayloadTooLargeError
from tests.codecs.bodies import ARROW, LIMITS, PARQUET, examples
from tests.codecs.tables import table_body, vectors

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BOTH = pytest.mark.parametrize("media_type", [ARROW, PARQUET])


def codes(body: bytes, media_type: str = ARROW, *, dimensions: int | None = 2) -> list[tuple[int | None, str, str]]:
    """Line, pointer and code of each bad row."""
    blocks = examples(body, media_type, dimensions=dimensions)
    return [(error.line, error.pointer, error.code) for block in blocks for error in block.errors]


@BOTH
def test_all_fields_of_an_example(media_type: str) -> None:
    columns = {
        "id": pa.array(["a", "b"]),
        "vector": vectors([[1, 2], [3, 4]], pa.list_(pa.float32(), 2)),
        "label": pa.array(["x", None]),
        "annotator": pa.array(["ann", None], type=pa.large_string()),
        "split": pa.array(["test", None]).dictionary_encode(),
        "group": ["g", None],
        "priority": [2, None],
        "text": ["t", None],
        "n": pa.array([7, None], type=pa.uint8()),
        "share": pa.array([0.5, None], type=pa.float16()),
        "yes": [True, None],
        "tags": [["x", None], None],
        "at": pa.array([AT, None], type=pa.timestamp("ms", "Europe/Berlin")),
        "day": [date(2026, 1, 2), None],
        "deep": [{"a": [{"b": 1.5}]}, None],
        "nothing": pa.nulls(2),
    }
    (block,) = examples(table_body(columns, media_type), media_type, dimensions=2)
    data = {
        "text": "t",
        "n": 7,
        "share": 0.5,
        "yes": True,
        "tags": ["x", None],
        "at": "2026-01-02T03:04:05.000Z",
        "day": "2026-01-02",
        "deep": {"a": [{"b": 1.5}]},
    }
    first = ExampleRow("a", data=data, label="x", annotator="ann", split="test", group="g", priority=2.0)
    assert block.rows == [first, ExampleRow("b")]
    assert block.vectors is not None
    assert block.vectors.numbers.tolist() == [[1, 2], [3, 4]]
    assert block.lines == [1, 2]


LIST, LARGE, FIXED = pa.list_, pa.large_list, lambda kind: pa.list_(kind, 3)


@pytest.mark.parametrize("number", [pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.int64()])
@pytest.mark.parametrize("kind", [LIST, LARGE, FIXED])
def test_vectors_of_every_type(kind: Any, number: pa.DataType) -> None:
    column = vectors([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]], kind(number)).slice(1)
    (block,) = examples(table_body({"id": ["a", "b", "c"], "vector": column}), ARROW, dimensions=3)
    assert block.vectors is not None
    assert block.vectors.numbers.dtype == np.float32
    assert block.vectors.numbers.tolist() == [[3, 4, 5], [6, 7, 8], [9, 10, 11]]


def placed(body: bytes, dimensions: int) -> list[bytes | None]:
    """What stands in the body where the vectors of each frame are said to be; None for those that were sent."""
    task = Task("arrow", "examples", dimensions, max_rows=5000, max_decoded_bytes=1 << 30, max_row_bytes=1 << 20,
                memory_bytes=1 << 28)  # fmt: skip
    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.flush()
        with CHILDREN.at_work(msgspec.json.encode(task), file.fileno()) as child:
            sent = [frame.vectors for frame in read_frames(child.output) if isinstance(frame, Rows)]
    return [body[at.start : at.start + at.size] if isinstance(at, Place) else None for at in sent]


@pytest.mark.parametrize("kind", [LIST, LARGE, FIXED])
def test_vectors_that_stand_in_the_body_are_not_sent(kind: Any) -> None:
    numbers = np.arange(1500 * 3, dtype="<f4").reshape(-1, 3)
    columns = {"id": [str(i) for i in range(1500)], "vector": vectors(list(numbers), kind(pa.float32()))}
    assert placed(table_body(columns), 3) == [numbers[:1000].tobytes(), numbers[1000:].tobytes()]
    assert placed(table_body(columns, compression="zstd"), 3) == [None, None]
    wide = {**columns, "vector": vectors(list(numbers), kind(pa.float64()))}
    assert placed(table_body(wide), 3) == [None, None]
    expected = [numbers[:1000].tolist(), numbers[1000:].tolist()]
    for body in (table_body(columns), table_body(columns, compression="zstd"), table_body(wide)):
        for encoding, sent in (("identity", body), ("gzip", gzip.compress(body))):
            blocks = list(examples(sent, ARROW, dimensions=3, encoding=encoding))
            assert [block.vectors.numbers.tolist() for block in blocks if block.vectors is not None] == expected


@BOTH
def test_vectors_in_columns_of_numbers(media_type: str) -> None:
    columns = {"x1": [1.5, None, 3, 4], "id": ["a", "b", "c", "d"], "x0": pa.array([0, None, None, 7], type=pa.int16())}
    body = table_body(columns, media_type)
    (block,) = examples(body, media_type, dimensions=2)
    assert block.vectors is not None
    assert block.vectors.numbers.tolist() == [[0, 1.5], [7, 4]]
    assert [(e.line, e.id, e.pointer, e.code) for e in block.errors] == [
        (2, "b", "/vector", "missing_field"),
        (3, "c", "/vector/0", "not_finite"),
    ]
    (block,) = examples(body, media_type)
    assert [row.data for row in block.rows] == [{"x1": 1.5, "x0": 0}, UNSET, {"x1": 3}, {"x1": 4, "x0": 7}]


@BOTH
@pytest.mark.parametrize("coding", [gzip.compress, zstd.compress])
def test_compressed_tables(media_type: str, coding: Any) -> None:
    body = coding(table_body({"id": ["a", "b"]}, media_type))
    (block,) = examples(body, media_type, encoding=coding.__module__.rpartition(".")[2].lstrip("_").split("_")[0])
    assert [row.id for row in block.rows] == ["a", "b"]


@BOTH
def test_large_tables_come_in_blocks(media_type: str) -> None:
    rows = 4321
    numbers = np.random.default_rng(0).standard_normal((rows, 5), dtype=np.float32)
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), 5)
    body = table_body({"id": [str(i) for i in range(rows)], "vector": fixed}, media_type)
    blocks = list(examples(body, media_type, dimensions=5))
    assert max(len(block.rows) for block in blocks) == 1000
    assert [row.id for block in blocks for row in block.rows] == [str(i) for i in range(rows)]
    assert [line for block in blocks for line in block.lines] == list(range(1, rows + 1))
    read = [block.vectors.numbers for block in blocks if block.vectors is not None]
    assert np.array_equal(np.concatenate(read), numbers)


@pytest.mark.parametrize("kind", [LIST, lambda number: pa.list_(number, 2)])
@pytest.mark.parametrize(
    ("vector", "pointer", "code"),
    [
        ([1.0, math.nan], "/vector/1", "not_finite"),
        ([-math.inf, 1.0], "/vector/0", "not_finite"),
        ([1e39, 1.0], "/vector/0", "not_finite"),
        ([1.0, None], "/vector/1", "not_finite"),
        (None, "/vector", "missing_field"),
    ],
)
def test_bad_vectors_are_bad_rows(kind: Any, vector: Any, pointer: str, code: str) -> None:
    columns = {"id": ["a", "b", "c"], "vector": vectors([[1, 2], vector, [3, 4]], kind(pa.float64()))}
    (block,) = examples(table_body(columns), ARROW, dimensions=2)
    assert [(e.line, e.id, e.pointer, e.code) for e in block.errors] == [(2, "b", pointer, code)]
    assert [row.id for row in block.rows] == ["a", "c"]
    assert block.vectors is not None
    assert block.vectors.numbers.tolist() == [[1, 2], [3, 4]]


def test_vectors_of_other_lengths_are_bad_rows() -> None:
    columns = {"id": ["a", "b", "c", "d"], "vector": vectors([[1, 2, 3], [4, 5], [], [6, 7]])}
    (block,) = examples(table_body(columns), ARROW, dimensions=2)
    assert [(e.line, e.code) for e in block.errors] == [(1, "wrong_dimensions"), (3, "wrong_dimensions")]
    assert block.vectors is not None
    assert block.vectors.numbers.tolist() == [[4, 5], [6, 7]]
    three = table_body({"id": ["a"], "vector": vectors([[1, 2, 3]], pa.list_(pa.float32(), 3))})
    assert codes(three) == [(1, "/vector", "wrong_dimensions")]
    assert codes(three, dimensions=None) == [(1, "/vector", "unknown_field")]
    assert codes(table_body({"id": ["a"]})) == [(1, "/vector", "missing_field")]
    assert codes(table_body({"id": ["a"], "x0": [1.0]})) == [(1, "/vector", "wrong_dimensions")]


@BOTH
@pytest.mark.parametrize(
    ("column", "cell", "pointer", "code"),
    [
        ("id", None, "/id", "missing_field"),
        ("id", "", "/id", "invalid_id"),
        ("id", "x\0", "/id", "invalid_id"),
        ("id", "x" * 257, "/id", "too_long"),
        ("id", "a", "/id", "duplicate_id"),
        ("split", "train", "/split", "invalid_value"),
        ("group", "x\n", "/group", "invalid_text"),
        ("text", "x\0", "/data/text", "invalid_text"),
        ("text", "x" * 6000, "", "too_long"),
        ("priority", math.nan, "/priority", "not_finite"),
        ("n", math.inf, "/data/n", "not_finite"),
        ("n", 2**64 - 1, "/data/n", "out_of_range"),
        ("deep", [{"a": math.nan}], "/data/deep", "not_finite"),
    ],
)
def test_bad_cells_are_bad_rows(media_type: str, column: str, cell: Any, pointer: str, code: str) -> None:
    columns: dict[str, Any] = {"id": ["a", "b"]}
    kind = pa.uint64() if cell == 2**64 - 1 else None
    columns[column] = pa.array([columns["id"][0] if column == "id" else None, cell], type=kind)
    assert codes(table_body(columns, media_type), media_type, dimensions=None) == [(2, pointer, code)]


STRUCT = pa.struct([("a", pa.binary())])
DEEP = pa.int8()
for _ in range(12):
    DEEP = pa.list_(DEEP)


@BOTH
@pytest.mark.parametrize(
    ("column", "values", "pointer"),
    [
        ("id", [1], "/id"),
        ("id", [b"a"], "/id"),
        ("vector", ["AACAPw=="], "/vector"),
        ("vector", [[["a"]]], "/vector"),
        ("vector", [[True]], "/vector"),
        ("priority", ["1"], "/priority"),
        ("annotator", [1], "/annotator"),
        ("label", [[1]], "/label"),
        ("x", [b"a"], "/data/x"),
        ("x", [Decimal("1.5")], "/data/x"),
        ("x", [time(1)], "/data/x"),
        ("x", pa.array([{"a": b"x"}], type=STRUCT), "/data/x"),
        ("x", pa.array([[("a", 1)]], type=pa.map_(pa.string(), pa.int8())), "/data/x"),
        ("x", pa.array([None], type=DEEP), "/data/x"),
        ("x", pa.array([b"a" * 16], type=pa.binary(16)), "/data/x"),
    ],
)
def test_other_types_are_refused(media_type: str, column: str, values: Any, pointer: str) -> None:
    columns = {"id": ["a"], column: values}
    with pytest.raises(InvalidRequestError) as raised:
        list(examples(table_body(columns, media_type), media_type, dimensions=2))
    assert [(error.pointer, error.code) for error in raised.value.errors] == [(pointer, "wrong_type")]


@BOTH
@pytest.mark.parametrize(
    ("names", "code"),
    [(["text"], "missing_field"), (["id", "id"], "duplicate_column"), (["id", ""], "invalid_text"),
     (["id", "a\0"], "invalid_text"), (["id", "x1"], "missing_field"), (["id", "vector", "x0"], "duplicate_column")],
)  # fmt: skip
def test_wrong_columns_are_refused(media_type: str, names: list[str], code: str) -> None:
    table = pa.table([pa.array(["a"])] * len(names), names=names)
    with pytest.raises(InvalidRequestError) as raised:
        list(examples(table_body(table, media_type), media_type, dimensions=2))
    assert [error.code for error in raised.value.errors] == [code]


@BOTH
def test_limits_hold(media_type: str) -> None:
    body = table_body({"id": [str(i) for i in range(5001)]}, media_type)
    with pytest.raises(PayloadTooLargeError, match="5000 rows"):
        list(examples(body, media_type))
    limits = replace(LIMITS, max_decoded_bytes=20_000)
    with pytest.raises(PayloadTooLargeError, match="20000 bytes"):
        list(examples(table_body({"id": [str(i) for i in range(5000)]}, media_type), media_type, limits=limits))
    few = table_body({"id": [str(i) for i in range(51)], "vector": vectors([[0.0] * 99] * 51)}, media_type)
    with pytest.raises(PayloadTooLargeError, match="20000 bytes"):
        list(examples(few, media_type, dimensions=99, limits=limits))


@BOTH
def test_a_table_without_rows_is_refused(media_type: str) -> None:
    with pytest.raises(InvalidRequestError, match="no rows"):
        list(examples(table_body({"id": pa.array([], type=pa.string())}, media_type), media_type))
    with pytest.raises(InvalidRequestError, match="no rows"):
        list(examples(b"", media_type))


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_text_of_every_kind(kind: pa.DataType) -> None:
    column = pa.array(["a", "a longer text than a view holds itself"], type=kind)
    (block,) = examples(table_body({"id": column, "t": column}), ARROW)
    assert [row.data for row in block.rows] == [{"t": row.id} for row in block.rows]
