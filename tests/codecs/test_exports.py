import csv
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codecs.exports import PIECE_BYTES, original, write_csv, write_ndjson


def cells(rows: list[dict[str, object]], columns: list[str]) -> list[list[str]]:
    """The records of an export in CSV, the header too."""
    text = b"".join(write_csv(rows, columns)).decode()
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def test_ndjson_has_a_row_a_line() -> None:
    rows: list[dict[str, object]] = [
        {"id": "a", "label": ["x", "é"], "at": datetime(2026, 1, 1, tzinfo=UTC), "none": None},
        {"id": "b\n"},
    ]
    lines = b"".join(write_ndjson(rows)).decode().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": "a", "label": ["x", "é"], "at": "2026-01-01T00:00:00Z", "none": None},
        {"id": "b\n"},
    ]


def test_csv_cells_by_type() -> None:
    row: dict[str, object] = {
        "a": None,
        "b": True,
        "c": -1.5,
        "d": ["x", 'y"'],
        "e": {"k": 1},
        "f": datetime(2026, 1, 1, tzinfo=UTC),
    }
    assert cells([row], [*row, "missing"])[1] == [
        "",
        "true",
        "-1.5",
        '["x","y\\""]',
        '{"k":1}',
        "2026-01-01T00:00:00Z",
        "",
    ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_formulas_are_inert(start: str) -> None:
    formula = start + "cmd|' /C calc'!A0"
    assert cells([{formula: formula}], [formula]) == [["'" + formula], ["'" + formula]]


@pytest.mark.parametrize("cell", ["-1", "+1.5e-3", "-.5", "3", "1=2", "a@b", "", "'", "'x", "it's"])
def test_plain_cells_are_left_alone(cell: str) -> None:
    assert cells([{"c": cell}], ["c"])[1:] in ([[cell]], [[""]])


@pytest.mark.parametrize("cell", ["-1+2", "-", "+1 ", "-1\n", "-\u0661", "=1"])
def test_only_plain_numbers_may_have_a_sign(cell: str) -> None:
    assert cells([{"c": cell}], ["c"])[1] == ["'" + cell]


@given(st.lists(st.text(alphabet=st.characters(blacklist_categories=["Cs"])), min_size=1))
def test_any_text_comes_back(texts: list[str]) -> None:
    read = cells([{"id": "x", "t": text} for text in texts], ["id", "t"])[1:]
    assert [original(row[1]) for row in read] == texts


@pytest.mark.parametrize("text", ["=1", "'=1", "''=1", "-1", "'-1", "''-1", "'", "'x", "-a", "'\t"])
def test_quotes_come_back_exactly(text: str) -> None:
    assert original(cells([{"id": "x", "t": text}], ["id", "t"])[1][1]) == text


def test_exports_are_in_pieces() -> None:
    rows = [{"t": "x" * 1000} for _ in range(1000)]
    for pieces in (list(write_ndjson(rows)), list(write_csv(rows, ["t"]))):
        assert len(pieces) > 10
        assert max(map(len, pieces)) < 2 * PIECE_BYTES
        assert b"".join(pieces).count(b"x" * 1000) == 1000


def test_an_empty_export_has_its_header() -> None:
    assert b"".join(write_csv([], ["a", "b"])) == b"a,b\r\n"
    assert list(write_ndjson([])) == []
