"""From an error of the decoder to a FieldError that names the field and never repeats what was sent."""

import json
import re
from dataclasses import replace
from typing import Any, NoReturn

import msgspec

from service.codecs.rows import RowKind, name_problem, pointer_to
from service.errors import FieldError

_PATH = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<field>\w+)|\[(?P<index>\d+)\]")
_QUOTED_FIELD = re.compile(r"field `(?P<name>.*)`", re.DOTALL)
_TYPES = re.compile(r"Expected `(?P<expected>[^`]*)`(?:, got `(?P<got>\w+)`)?")
_WORDS = {"str": "string", "int": "number", "float": "number", "bool": "boolean", "object": "object", "array": "list"}
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _NotFiniteError(ValueError):
    """NaN or Infinity stood where JSON has no word for them."""


def explain_type(error: msgspec.ValidationError) -> FieldError:
    """What is wrong with a row that is well-formed but not of its type."""
    message = str(error)
    path = _path_of(message)
    where = pointer_to(*path)
    if message.startswith("Object contains unknown field"):
        return FieldError(pointer_to(*path, _field_in(message)), "unknown_field", "There is no such field.")
    if message.startswith("Object missing required field"):
        return FieldError(pointer_to(*path, _field_in(message)), "missing_field", "The field is required.")
    if "out of range" in message:
        return FieldError(where, "not_finite", "The number is too large.")
    if "RFC3339" in message or "timezone" in message:
        return FieldError(where, "invalid_time", "Expected an RFC 3339 time with an offset.")
    if message.startswith("Invalid enum value"):
        return FieldError(where, "invalid_value", "Not one of the values that are allowed here.")
    return FieldError(where, "wrong_type", _wrong_type(message))


def explain_syntax(raw: bytes) -> FieldError:
    """What is wrong with a row that the strict decoder could not parse; a lenient parser says how it is broken."""
    try:
        json.loads(raw, parse_constant=_refuse_constant, parse_int=float)
    except RecursionError:
        return FieldError("", "too_deep", "The row is nested too deeply.")
    except _NotFiniteError:
        return FieldError("", "not_finite", "NaN and Infinity are not numbers of JSON.")
    except ValueError:
        return FieldError("", "invalid_json", "Not valid JSON.")
    return FieldError("", "invalid_text", "A string holds half of a surrogate pair.")


def id_of(raw: bytes, kind: RowKind[Any]) -> str | None:
    """The id of a row that is not of its type otherwise, when it has a valid one."""
    try:
        value: object = msgspec.json.decode(_fields.decode(raw)[kind.id_field])
    except (ValueError, LookupError, RecursionError):
        return None
    return value if isinstance(value, str) and name_problem("", value) is None else None


def named(problem: FieldError, key: str) -> FieldError:
    """The problem with the id of its row, when that is a valid one."""
    return problem if name_problem("", key) else replace(problem, id=key)


def _path_of(message: str) -> list[str]:
    match = _PATH.search(message)
    return [step["field"] or step["index"] for step in _STEP.finditer(match["path"])] if match else []


def _field_in(message: str) -> str:
    match = _QUOTED_FIELD.search(message)
    return match["name"] if match else ""


def _wrong_type(message: str) -> str:
    match = _TYPES.match(message)
    if match is None:
        return "The value has the wrong type."
    expected = " or ".join(dict.fromkeys(_WORDS.get(word, word) for word in match["expected"].split(" | ")))
    got = f", got {_WORDS.get(match['got'], match['got'])}" if match["got"] else ""
    return f"Expected {expected}{got}."


def _refuse_constant(_: str) -> NoReturn:
    raise _NotFiniteError
