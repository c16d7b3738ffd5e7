import codecs
import contextlib
import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import IO, cast

import numpy as np
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from service.codecs.bodies import decode_examples
from service.codecs.json_rows import split_lines
from service.codecs.limits import Limits
from service.codecs.media import CHUNK_BYTES, parse_media, read_chunks
from service.codecs.rows import ExampleRow, LabelRow, content_hash, features_hash
from service.errors import (
    GleanerError,
    InvalidRequestError,
    MalformedRequestError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
)
from service.settings import Settings
from tests.codecs.bodies import CSV, JSON, LIMITS, NDJSON, examples, labels, vector64

ROWS = b'{"id": "a"}\n{"id": "b"}\n'


def ids(body: bytes, media_type: str = NDJSON, *, encoding: str | None = None) -> list[str]:
    """The ids of the good rows; there are no others."""
    blocks = list(examples(body, media_type, encoding=encoding))
    assert not any(block.errors for block in blocks)
    return [row.id for block in blocks for row in block.rows]


def test_all_fields_of_an_example() -> None:
    row = {
        "id": "é 1",
        "data": {"text": "x", "n": [1, None, {"a": -0.5}]},
        "label": ["x", "y"],
        "annotator": "ann",
        "split": "test",
        "group": "g",
        "priority": 2,
    }
    (block,) = examples(json.dumps(row).encode())
    assert block.rows == [ExampleRow(**row)]  # type: ignore[arg-type]  # a mixed dict
    (block,) = examples(b'{"id": "a", "group": null, "priority": null}')
    assert block.rows == [ExampleRow("a")]
    assert block.vectors is None


@pytest.mark.parametrize("label", ["x", 3, 0.5, ["x"], []])
def test_labels_of_every_task(label: object) -> None:
    (block,) = labels(json.dumps({"example_id": "a", "label": label}).encode())
    assert block.rows[0].label == label
    assert type(block.rows[0].label) is type(label)


def test_all_fields_of_a_label_in_csv() -> None:
    header = "example_id,label,skip,annotator,source,batch_id,labeled_at"
    (block,) = labels(
        f"{header}\na,1.5,false,ann,automated,job_1,2026-01-02T03:04:05+02:00\nb,,True,,,,\n".encode(), CSV
    )
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    assert block.rows == [
        LabelRow("a", "1.5", annotator="ann", source="automated", batch_id="job_1", labeled_at=at),
        LabelRow("b", skip=True),
    ]


def test_example_columns_of_csv() -> None:
    body = 'id,label,split,priority,note,vector\na,x,test,-1.5e1,"two\nlines, ""quoted""",\nb,,,,,\n'
    (block,) = examples(body.encode(), CSV)
    assert block.rows == [
        ExampleRow("a", data={"note": 'two\nlines, "quoted"'}, label="x", split="test", priority=-15),
        ExampleRow("b"),
    ]
    assert block.lines == [2, 4]


def test_vector_columns_may_stand_anywhere() -> None:
    (block,) = examples(b"x1,id,x0,x\n2,a,1e0,data\n", CSV, dimensions=2)
    assert block.vectors is not None
    assert block.vectors.numbers.tolist() == [[1, 2]]
    assert block.rows[0].data == {"x": "data"}


def test_without_vectors_such_columns_are_data() -> None:
    (block,) = examples(b"id,x1\na,2\n", CSV)
    assert block.rows == [ExampleRow("a", data={"x1": "2"})]


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3), min_size=1)
)
def test_every_way_to_send_a_vector_is_the_same(vectors: list[list[float]]) -> None:
    expected = np.array(vectors, dtype=np.float32)
    as_lists = [{"id": str(i), "vector": vector} for i, vector in enumerate(vectors)]
    as_text = [{"id": str(i), "vector": vector64(*vector)} for i, vector in enumerate(vectors)]
    columns = "".join(f"{i},{','.join(map(repr, vector))}\n" for i, vector in enumerate(vectors))
    for body, media_type in [
        ("\n".join(map(json.dumps, as_lists)), NDJSON),
        ("\n".join(map(json.dumps, as_text)), NDJSON),
        (json.dumps({"examples": as_lists}), JSON),
        ("id,x0,x1,x2\n" + columns, CSV),
    ]:
        (block,) = examples(body.encode(), media_type, dimensions=3)
        assert block.errors == []
        assert block.vectors is not None
        assert block.vectors.numbers.dtype == np.dtype("<f4")
        np.testing.assert_array_equal(block.vectors.numbers, expected)


def test_blank_lines_are_skipped_but_counted() -> None:
    (block,) = examples(b'\n  \r\n{"id": "a"}\r\n\n{"id": 1}\n\t\n{"id": "c"}')
    assert block.lines == [3, 7]
    assert [error.line for error in block.errors] == [5]


@pytest.mark.parametrize("media_type", [NDJSON, JSON, CSV])
def test_a_byte_order_mark_is_dropped(media_type: str) -> None:
    body = {NDJSON: b'{"id": "a"}', JSON: b'{"examples": [{"id": "a"}]}', CSV: b"id\na\n"}[media_type]
    assert ids(codecs.BOM_UTF8 + body, media_type) == ["a"]


@given(st.lists(st.binary(max_size=9).filter(lambda line: b"\n" not in line)), st.integers(1, 7))
def test_lines_do_not_depend_on_chunks(lines: list[bytes], size: int) -> None:
    body = b"\n".join(lines)
    chunks = (body[i : i + size] for i in range(0, len(body), size))
    expected = [line if len(line) <= 5 else None for line in body.split(b"\n")]
    if not body or body.endswith(b"\n"):
        expected.pop()
    assert list(split_lines(chunks, 5)) == expected


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.floats()))), st.integers(1, 9))
def test_a_document_does_not_depend_on_chunks(values: list[dict[str, object]], size: int) -> None:
    rows = [{"id": str(i), "data": value} for i, value in enumerate(values)] or [{"id": "one"}]
    body = json.dumps({"examples": rows}, ensure_ascii=False, indent=1).encode(errors="surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        results = []
        for chunk in (size, 1 << 20):
            patch.setattr("service.codecs.media.CHUNK_BYTES", chunk)
            try:
                results.append(repr(list(examples(body, JSON))))
            except GleanerError as error:
                results.append(error.detail)
    assert results[0] == results[1]


def test_a_line_that_is_too_long_is_one_bad_row() -> None:
    long = b'{"id": "%s"}' % (b"x" * 3 * CHUNK_BYTES)
    (block,) = examples(ROWS + long + b"\n" + b'{"id": "c"}')
    assert [row.id for row in block.rows] == ["a", "b", "c"]
    assert [(error.line, error.code) for error in block.errors] == [(3, "too_long")]


class Repeated:
    """A file of one start and one piece again and again, which nobody holds."""

    def __init__(self, start: bytes, piece: bytes, size: int) -> None:
        self._start = start
        self._piece = piece
        self._left = size

    def read(self, size: int) -> bytes:
        count = min(size, self._left) // len(self._piece)
        self._left -= count * len(self._piece)
        start, self._start = self._start, b""
        return start + self._piece * count


TEXT = b"x" * 4000


@pytest.mark.parametrize(
    ("start", "piece", "media_type"),
    [
        (b"", b"x", NDJSON),
        (b"", b'{"id": 1, "data": {"t": "%s"}}\n' % TEXT, NDJSON),
        (b"", b" " * 4000 + b"\n", NDJSON),
        (b'{"examples": [{"id": "a"}', b',{"id": 1, "data": {"t": "%s"}}' % TEXT, JSON),
        (b"", b" ", JSON),
        (b"id,t\n", b',"%s\n"\n' % TEXT, CSV),
    ],
)
def test_memory_does_not_grow_with_the_body(start: bytes, piece: bytes, media_type: str) -> None:
    limits = replace(LIMITS, max_line_bytes=10_000, max_json_bytes=1 << 30, max_decoded_bytes=1 << 30, max_rows=10**9)
    file = cast("IO[bytes]", Repeated(start, piece, 48 * CHUNK_BYTES))
    tracemalloc.start()
    with contextlib.suppress(InvalidRequestError, MalformedRequestError):
        media = parse_media(media_type, None)
        for _ in decode_examples(file, media, dimensions=None, limits=limits, spool_dir=Path()):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * CHUNK_BYTES


PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": partial(gzip.compress, mtime=0), "zstd": zstd.compress}


@pytest.mark.parametrize("coding", list(PACK))
@pytest.mark.parametrize("media_type", [NDJSON, JSON, CSV])
@pytest.mark.parametrize("members", [1, 3])
def test_compressed_bodies_are_read(coding: str, media_type: str, members: int) -> None:
    rows = [f"{i:04d}" for i in range(3000)]
    body = {
        NDJSON: "".join(f'{{"id": "{row}"}}\n' for row in rows),
        JSON: json.dumps({"examples": [{"id": row} for row in rows]}),
        CSV: "id\n" + "\n".join(rows),
    }[media_type].encode()
    step = len(body) // members + 1
    packed = b"".join(PACK[coding](body[i : i + step]) for i in range(0, len(body), step))
    assert ids(packed, media_type, encoding=f" {coding.upper()} ") == rows


@pytest.mark.parametrize("coding", list(PACK))
@pytest.mark.parametrize("size", [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_whole_chunks_come_out_whole(coding: str, size: int) -> None:
    body = (b'{"id": "a"}\n' + b" " * size)[:size]
    chunks = read_chunks(io.BytesIO(PACK[coding](body)), parse_media(NDJSON, coding), LIMITS)
    assert b"".join(chunks) == body


@pytest.mark.parametrize("coding", list(PACK))
@pytest.mark.parametrize(
    "broken",
    [
        lambda packed: b"",  # noqa: ARG005 - the body that is none
        lambda packed: ROWS,  # noqa: ARG005 - not compressed at all
        lambda packed: packed[:-1],
        lambda packed: packed[:-9],
        lambda packed: packed[:5],
        lambda packed: packed + b"x",
        lambda packed: packed + b"\0",
        lambda packed: packed + packed[:-4],
        lambda packed: packed[:-8] + b"\0" * 8,
    ],
)
def test_broken_compression_is_refused(coding: str, broken: Callable[[bytes], bytes]) -> None:
    checked: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
    packed = zstd.compress(ROWS * 50, options=checked) if coding == "zstd" else gzip.compress(ROWS * 50)
    with pytest.raises(MalformedRequestError, match=coding):
        list(examples(broken(packed), encoding=coding))


@pytest.mark.parametrize("coding", list(PACK))
@pytest.mark.parametrize("media_type", [NDJSON, JSON, CSV])
def test_a_bomb_is_refused(coding: str, media_type: str) -> None:
    line = b" " * 5000 + b"\n" if media_type != CSV else b'"' + b"x" * 5000 + b'"\n'
    start = b"id\n" if media_type == CSV else b""
    bomb = PACK[coding](start + line * 4000)
    with pytest.raises(PayloadTooLargeError, match="decompressed"):
        list(examples(bomb, media_type, encoding=coding))


def test_a_window_of_zstd_is_bounded() -> None:
    wide: dict[int, int] = {zstd.CompressionParameter.window_log: 24, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=wide)
    packed = packer.compress(ROWS * 100) + packer.flush()
    with pytest.raises(MalformedRequestError, match="window"):
        list(examples(packed, encoding="zstd"))


BAD_BODIES = [
    (NDJSON, b"", InvalidRequestError),
    (NDJSON, b"\n \n", InvalidRequestError),
    (NDJSON, b'{"id": "\xff"}', MalformedRequestError),
    (NDJSON, b'{"id": "\xed\xa0\x80"}', MalformedRequestError),
    (NDJSON, b'{"id": "a", "data": {"x": "\xff"}}', MalformedRequestError),
    (NDJSON, b'{"id":"a"}\n' * 5001, PayloadTooLargeError),
    (NDJSON, b"\n" * 5001, PayloadTooLargeError),
    (JSON, b"", InvalidRequestError),
    (JSON, b"{}", InvalidRequestError),
    (JSON, b"[]", InvalidRequestError),
    (JSON, b"3", InvalidRequestError),
    (JSON, b'{"examples": []}', InvalidRequestError),
    (JSON, b'{"examples": {}}', InvalidRequestError),
    (JSON, b'{"examples": null}', InvalidRequestError),
    (JSON, b'{"labels": [{"id": "a"}]}', InvalidRequestError),
    (JSON, b'{"examples": [{"id": "a"}], "x": 1}', InvalidRequestError),
    (JSON, b'{"x": 1, "examples": [{"id": "a"}]}', InvalidRequestError),
    (JSON, b'{"examples": [{"id": "a"}]', MalformedRequestError),
    (JSON, b'{"examples": [{"id": "a"}', MalformedRequestError),
    (JSON, b'{"examples": [{"id": "a"},]}', MalformedRequestError),
    (JSON, b'{"examples": [{"id": "a"} {"id": "b"}]}', MalformedRequestError),
    (JSON, b'{"examples": [{"id": "a"}]} {}', MalformedRequestError),
    (JSON, b'{"examples" [{"id": "a"}]}', MalformedRequestError),
    (JSON, b'{examples: [{"id": "a"}]}', MalformedRequestError),
    (JSON, b'{"examples": [{"id": "a}]}', MalformedRequestError),
    (JSON, b'{"examples": [{"id": "\xff"}]}', MalformedRequestError),
    (JSON, b'{"examples": [{"id": "a"}]}\xe2', MalformedRequestError),
    (JSON, b'{"examples": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", MalformedRequestError),
    (JSON, b"[" * 500_000, MalformedRequestError),
    (JSON, b'{"examples": [{"id": "%s"}]}' % (b"x" * 6000), PayloadTooLargeError),
    (JSON, b'{"examples": [%s]}' % (b"7" * 3 * CHUNK_BYTES), PayloadTooLargeError),
    (JSON, b'{"examples": [{"id": "%s' % (b"x" * 3 * CHUNK_BYTES), PayloadTooLargeError),
    (JSON, b'{"examples": [%s0]}' % (b"0, " * 5000), PayloadTooLargeError),
    (JSON, b" " * 1_000_001, PayloadTooLargeError),
    (CSV, b"", InvalidRequestError),
    (CSV, b"id\n" + b"\n" * 5001, PayloadTooLargeError),
    (CSV, b"id\n", InvalidRequestError),
    (CSV, b"\nid\na\n", InvalidRequestError),
    (CSV, b"text\na\n", InvalidRequestError),
    (CSV, b"id,id\na,b\n", InvalidRequestError),
    (CSV, b"id,t,t\na,b,c\n", InvalidRequestError),
    (CSV, b"id,\na,b\n", InvalidRequestError),
    (CSV, b"id,a\0\na,b\n", InvalidRequestError),
    (CSV, b'id\n"a', MalformedRequestError),
    (CSV, b'id\n"a"b\n', MalformedRequestError),
    (CSV, b"id\na\rb\n", MalformedRequestError),
    (CSV, b"id\n\xff\n", MalformedRequestError),
    (CSV, b"id,t\na," + b"x" * 6000, PayloadTooLargeError),
    (CSV, b'id,t\na,"' + b"x\n" * 6000, PayloadTooLargeError),
]  # fmt: skip


@pytest.mark.parametrize(("media_type", "body", "error"), BAD_BODIES, ids=lambda value: str(value)[:40])
def test_bodies_that_fail_as_a_whole(media_type: str, body: bytes, error: type[GleanerError]) -> None:
    with pytest.raises(error):
        list(examples(body, media_type))


@pytest.mark.parametrize("header", ["id,x0,x2", "id,x1", "id,vector,x0"])
def test_vector_columns_must_be_whole(header: str) -> None:
    with pytest.raises(InvalidRequestError):
        list(examples(f"{header}\n".encode(), CSV, dimensions=2))


def test_labels_have_no_other_columns() -> None:
    with pytest.raises(InvalidRequestError) as raised:
        list(labels(b"example_id,label,colour\na,x,red\n", CSV))
    assert [(error.line, error.pointer, error.code) for error in raised.value.errors] == [
        (1, "/colour", "unknown_field")
    ]


@pytest.mark.parametrize(
    ("media_type", "encoding"),
    [
        (None, None),
        ("", None),
        ("text/plain", None),
        ("application/vnd.apache.parquet", None),
        ("application/vnd.apache.arrow.stream", None),
        ("text/csv; charset=latin-1", None),
        ('application/json; charset="utf-16"', None),
        (JSON, "deflate"),
        (JSON, "br"),
        (JSON, "gzip, gzip"),
    ],
)
def test_media_that_are_not_read(media_type: str | None, encoding: str | None) -> None:
    with pytest.raises(UnsupportedMediaTypeError, match=r"application/x-ndjson|gzip|utf-8"):
        parse_media(media_type, encoding)


@pytest.mark.parametrize(
    "media_type", ["Text/CSV", "text/csv;charset=UTF-8", 'text/csv; header=present; charset="utf8"']
)
def test_media_in_other_spellings(media_type: str) -> None:
    assert ids(b"id\na\n", media_type, encoding="identity") == ["a"]


def test_blocks_are_bounded_in_rows_and_bytes() -> None:
    limits = Limits.of(Settings())
    small = b"".join(b'{"id": "%d"}\n' % i for i in range(2500))
    assert [block.received for block in examples(small, limits=limits)] == [1000, 1000, 500]
    large = b"".join(b'{"id": "%d", "data": {"t": "%s"}}\n' % (i, b"x" * CHUNK_BYTES) for i in range(10))
    assert max(block.received for block in examples(large, limits=limits)) <= 4


def test_hashes_tell_content_apart() -> None:
    base = ExampleRow("a", data={"x": 1, "y": 2})
    same = [ExampleRow("b", data={"y": 2, "x": 1}), ExampleRow("a", data={"x": 1, "y": 2}, label="l", annotator="n")]
    other = [
        ExampleRow("a"),
        ExampleRow("a", data={}),
        ExampleRow("a", data={"x": 1, "y": 3}),
        ExampleRow("a", data={"x": 1, "y": 2}, split="test"),
        ExampleRow("a", data={"x": 1, "y": 2}, group="g"),
        ExampleRow("a", data={"x": 1, "y": 2}, priority=0),
    ]
    assert {content_hash(row, None) for row in same} == {content_hash(base, None)}
    hashes = [content_hash(row, None) for row in (base, *other)]
    hashes += [content_hash(base, vector) for vector in (b"", b"\0" * 4, b"\1" * 4)]
    assert len(set(hashes)) == len(hashes)
    assert all(len(value) == 16 for value in hashes)
    assert features_hash("ab") == features_hash(b"ab") != features_hash("ba")


def test_times_keep_their_zone() -> None:
    (block,) = labels(b'{"example_id": "a", "label": "x", "labeled_at": "2026-01-01T00:00:00Z"}')
    assert block.rows[0].labeled_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert block.rows[0].annotator is UNSET


def test_the_csv_module_reads_long_cells() -> None:
    limits = Limits.of(Settings())
    (block,) = examples(b"id,t\na," + b"x" * 1_000_000 + b"\n", CSV, limits=limits)
    assert block.rows[0].data == {"t": "x" * 1_000_000}
    assert csv.field_size_limit() > 1_000_000


def test_limits_are_the_operators() -> None:
    assert Limits.of(Settings(max_rows=7)).max_rows == 7
