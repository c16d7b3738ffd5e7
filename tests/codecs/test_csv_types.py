import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codecs.csv_types import READ, Inference


def inferred(cells: list[str]) -> str:
    inference = Inference(["c"])
    for cell in cells:
        inference.add([("c", cell)] if cell else [])
    return inference.types["c"]


ODD = ["007", "+1", "1.", ".5", "1_0", " 1", "nan", "inf", "1e999", "0x1", "\u0661", "yes"]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-20", "0"], "integer"),
        (["9223372036854775807", "-9223372036854775808"], "integer"),
        (["9223372036854775808"], "number"),
        (["1", "", "2.5", "1e3", "-0.5E-7"], "number"),
        (["2.5", "1"], "number"),
        (["true", "", "FALSE", "False"], "boolean"),
        (["", ""], "text"),
        ([], "text"),
        (["1", "true"], "text"),
        (["1", "a", "2"], "text"),
        *(([cell], "text") for cell in ODD),
    ],
)  # fmt: skip
def test_the_narrowest_type_of_all_cells(cells: list[str], kind: str) -> None:
    assert inferred(cells) == kind


@given(st.lists(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4) | st.booleans()))
def test_every_cell_can_be_read_as_the_type_of_its_column(values: list[object]) -> None:
    cells = [str(value) for value in values]
    kind = Inference(["c"])
    kind.add(("c", cell) for cell in cells if cell)
    read = READ[kind.types["c"]]
    types = {"integer": int, "number": float, "boolean": bool, "text": str}
    assert {type(read(cell)) for cell in cells if cell} <= {types[kind.types["c"]]}
    if kind.types["c"] in {"integer", "text"}:
        assert [str(read(cell)) for cell in cells if cell] == [cell for cell in cells if cell]
