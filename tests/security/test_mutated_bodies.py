"""Ten thousand mutated bodies: each is stored as a whole or refused as a problem, and never a fault."""

import gzip
import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from backports import zstd
from numpy.random import Generator

from service.actions.prediction_rows import BadRowError, PredictionChecks
from service.codecs.blocks import Block
from service.codecs.bodies import decode_examples, decode_labels, decode_predictions
from service.codecs.limits import Limits
from service.codecs.media import parse_media
from service.codecs.rows import ExampleRow
from service.errors import GleanerError
from service.settings import Settings
from tests.support.forks import forks
from tests.support.holdings import holdings
from tests.support.runtime import Api

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
Measured = TypeVar("Measured")
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": partial(gzip.compress, compresslevel=1),
    "zstd": partial(zstd.compress, options={zstd.CompressionParameter.checksum_flag: 1}),
}
LIMITS = Limits.of(Settings())
EXAMPLES = {
    JSON: b'{"examples": [{"id": "a", "vector": [1, 2.5]}, {"id": "b", "vector": [3, 4], "data": {"t": "\xc3\xa9"}}]}',
    NDJSON: b'{"id": "a", "vector": [1, 2], "label": "a"}\n{"id": "b", "vector": "AACAPwAAAEA=", "data": {"n": [1]}}\n',
    CSV: b'id,x0,x1,text,label\na,1,2,"one, two",a\nb,-3.5e1,4,"""quoted""",\n',
}
LABELS = {
    JSON: b'{"labels": [{"example_id": "old", "label": "b", "annotator": "x"}, {"example_id": "old2", "skip": true}]}',
    NDJSON: b'{"example_id": "old", "label": "b", "labeled_at": "2026-01-01T00:00:00Z"}\n'
    b'{"example_id": "old2", "label": "a"}',
    CSV: b"example_id,label,annotator\nold,b,ann\nold2,a,\n",
}
PREDICTIONS = {
    JSON: b'{"predictions": [{"id": "old", "probabilities": {"a": 0.25, "b": 0.75}},'
    b' {"id": "old2", "probabilities": [1, 0]}]}',
    NDJSON: b'{"id": "old", "members": [[1, 0], {"a": 0.5, "b": 0.5}], "vector": [1, 2]}\n'
    b'{"id": "old2", "members": [[0, 1], [1, 0]], "vector": "AACAPwAAAEA="}\n',
    CSV: b'id,probabilities,x0\nold,"[0.5, 0.5]",1\nold2,"{""a"": 1, ""b"": 0}",-2.5\n',
}
NASTY = [
    *(
        b"\0",
        b"\xff",
        b"\xfe\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\\ud800",
        b"\\u0000",
        b"\r",
        b"\n",
        b'"',
    ),
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"1e-400", b"9" * 400, b"0x10", b"1_0", b"null", b"true"),
    *(b"[" * 2000, b'{"a":' * 2000, b"{}", b"[]", b",", b":", b"//", b"/*", b"\x1b[31m", b"=1+1", b"' OR 1=1 --"),
    *(
        b'"id": "a", ',
        b'"vector": [1, 2], ',
        b'"__proto__": 1, ',
        b"a" * 5000,
        b"\xf0\x9f\x92\xa9",
        b"\xe2\x80\xa8",
        b"$ref",
    ),
]


def mutated(body: bytes, rng: Generator) -> bytes:
    """The body after one to four changes."""
    changed = bytearray(body)
    for _ in range(rng.integers(1, 5)):
        at, stop = sorted(int(place) for place in rng.integers(0, len(changed) + 1, 2))
        kind = rng.integers(6)
        if kind == 0:
            changed[at:at] = NASTY[rng.integers(len(NASTY))]
        elif kind == 1:
            changed[at:stop] = NASTY[rng.integers(len(NASTY))]
        elif kind == 2:
            del changed[at:stop]
        elif kind == 3 and changed:
            changed[min(at, len(changed) - 1)] ^= 1 << int(rng.integers(8))
        elif kind == 4:
            changed[at:at] = changed[at:stop]
        else:
            changed = changed[:stop] + rng.bytes(int(rng.integers(1, 8))) + changed[stop:]
    return bytes(changed)


def bodies(kinds: dict[str, bytes], seed: int) -> Iterator[tuple[str, str | None, bytes]]:
    """Media type, encoding and body, without end; some are compressed, and then changed or cut once more."""
    rng = np.random.default_rng(seed)
    while True:
        for media, body in kinds.items():
            sent = mutated(body, rng)
            declared = media if rng.random() < 0.95 else str(rng.choice(list(kinds)))
            if rng.random() < 0.85:
                yield declared, None, sent
            else:
                coding = str(rng.choice(list(PACK)))
                packed = PACK[coding](sent)
                yield declared, coding, packed if rng.random() < 0.5 else mutated(packed, rng)


def outcome(read: Callable[[], None]) -> int:
    """The status of the answer to a body."""
    try:
        read()
    except GleanerError as error:
        return error.status
    return 200


def _decoded(body: bytes, media: str, encoding: str | None) -> Iterator[Block[ExampleRow]]:
    parsed = parse_media(media, encoding)
    return decode_examples(io.BytesIO(body), parsed, dimensions=2, limits=LIMITS, spool_dir=Path())


def read_examples(body: bytes, media: str, encoding: str | None) -> None:
    for block in _decoded(body, media, encoding):
        assert block.vectors is not None
        assert np.isfinite(block.vectors.numbers).all()
        "".join(row.id for row in block.rows).encode()


def read_labels(body: bytes, media: str, encoding: str | None) -> None:
    for block in decode_labels(io.BytesIO(body), parse_media(media, encoding), limits=LIMITS):
        assert all(row.example_id.encode() for row in block.rows)


def read_predictions(body: bytes, media: str, encoding: str | None) -> None:
    checks = PredictionChecks("classification", ["a", "b"], None)
    parsed = parse_media(media, encoding)
    for block in decode_predictions(io.BytesIO(body), parsed, limits=LIMITS, spool_dir=Path()):
        for row in block.rows:
            row.id.encode()
            with suppress(BadRowError):
                said = checks.read(row, known=True)
                assert np.isfinite([*said.predictions, *said.members, *said.vectors]).all()


@pytest.mark.parametrize(
    ("kinds", "read"), [(EXAMPLES, read_examples), (LABELS, read_labels), (PREDICTIONS, read_predictions)]
)
def test_ten_thousand_mutated_bodies_are_rows_or_problems(
    kinds: dict[str, bytes], read: Callable[[bytes, str, str | None], None]
) -> None:
    statuses = {
        outcome(partial(read, body, media, encoding)) for media, encoding, body in islice(bodies(kinds, 1), 5000)
    }
    assert statuses >= {200, 400, 422}
    assert max(statuses) < 500


@pytest.mark.parametrize(
    ("to", "kinds", "seed"), [("examples", EXAMPLES, 3), ("labels", LABELS, 4), ("predictions", PREDICTIONS, 5)]
)
def test_mutated_bodies_change_nothing_when_they_are_refused(
    api: Api, to: str, kinds: dict[str, bytes], seed: int
) -> None:
    project_id = api.project()
    path = f"/v1/projects/{project_id}"
    rows = {"examples": [{"id": "old", "vector": [0, 1]}, {"id": "old2", "vector": [1, 1]}]}
    assert api.http.post(f"{path}/examples", json=rows).status_code == 200
    before: object = None  # not known since a body was taken
    seen = set()
    whole = ((media, "", body) for media, body in kinds.items())
    for media, encoding, body in chain(whole, islice(bodies(kinds, seed), 150)):
        headers = {"Content-Type": media, **({"Content-Encoding": encoding} if encoding else {})}
        before = before or stored(api)
        answer = api.http.post(f"{path}/{to}", content=body, headers=headers)
        seen.add(answer.status_code)
        assert answer.status_code == 200 or 400 <= answer.status_code < 500, (body, answer.text)
        if answer.status_code == 200:
            before = None
            continue
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["request_id"]
        assert stored(api) == before, body
    assert seen >= {200, 400, 422}


def stored(api: Api) -> dict[str, list[str]]:
    """What a refused body may not change: all but the lists of what was wrong with bodies."""
    found = holdings(api)
    del found["error_lists"]
    return {**found, "objects": [key for key in found["objects"] if not key.startswith("errors/")]}


MEBIBYTE = bytes(1 << 20)


@pytest.mark.parametrize("coding", list(PACK))
def test_bombs_are_stopped_in_bounded_memory_and_time(coding: str) -> None:
    pack = PACK[coding]
    zeros = pack(MEBIBYTE * 16) * 32
    many = pack(b"") * 50_000 + pack(EXAMPLES[NDJSON])
    for body, media in ((zeros, NDJSON), (zeros, CSV), (zeros, JSON), (pack(zeros), NDJSON)):
        refused, mebibytes, seconds = alone(partial(_reading, coding=coding), body, media)
        assert refused
        assert mebibytes < 150
        assert seconds < 20
    assert _read_all(many, NDJSON, coding) == 2
    for broken in (zeros[:-9], zeros[: len(zeros) // 2 + 3], pack(EXAMPLES[NDJSON]) + b"more"):
        assert _is_refused(broken, NDJSON, coding)


def _read_all(body: bytes, media: str, coding: str) -> int:
    return sum(block.received for block in _decoded(body, media, coding))


def _is_refused(body: bytes, media: str, coding: str) -> bool:
    """Whether the body fails as a whole, or has only bad rows (a line that is too long is one)."""
    try:
        blocks = list(_decoded(body, media, coding))
    except GleanerError:
        return True
    return not any(block.rows for block in blocks)


def _reading(body: bytes, media: str, *, coding: str) -> tuple[bool, float, float]:
    """Whether the body is refused, by how many MiB the peak of this process grows, and the processor's seconds."""
    before, began = _peak_mib(), time.process_time()
    refused = _is_refused(body, media, coding)
    return refused, _peak_mib() - before, time.process_time() - began


def _peak_mib() -> float:
    """The most memory that this program has had; Linux counts in `ru_maxrss` what the process was before it, too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def alone(measure: Callable[[bytes, str], Measured], body: bytes, media: str) -> Measured:
    """Measure in a new process: one that had used and freed memory before would take it again unseen."""
    with ProcessPoolExecutor(1, mp_context=forks()) as process:
        return process.submit(measure, body, media).result()


def _unpacking(body: bytes, _: str) -> float:
    before = _peak_mib()
    gzip.decompress(body)
    return _peak_mib() - before


def test_memory_is_seen_that_another_test_has_had_before() -> None:
    had = b"x" * (1 << 28)
    del had
    assert alone(_unpacking, gzip.compress(bytes(1 << 27), 1), NDJSON) > 120


def test_other_encodings_are_refused_before_they_are_read(api: Api) -> None:
    for encoding in ("br", "deflate", "gzip, gzip", "gzip,zstd", "x-zstd", "x-gzip"):
        answer = api.http.post(
            f"/v1/projects/{api.project()}/examples",
            content=b"\x28\xb5\x2f\xfd" * 10,
            headers={"Content-Type": NDJSON, "Content-Encoding": encoding},
        )
        assert answer.status_code == 415, encoding
