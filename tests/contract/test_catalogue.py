"""What every catalogue entry promises, and what the checker makes of a client's parameters."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from service.catalog.entries import Schema, schema_of
from service.catalog.estimators import ESTIMATORS
from service.catalog.featurizers import FEATURIZERS
from service.catalog.parameters import required, resolve, with_codes
from service.catalog.stopping_rules import STOPPING_RULES
from service.catalog.strategies import STRATEGIES
from service.errors import InvalidRequestError

CATALOGUES: tuple[Mapping[str, Any], ...] = (STRATEGIES, ESTIMATORS, FEATURIZERS, STOPPING_RULES)
ENTRIES = [pytest.param(name, entry, id=name) for catalogue in CATALOGUES for name, entry in catalogue.items()]

SCHEMA = schema_of(
    count={"type": "integer", "minimum": 1, "maximum": 9, "default": 5},
    rate={"type": ["number", "null"], "exclusiveMinimum": 0, "default": None},
    mode={"type": "string", "enum": ["a", "b"], "default": "a"},
    fold={"type": "boolean", "default": True},
)


@pytest.mark.parametrize(("name", "entry"), ENTRIES)
def test_entry_is_complete_and_its_defaults_are_valid(name: str, entry: Any) -> None:
    assert entry.name == name
    assert entry.summary.endswith(".")
    schema: Schema = entry.parameters
    jsonschema.Draft202012Validator.check_schema(dict(schema))
    assert schema["additionalProperties"] is False
    for rule in schema["properties"].values():
        assert rule["description"]
    defaults = resolve(schema, dict.fromkeys(required(schema), "a class"))
    jsonschema.validate(defaults, dict(schema))
    assert resolve(schema, defaults) == defaults


def test_given_values_win_over_defaults() -> None:
    assert resolve(SCHEMA, {}) == {"count": 5, "rate": None, "mode": "a", "fold": True}
    given = {"count": 9, "rate": 1, "mode": "b", "fold": False}
    assert resolve(SCHEMA, given) == given


@pytest.mark.parametrize(
    ("params", "pointer", "code"),
    [
        ({"size": 3}, "/params/size", "unknown_parameter"),
        ({"a/b~c": 3}, "/params/a~1b~0c", "unknown_parameter"),
        ({"count": 0}, "/params/count", "out_of_range"),
        ({"count": 10}, "/params/count", "out_of_range"),
        ({"count": 5.5}, "/params/count", "wrong_type"),
        ({"count": True}, "/params/count", "wrong_type"),
        ({"count": None}, "/params/count", "wrong_type"),
        ({"count": "5"}, "/params/count", "wrong_type"),
        ({"rate": 0}, "/params/rate", "out_of_range"),
        ({"rate": float("inf")}, "/params/rate", "out_of_range"),
        ({"rate": float("nan")}, "/params/rate", "out_of_range"),
        ({"rate": []}, "/params/rate", "wrong_type"),
        ({"mode": "c"}, "/params/mode", "not_allowed"),
        ({"mode": ["a"]}, "/params/mode", "wrong_type"),
        ({"fold": 1}, "/params/fold", "wrong_type"),
    ],
)
def test_bad_values_are_pointed_at(params: dict[str, Any], pointer: str, code: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        resolve(SCHEMA, params)
    assert [(error.pointer, error.code) for error in caught.value.errors] == [(pointer, code)]


def test_every_bad_value_is_named_under_the_callers_pointer() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        resolve(SCHEMA, {"count": 0, "fold": 0, "x" * 500: 0}, pointer="/query/params")
    pointers = [error.pointer for error in caught.value.errors]
    assert pointers == ["/query/params/" + "x" * 64, "/query/params/count", "/query/params/fold"]


def test_a_parameter_without_a_default_is_required() -> None:
    schema = schema_of(target={"type": "string", "description": "What to find."}, count=SCHEMA["properties"]["count"])
    assert jsonschema.Draft202012Validator(dict(schema)).is_valid({"target": "x"})
    assert not jsonschema.Draft202012Validator(dict(schema)).is_valid({"count": 3})
    assert resolve(schema, {"target": "x"}) == {"target": "x", "count": 5}
    with pytest.raises(InvalidRequestError) as caught:
        resolve(schema, {})
    assert [(error.pointer, error.code) for error in caught.value.errors] == [("/params/target", "missing_parameter")]
    assert "What to find." in caught.value.errors[0].detail


def test_a_parameter_that_names_a_class_is_checked_and_becomes_its_code() -> None:
    schema = schema_of(target={"type": "string", "format": "class", "description": "A class."}, **SCHEMA["properties"])
    classes = ["bug", "praise"]
    params = resolve(schema, {"target": "praise"}, classes=classes)
    assert with_codes(schema, params, classes) == {**params, "target": 1}
    with pytest.raises(InvalidRequestError) as caught:
        resolve(schema, {"target": "spam"}, classes=classes)
    assert [(error.pointer, error.code) for error in caught.value.errors] == [("/params/target", "unknown_class")]


def test_catalogue_needs_no_array_library() -> None:
    code = (
        "import sys, service.catalog.strategies, service.catalog.estimators, service.catalog.parameters\n"
        "sys.exit(bool({'numpy', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
