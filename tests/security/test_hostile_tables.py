"""Arrow and Parquet that lie: refused as a problem by a process that may die of them, and never a fault here."""

import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from service.codecs import tables
from service.codecs.blocks import Block
from service.codecs.children import Children
from service.codecs.rows import ExampleRow
from service.codecs.table_frames import MAX_FRAME_BYTES, End, Place, Rows, write_frame
from service.codecs.tables import process_died
from service.errors import (
    GleanerError,
    InvalidRequestError,
    MalformedRequestError,
    PayloadTooLargeError,
    UnavailableError,
)
from service.settings import MIB
from tests.codecs.bodies import ARROW, LIMITS, PARQUET, examples
from tests.codecs.tables import decoder, table_body, table_process, vectors
from tests.security.test_mutated_bodies import mutated, outcome
from tests.support.processes import alive
from tests.support.redis_server import wait_until
from tests.support.stopwatch import Stopwatch

BOTH = pytest.mark.parametrize("media_type", [ARROW, PARQUET])
WIDE = replace(LIMITS, max_line_bytes=4 * MIB, max_decoded_bytes=1 << 34, max_rows=10**9, table_memory_bytes=64 * MIB)


def read(body: bytes, media_type: str = ARROW) -> Iterator[Block[ExampleRow]]:
    return examples(body, media_type, dimensions=2, limits=WIDE)


def whole(media_type: str) -> bytes:
    return table_body(
        {
            "id": pa.array(["a", "b"]),
            "vector": vectors([[1, 2], [3, 4]]),
            "label": pa.array(["x", "y"]).dictionary_encode(),
            "n": [{"a": [1, None]}, None],
        },
        media_type,
    )


def long_list() -> pa.Array:
    """One vector of 128 MiB."""
    count = 1 << 25
    offsets = pa.array([0, count], type=pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(np.zeros(count, dtype=np.float32)))


def repeated() -> pa.Array:
    """Rows of a large text that is there once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(1000, dtype=np.int8)), pa.array(["x" * MIB]))


def ids(rows: int) -> pa.Array:
    return pa.array([str(i) for i in range(rows)])


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (PARQUET, lambda: table_body({"id": ids(1), "vector": long_list()}, PARQUET, compression="zstd")),
        (ARROW, lambda: table_body({"id": ids(1), "vector": long_list()}, ARROW, compression="zstd")),
        (PARQUET, lambda: table_body({"id": ids(1000), "x": repeated()}, PARQUET, compression="zstd")),
        (ARROW, lambda: table_body({"id": ids(1000), "x": repeated()}, ARROW)),
    ],
)
def test_bombs_end_with_their_process(media_type: str, body: Callable[[], bytes]) -> None:
    sent = body()
    assert len(sent) < 2 * MIB
    with Stopwatch() as reading, pytest.raises(PayloadTooLargeError, match="memory"):
        list(read(sent, media_type))
    assert reading.seconds < 20


def test_many_rows_in_few_bytes_are_too_many() -> None:
    rows = 3_000_000
    one = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int8)), pa.array(["a"]))
    sent = table_body({"id": one}, PARQUET, compression="zstd")
    assert len(sent) < 10_000
    with pytest.raises(PayloadTooLargeError, match="5000 rows"):
        list(examples(sent, PARQUET))


def extension(name: str) -> pa.Table:
    field = pa.field("x", pa.string(), metadata={"ARROW:extension:name": name, "ARROW:extension:metadata": "gASVAAAA"})
    return pa.table([pa.array(["a"]), pa.array(["{}"])], schema=pa.schema([pa.field("id", pa.string()), field]))


@BOTH
@pytest.mark.parametrize("name", ["arrow.json", "arrow.py_extension_type", "somebody.else", "arrow.opaque"])
def test_extension_types_are_refused(media_type: str, name: str) -> None:
    with pytest.raises((InvalidRequestError, MalformedRequestError)):
        list(examples(table_body(extension(name), media_type), media_type))


def lying(name: str, column: pa.Array, offsets: list[int]) -> bytes:
    """A stream whose column of two has other offsets than 0, 2, 4."""
    body = table_body({"id": ["a", "b"], name: column})
    honest, lie = (np.array(numbers, dtype=np.int32).tobytes() for numbers in ([0, 2, 4], offsets))
    assert body.count(honest) == 1
    return body.replace(honest, lie)


OFFSETS = ([0, -2, 4], [0, 2, 1 << 30], [4, 2, 0], [-8, 2, 4], [0, 1 << 30, 1 << 30], [-(2**31), 2, 4])


@pytest.mark.parametrize("offsets", OFFSETS)
def test_offsets_that_lead_out_of_the_body_are_refused(offsets: list[int]) -> None:
    columns = {"vector": vectors([[1, 2], [3, 4]]), "text": pa.array(["ab", "cd"])}
    for name, column in columns.items():
        with pytest.raises(MalformedRequestError):
            list(examples(lying(name, column, offsets), dimensions=2 if name == "vector" else None, media_type=ARROW))


@pytest.mark.parametrize("code", [77, -3])
def test_codes_that_no_dictionary_has_are_refused(code: int) -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, code]), pa.array(["a"]), safe=False)
    with pytest.raises(MalformedRequestError):
        list(examples(table_body({"id": ["a", "b"], "label": column}), ARROW))


def test_text_that_is_not_utf8_is_refused() -> None:
    for broken in (b"\xff\xfe", b"\xed\xa0", b"\xc0\x80"):
        body = table_body({"id": ["a"], "text": ["QZ"]}).replace(b"QZ", broken)
        with pytest.raises(MalformedRequestError):
            list(examples(body, ARROW))


@BOTH
def test_no_cut_body_is_read(media_type: str) -> None:
    body = whole(media_type)
    cuts = [1, 4, 8, len(body) // 3, len(body) // 2, len(body) - 9, len(body) - 8, len(body) - 1]
    for cut in cuts:
        with pytest.raises(GleanerError) as raised:
            list(read(body[:cut], media_type))
        assert raised.value.status in {400, 413, 422}, cut
    with pytest.raises(MalformedRequestError):
        list(read(body + b"more", media_type))


@BOTH
def test_a_stream_that_was_cut_between_batches_is_refused(media_type: str) -> None:
    table = pa.table({"id": ids(10), "vector": vectors([[1, 2]] * 10)})
    body = table_body(table, media_type)
    with pytest.raises(MalformedRequestError):
        list(read(body[:-8], media_type))


def test_footers_that_point_elsewhere_are_refused() -> None:
    body = whole(PARQUET)
    for length in (0, 1, len(body) - 8, len(body), 2**31 - 1, 2**32 - 1):
        with pytest.raises(MalformedRequestError):
            list(read(body[:-8] + length.to_bytes(4, "little") + b"PAR1", PARQUET))
    with pytest.raises(MalformedRequestError):
        list(read(body[:-4] + b"PARE", PARQUET))


@BOTH
def test_mutated_tables_are_rows_or_problems(media_type: str) -> None:
    rng = np.random.default_rng(5)
    body = whole(media_type)
    statuses = {outcome(partial(read_all, mutated(body, rng), media_type)) for _ in range(40)}
    assert max(statuses) < 500


def read_all(body: bytes, media_type: str) -> None:
    for block in read(body, media_type):
        assert block.vectors is not None
        assert np.isfinite(block.vectors.numbers).all()


def half_read() -> Iterator[Block[ExampleRow]]:
    """The blocks of a body that is too long for the pipe of its process, after the first."""
    rows = 4000
    blocks = read(table_body({"id": ids(rows), "vector": vectors([[1, 2]] * rows), "x": pa.array(["x" * 2000] * rows)}))
    assert len(next(blocks).rows) == 1000
    return blocks


def test_a_process_of_its_own_with_few_rights_decodes_a_body() -> None:
    blocks = half_read()
    pid = decoder()
    limits = dict(re.findall(r"^Max (.+?)  +\S+ +(\S+)", Path(f"/proc/{pid}/limits").read_text(), re.MULTILINE))
    assert (limits["file size"], limits["core file size"], limits["cpu time"]) == ("0", "0", "31")
    assert int(limits["address space"]) < 1 << 30
    assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    assert len(list(Path(f"/proc/{table_process()}/task").iterdir())) == 1
    assert sum(len(block.rows) for block in blocks) == 3000


def test_a_body_whose_process_is_killed_is_too_large() -> None:
    blocks = half_read()
    os.kill(decoder(), signal.SIGKILL)
    with pytest.raises(PayloadTooLargeError, match="memory or time"):
        list(blocks)


def test_a_body_may_be_sent_again_when_the_process_that_makes_decoders_is_lost() -> None:
    blocks, pid = half_read(), decoder()
    os.kill(table_process(), signal.SIGKILL)
    wait_until(lambda: not alive(pid))  # which waits for a reader; else it may have said everything before it is killed
    with pytest.raises(UnavailableError):
        list(blocks)
    assert sum(len(block.rows) for block in half_read()) == 3000


def test_a_reader_that_stops_ends_the_process() -> None:
    blocks = half_read()
    pid = decoder()
    blocks.close()  # type: ignore[attr-defined] # it is a generator
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(StopIteration):
        next(blocks)


def test_what_a_killed_process_was_decoding_is_too_large() -> None:
    assert isinstance(process_died(-9), PayloadTooLargeError)
    assert isinstance(process_died(-24), PayloadTooLargeError)
    assert isinstance(process_died(-11), MalformedRequestError)


@pytest.fixture
def decoders_that_say(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Lets every decoder say this, whatever its body."""
    made: list[Children] = []

    def say(words: bytes) -> None:
        serves = (
            "import os; from service.codecs.warm_process import WarmProcess; "
            f"WarmProcess(lambda _: os.write(1, {words!r})).serve()"
        )
        made.append(Children((sys.executable, "-I", "-c", serves), {}))
        monkeypatch.setattr(tables, "ARROW", made[-1])

    yield say
    for children in made:
        children.leave()


def one_row(vectors: Place, *, times: int = 1) -> bytes:
    """What a decoder says of a row whose vector is in the body; of so many rows that all have the same."""
    out = io.BytesIO()
    for name in "abc"[:times]:
        write_frame(out, Rows(msgspec.Raw(msgspec.msgpack.encode([{"id": name}])), vectors, bytes(16), {}))
    write_frame(out, End())
    return out.getvalue()


IN_BODY = np.array([1, 2, 3, np.inf], dtype="<f4").tobytes()


def test_vectors_in_the_body_are_checked_as_others_are(decoders_that_say: Callable[[bytes], None]) -> None:
    decoders_that_say(one_row(Place(4, 8)))
    (block,) = read(IN_BODY)
    assert block.vectors is not None
    assert block.vectors.numbers.tolist() == [[2, 3]]
    decoders_that_say(one_row(Place(8, 8)))
    (block,) = read(IN_BODY)
    assert [(error.id, error.pointer, error.code) for error in block.errors] == [("a", "/vector/1", "not_finite")]


@pytest.mark.parametrize(
    "place",
    [Place(-1, 8), Place(0, 4), Place(0, 16), Place(12, 8), Place(16, 8), Place(2**40, 8), Place(2**63, 8),
     Place(0, -8), Place(0, MAX_FRAME_BYTES + 1)],
)  # fmt: skip
def test_a_decoder_cannot_have_more_read_than_the_vectors_of_its_rows(
    decoders_that_say: Callable[[bytes], None], place: Place
) -> None:
    decoders_that_say(one_row(place))
    with pytest.raises(MalformedRequestError):
        list(read(IN_BODY))


def test_a_decoder_cannot_have_the_same_bytes_read_again_and_again(
    decoders_that_say: Callable[[bytes], None],
) -> None:
    decoders_that_say(one_row(Place(0, 8), times=2))
    assert sum(len(block.rows) for block in read(IN_BODY)) == 2
    decoders_that_say(one_row(Place(0, 8), times=3))
    with pytest.raises(MalformedRequestError):
        list(read(IN_BODY))
