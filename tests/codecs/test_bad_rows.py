"""Every kind of bad row, in every format that can say it: the row is named, the others are read, nothing is echoed."""

import json
from dataclasses import dataclass, replace

import pytest

from service.codecs.media import CHUNK_BYTES
from service.errors import FieldError, MalformedRequestError
from tests.codecs.bodies import CSV, JSON, LIMITS, NDJSON, examples, labels, vector64

MARK = "echoed"
GOOD_VECTOR = f'"{vector64(1, 2)}"'


@dataclass(frozen=True)
class Bad:
    """A row that must be refused, and how."""

    row: str
    pointer: str
    code: str
    id: str | None = "b"


EXAMPLE_ROWS = [
    Bad('{"id": "b"', "", "invalid_json", None),
    Bad('{"id": "b"} x', "", "invalid_json", None),
    Bad("{'id': 'b'}", "", "invalid_json", None),
    Bad('{"id": "b\t"}', "", "invalid_json", None),
    Bad("[]", "", "wrong_type", None),
    Bad("3", "", "wrong_type", None),
    Bad("null", "", "wrong_type", None),
    Bad("NaN", "", "not_finite", None),
    Bad(MARK, "", "invalid_json", None),
    Bad("{}", "/id", "missing_field", None),
    Bad('{"id": null}', "/id", "wrong_type", None),
    Bad('{"id": 7}', "/id", "wrong_type", None),
    Bad('{"id": ""}', "/id", "invalid_id", None),
    Bad('{"id": "b\\u0000"}', "/id", "invalid_id", None),
    Bad('{"id": "b\\n"}', "/id", "invalid_id", None),
    Bad('{"id": "b\\u0085"}', "/id", "invalid_id", None),
    Bad('{"id": "\\ud800"}', "", "invalid_text", None),
    Bad('{"id": "%s"}' % ("b" * 257), "/id", "too_long", None),
    Bad('{"id": "a"}', "/id", "duplicate_id", "a"),
    Bad('{"id": "b", "echoed": 1}', "/echoed", "unknown_field"),
    Bad('{"id": "b", "s3/cr~3t": 1}', "/s3~1cr~03t", "unknown_field"),
    Bad('{"id": "b", "%s": 1}' % ("s" * 300), "", "unknown_field"),
    Bad('{"id": "b", "\\u0007": 1}', "", "unknown_field"),
    Bad('{"id": "b", "data": []}', "/data", "wrong_type"),
    Bad('{"id": "b", "data": "echoed"}', "/data", "wrong_type"),
    Bad('{"id": "b", "data": {"x": NaN}}', "", "not_finite", None),
    Bad('{"id": "b", "data": {"x": -Infinity}}', "", "not_finite", None),
    Bad('{"id": "b", "data": {"x": 1e999}}', "/data", "not_finite"),
    Bad('{"id": "b", "data": {"x": 9223372036854775808}}', "/data/x", "out_of_range"),
    Bad('{"id": "b", "data": {"x": [-9223372036854775809]}}', "/data/x/0", "out_of_range"),
    Bad('{"id": "b", "data": {"x": %s}}' % ("9" * 1500), "/data/x", "out_of_range"),
    Bad('{"id": "b", "data": {"x": %s}}' % ("9" * 5000), "/data", "out_of_range"),
    Bad('{"id": "b", "label": 9223372036854775808}', "/label", "out_of_range"),
    Bad('{"id": "b", "data": {"x": "echoed\\u0000"}}', "/data/x", "invalid_text"),
    Bad('{"id": "b", "data": {"x": [1, {"y": "\\u0000"}]}}', "/data/x/1/y", "invalid_text"),
    Bad('{"id": "b", "data": {"x": {"\\u0000": 1}}}', "/data/x", "invalid_text"),
    Bad('{"id": "b", "data": {"x": "echoed\\udc00"}}', "", "invalid_text", None),
    Bad('{"id": "b", "data": {"\\ud800x": 1}}', "", "invalid_text", None),
    Bad('{"id": "b", "data": {"x": %s}}' % ("[" * 70 + "]" * 70), "/data", "too_deep"),
    Bad('{"id": "b", "label": true}', "/label", "wrong_type"),
    Bad('{"id": "b", "label": ["x", 1]}', "/label/1", "wrong_type"),
    Bad('{"id": "b", "label": ["x", "\\u0000"]}', "/label/1", "invalid_text"),
    Bad('{"id": "b", "label": 1e400}', "/label", "not_finite"),
    Bad('{"id": "b", "annotator": ""}', "/annotator", "invalid_text"),
    Bad('{"id": "b", "annotator": "a\\u0001"}', "/annotator", "invalid_text"),
    Bad('{"id": "b", "annotator": "%s"}' % ("a" * 257), "/annotator", "too_long"),
    Bad('{"id": "b", "split": "echoed"}', "/split", "invalid_value"),
    Bad('{"id": "b", "group": ""}', "/group", "invalid_text"),
    Bad('{"id": "b", "priority": "1"}', "/priority", "wrong_type"),
    Bad('{"id": "b", "priority": 1e999}', "/priority", "not_finite"),
    Bad('{"id": "b", "vector": [1, 2]}', "/vector", "unknown_field"),
]

VECTORS = [
    Bad("null", "/vector", "wrong_type"),
    Bad("{}", "/vector", "wrong_type"),
    Bad("[1, true]", "/vector/1", "wrong_type"),
    Bad('[1, "2"]', "/vector/1", "wrong_type"),
    Bad("[1, null]", "/vector/1", "wrong_type"),
    Bad("[]", "/vector", "wrong_dimensions"),
    Bad("[1]", "/vector", "wrong_dimensions"),
    Bad("[1, 2, 3]", "/vector", "wrong_dimensions"),
    Bad("[1, 1e999]", "/vector/1", "not_finite"),
    Bad("[1, 1e39]", "/vector/1", "not_finite"),
    Bad("[-1e300, 1e39]", "/vector/0", "not_finite"),
    Bad("[1, NaN]", "", "not_finite", None),
    Bad("[1, Infinity]", "", "not_finite", None),
    Bad('""', "/vector", "wrong_dimensions"),
    Bad(f'"{vector64(1)}"', "/vector", "wrong_dimensions"),
    Bad(f'"{vector64(1, 2, 3)}"', "/vector", "wrong_dimensions"),
    Bad('"AAAAAAAAAAA"', "/vector", "invalid_base64"),
    Bad('"AAAAAAAAAA=A"', "/vector", "invalid_base64"),
    Bad('"AAAA\\nAAAAAAA="', "/vector", "invalid_base64"),
    Bad('"AAAAAAAAA_-="', "/vector", "invalid_base64"),
    Bad('"echoedé"', "/vector", "invalid_base64"),
    Bad(f'"{vector64(float("nan"), 2)}"', "/vector/0", "not_finite"),
    Bad(f'"{vector64(1, float("inf"))}"', "/vector/1", "not_finite"),
]

LABEL_ROWS = [
    Bad("{}", "/example_id", "missing_field", None),
    Bad('{"example_id": "", "label": "x"}', "/example_id", "invalid_id", None),
    Bad('{"example_id": "b"}', "/label", "missing_field"),
    Bad('{"example_id": "b", "skip": false}', "/label", "missing_field"),
    Bad('{"example_id": "b", "skip": true, "label": "x"}', "/skip", "invalid_value"),
    Bad('{"example_id": "b", "skip": 1}', "/skip", "wrong_type"),
    Bad('{"example_id": "b", "label": null}', "/label", "wrong_type"),
    Bad('{"example_id": "b", "label": "\\u0000"}', "/label", "invalid_text"),
    Bad('{"example_id": "b", "label": "x", "annotator": "\\u0000"}', "/annotator", "invalid_text"),
    Bad('{"example_id": "b", "label": "x", "batch_id": ""}', "/batch_id", "invalid_text"),
    Bad('{"example_id": "b", "label": "x", "source": "echoed"}', "/source", "invalid_value"),
    Bad('{"example_id": "b", "label": "x", "id": "b"}', "/id", "unknown_field"),
    Bad('{"example_id": "b", "label": "x", "labeled_at": 1}', "/labeled_at", "wrong_type"),
    Bad('{"example_id": "b", "label": "x", "labeled_at": "yesterday"}', "/labeled_at", "invalid_time"),
    Bad('{"example_id": "b", "label": "x", "labeled_at": "2026-02-30T00:00:00Z"}', "/labeled_at", "invalid_time"),
    Bad('{"example_id": "b", "label": "x", "labeled_at": "2026-01-01T00:00:00"}', "/labeled_at", "invalid_time"),
    Bad('{"example_id": "b", "label": "x", "labeled_at": "0001-01-01T00:00:00+09:00"}', "/labeled_at", "invalid_time"),
]


def document(name: str, rows: list[str]) -> str:
    """A JSON document of rows."""
    return f'{{"{name}": [{",".join(rows)}]}}'


def expect(errors: list[FieldError], bad: Bad, line: int) -> None:
    """One error, as the table says, that repeats no value."""
    (error,) = errors
    assert (error.line, error.id, error.pointer, error.code) == (line, bad.id, bad.pointer, bad.code)
    assert MARK not in error.detail


@pytest.mark.parametrize(
    ("bad", "media_type"),
    # what is no JSON breaks a whole document
    [(bad, kind) for bad in EXAMPLE_ROWS for kind in (NDJSON, JSON) if kind == NDJSON or bad.code != "invalid_json"],
    ids=lambda value: value.row[:40] if isinstance(value, Bad) else value,
)
def test_examples(bad: Bad, media_type: str) -> None:
    rows = ['{"id": "a"}', bad.row, '{"id": "c"}']
    body = "\n".join(rows) if media_type == NDJSON else document("examples", rows)
    (block,) = examples(body.encode(), media_type)
    assert [row.id for row in block.rows] == ["a", "c"]
    assert block.lines == [1, 3]
    assert block.received == 3
    expect(block.errors, bad, line=2)


def test_the_place_where_json_breaks_is_told() -> None:
    (block,) = examples(b'{"id": "a"}\n{"id": "b" "data": {}}\n', NDJSON)
    assert [error.detail for error in block.errors] == ["Not valid JSON at character 12."]
    limits = replace(LIMITS, max_json_bytes=4 * CHUNK_BYTES)
    for space in (0, CHUNK_BYTES, 3 * CHUNK_BYTES):
        for start, rest in (('{"examples": [', "{'id': 1}]}"), ('{"examples"', "[]}"), ("{", "'examples': []}")):
            place = len(start) + space + (2 if "id" in rest else 1)
            with pytest.raises(MalformedRequestError, match=f"JSON at character {place}\\.$"):
                list(examples((start + " " * space + rest).encode(), JSON, limits=limits))


@pytest.mark.parametrize("bad", VECTORS, ids=lambda bad: bad.row[:40])
@pytest.mark.parametrize("media_type", [NDJSON, JSON])
def test_vectors(bad: Bad, media_type: str) -> None:
    values = [GOOD_VECTOR, bad.row, "[3, 4]"]
    rows = [f'{{"id": "{key}", "vector": {value}}}' for key, value in zip("abc", values, strict=True)]
    body = "\n".join(rows) if media_type == NDJSON else document("examples", rows)
    (block,) = examples(body.encode(), media_type, dimensions=2)
    assert [row.id for row in block.rows] == ["a", "c"]
    assert block.vectors is not None
    assert block.vectors.numbers.tolist() == [[1, 2], [3, 4]]
    expect(block.errors, bad, line=2)


@pytest.mark.parametrize("bad", LABEL_ROWS, ids=lambda bad: bad.row[:70])
@pytest.mark.parametrize("media_type", [NDJSON, JSON])
def test_labels(bad: Bad, media_type: str) -> None:
    rows = ['{"example_id": "a", "label": "x"}', bad.row, '{"example_id": "a", "skip": true}']
    body = "\n".join(rows) if media_type == NDJSON else document("labels", rows)
    (block,) = labels(body.encode(), media_type)
    assert block.lines == [1, 3]
    expect(block.errors, bad, line=2)


CSV_EXAMPLES = [
    ("id", "b,extra", Bad("", "", "wrong_columns", None)),
    ("id,text", "b", Bad("", "", "wrong_columns", None)),
    ("text,id", "hi,", Bad("", "/id", "missing_field", None)),
    ("id", "b\0", Bad("", "/id", "invalid_id", None)),
    ("id", '"b\nb"', Bad("", "/id", "invalid_id", None)),
    ("id", "b" * 257, Bad("", "/id", "too_long", None)),
    ("id", "a", Bad("", "/id", "duplicate_id", "a")),
    ("id,text", "b,echoed\0", Bad("", "/data/text", "invalid_text")),
    ("id,split", "b,echoed", Bad("", "/split", "invalid_value")),
    ("id,priority", "b,echoed", Bad("", "/priority", "wrong_type")),
    ("id,priority", "b,1_0", Bad("", "/priority", "wrong_type")),
    ("id,priority", "b, 1", Bad("", "/priority", "wrong_type")),
    ("id,priority", "b,inf", Bad("", "/priority", "not_finite")),
    ("id,annotator", "b," + "x" * 257, Bad("", "/annotator", "too_long")),
    ("id,vector", f"b,{vector64(1)}", Bad("", "/vector", "unknown_field")),
]

CSV_VECTORS = [
    ("id,vector", "b,", Bad("", "/vector", "missing_field")),
    ("id,vector", "b,echoed", Bad("", "/vector", "invalid_base64")),
    ("id,vector", f"b,{vector64(1)}", Bad("", "/vector", "wrong_dimensions")),
    ("id,x0", "b,1", Bad("", "/vector", "wrong_dimensions")),
    ("id,x0,x1", "b,,", Bad("", "/vector", "missing_field")),
    ("id,x0,x1", "b,1,", Bad("", "/vector/1", "wrong_type")),
    ("id,x0,x1", "b,1,echoed", Bad("", "/vector/1", "wrong_type")),
    ("id,x1,x0", "b,0x1,2", Bad("", "/vector/1", "wrong_type")),
    ("id,x0,x1", "b,1_0,2", Bad("", "/vector/0", "wrong_type")),
    ("id,x0,x1", "b,1,nan", Bad("", "/vector/1", "not_finite")),
    ("id,x0,x1", "b,1e999,2", Bad("", "/vector/0", "not_finite")),
    ("id,x0,x1", "b,1,1e39", Bad("", "/vector/1", "not_finite")),
]

CSV_LABELS = [
    ("example_id,label", ",x", Bad("", "/example_id", "missing_field", None)),
    ("example_id,label", "b,", Bad("", "/label", "missing_field")),
    ("example_id,label,skip", "b,x,true", Bad("", "/skip", "invalid_value")),
    ("example_id,label,skip", "b,x,echoed", Bad("", "/skip", "wrong_type")),
    ("example_id,label,source", "b,x,echoed", Bad("", "/source", "invalid_value")),
    ("example_id,label,labeled_at", "b,x,echoed", Bad("", "/labeled_at", "invalid_time")),
    ("example_id,label,labeled_at", "b,x,2026-01-01T00:00:00", Bad("", "/labeled_at", "invalid_time")),
]


@pytest.mark.parametrize(("header", "row", "bad"), CSV_EXAMPLES)
def test_csv_examples(header: str, row: str, bad: Bad) -> None:
    width = header.count(",")
    first = "x,a" if header.startswith("text") else "a" + "," * width
    (block,) = examples(f"{header}\n{first}\n{row}\n".encode(), CSV)
    assert [good.id for good in block.rows] == ["a"]
    expect(block.errors, bad, line=3)


@pytest.mark.parametrize(("header", "row", "bad"), CSV_VECTORS)
def test_csv_vectors(header: str, row: str, bad: Bad) -> None:
    (block,) = examples(f"{header}\n{row}\n".encode(), CSV, dimensions=2)
    assert block.rows == []
    assert block.vectors is not None
    assert block.vectors.numbers.shape == (0, 2)
    expect(block.errors, bad, line=2)


@pytest.mark.parametrize(("header", "row", "bad"), CSV_LABELS)
def test_csv_labels(header: str, row: str, bad: Bad) -> None:
    (block,) = labels(f"{header}\n{row}\n".encode(), CSV)
    expect(block.errors, bad, line=2)


def test_each_missing_vector_is_named() -> None:
    body = "\n".join(json.dumps({"id": str(i)}) for i in range(3))
    (block,) = examples(body.encode(), dimensions=2)
    assert [(error.line, error.id, error.code) for error in block.errors] == [
        (1, "0", "missing_field"),
        (2, "1", "missing_field"),
        (3, "2", "missing_field"),
    ]


def test_a_duplicate_is_found_blocks_later() -> None:
    body = "\n".join(json.dumps({"id": str(i % 2500)}) for i in range(2600))
    errors = [error for block in examples(body.encode()) for error in block.errors]
    assert [(error.line, error.id) for error in errors] == [(2501 + i, str(i)) for i in range(100)]
    assert {error.code for error in errors} == {"duplicate_id"}


def test_the_id_of_a_refused_row_is_still_free() -> None:
    (block,) = examples(b'{"id": "a", "vector": [1]}\n{"id": "a", "vector": [1, 2]}', dimensions=2)
    assert block.lines == [2]
    assert [error.code for error in block.errors] == ["wrong_dimensions"]
