"""Checks a client's parameters against a catalogue entry's schema and fills in the defaults."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from service.catalog.entries import Schema
from service.catalog.names import listed, meant
from service.concealing import conceal
from service.errors import FieldError, InvalidRequestError

_TYPES: Mapping[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "string": (str,),
}

CLASS_FORMAT = "class"
"""The `format` of a string that names a class of the project."""


def resolve(
    schema: Schema, params: Mapping[str, Any], *, pointer: str = "/params", classes: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return every parameter of `schema`, from `params` or its default.

    Knows the subset of JSON Schema that the catalogue uses: type, enum, minimum, maximum, exclusiveMinimum, default,
    required, and the format `class`, which is checked when the project's `classes` are given.

    Raises:
        InvalidRequestError: with one field error per bad parameter, its pointer starting with `pointer`.
    """
    properties: Mapping[str, Schema] = schema["properties"]
    errors = [
        FieldError(f"{pointer}/{_escape(name)}", "unknown_parameter", _known(name, properties))
        for name in params
        if name not in properties
    ]
    for name, rule in properties.items():
        if name not in params:
            fault = ("missing_parameter", _needed(schema, name)) if name in required(schema) else None
        else:
            fault = _fault(rule, params[name], classes)
        if fault:
            errors.append(FieldError(f"{pointer}/{name}", *fault))
    if errors:
        raise InvalidRequestError("Parameters are not what the catalogue says.", errors=errors)
    return {name: params[name] if name in params else rule["default"] for name, rule in properties.items()}


def required(schema: Schema) -> Sequence[str]:
    """The parameters that have no default."""
    names: Sequence[str] = schema.get("required", ())
    return names


def with_codes(schema: Schema, params: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Resolved parameters as the learning core takes them: a class by its place in `classes`, not by its name."""
    named = _naming_classes(schema)
    return {name: classes.index(value) if name in named else value for name, value in params.items()}


def with_names(schema: Schema, params: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Resolved parameters after classes were given other `names`, by the old ones."""
    named = _naming_classes(schema)
    return {name: names.get(value, value) if name in named else value for name, value in params.items()}


def _naming_classes(schema: Schema) -> set[str]:
    """The parameters that name a class of the project."""
    properties: Mapping[str, Schema] = schema["properties"]
    return {name for name, rule in properties.items() if rule.get("format") == CLASS_FORMAT}


def _fault(rule: Schema, value: object, classes: Sequence[str] | None) -> tuple[str, str] | None:
    """The code and sentence of what is wrong with `value`, or None."""
    types = [rule["type"]] if isinstance(rule["type"], str) else list(rule["type"])
    if not any(_is_a(value, name) for name in types):
        return "wrong_type", f"Must be of type {' or '.join(types)}."
    if "enum" in rule and value not in rule["enum"]:
        allowed = ["null" if option is None else str(option) for option in rule["enum"]]
        return "not_allowed", f"Must be one of: {listed(allowed)}."
    if rule.get("format") == CLASS_FORMAT and classes is not None and value not in classes:
        return "unknown_class", f"Known classes: {listed(classes)}."
    if isinstance(value, int | float) and not isinstance(value, bool) and not _within(rule, value):
        return "out_of_range", f"Must be {_range(rule)}."
    return None


def _is_a(value: object, name: str) -> bool:
    """Whether `value` is of the JSON type `name`; Python's bool is an int, JSON's is not."""
    return isinstance(value, _TYPES[name]) and (isinstance(value, bool) == (name == "boolean"))


def _within(rule: Schema, value: float) -> bool:
    return (
        math.isfinite(value)
        and value >= rule.get("minimum", -math.inf)
        and value <= rule.get("maximum", math.inf)
        and value > rule.get("exclusiveMinimum", -math.inf)
    )


def _range(rule: Schema) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most"}
    return " and ".join(f"{word} {rule[key]}" for key, word in words.items() if key in rule) or "finite"


def _needed(schema: Schema, name: str) -> str:
    description = schema["properties"][name]["description"]
    return f"Needed parameters: {', '.join(required(schema))}. {name}: {description}"


def _known(name: str, properties: Mapping[str, Schema]) -> str:
    return f"Known parameters: {listed(list(properties))}.{meant(name, list(properties))}"


def _escape(name: str) -> str:
    """A name as a JSON pointer token (RFC 6901), cut so that an error never carries a long input."""
    clean = conceal(name.encode("utf-8", "replace").decode())[:64]
    return clean.replace("~", "~0").replace("/", "~1")
