"""From an error of the decoder to a FieldError that names the field and never repeats what was sent."""

import json
import re
from dataclasses import replace
from typing import Any, NoReturn, get_args, get_type_hints

import msgspec

from service.catalog.names import known_are, listed
from service.codecs.rows import RowKind, name_problem, pointer_to
from service.errors import FieldError

_PATH = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<field>\w+)|\[(?P<index>\d+)\]")
_FIELD = re.compile(r"Object (contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_TYPES = re.compile(r"Expected `(?P<expected>[^`]*)`(?:, got `(?P<got>\w+)`)?")
_WORDS = {"str": "string", "int": "number", "float": "number", "bool": "boolean", "object": "object", "array": "list"}
# how the decoder's messages start, and what we say instead
_MEANINGS = (
    ("Object contains unknown field", "unknown_field", "There is no such field."),
    ("Object missing required field", "missing_field", "The field is required."),
    ("Integer value out of range", "out_of_range", "The number is over 64 bits."),
    ("Number out of range", "not_finite", "The number is too large."),
    ("Invalid RFC3339", "invalid_time", "Expected an RFC 3339 time with an offset."),
    ("Expected `datetime` with a timezone", "invalid_time", "Expected an RFC 3339 time with an offset."),
)
ROW_A_LINE = "Each row has a line of its own: `curl --data-binary` keeps the ends of lines, `curl -d` strips them."
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _NotFiniteError(ValueError):
    """NaN or Infinity stood where JSON has no word for them."""


def explain_type(error: msgspec.ValidationError, row_type: type[msgspec.Struct] | None = None) -> FieldError:
    """What is wrong with a row that is well-formed but not of its type (None: of one without enumerations)."""
    message = str(error)
    path = _PATH.search(message)
    steps = [step["field"] or step["index"] for step in _STEP.finditer(path["path"])] if path else []
    field = _FIELD.match(message[: path.start()] if path else message)
    pointer = pointer_to(*steps, *([field["name"]] if field else []))
    for start, code, detail in _MEANINGS:
        if message.startswith(start):
            known = row_type.__struct_fields__ if row_type is not None and code == "unknown_field" else ()
            return FieldError(pointer, code, f"{detail} {known_are(known)}" if known else detail)
    if row_type is not None and message.startswith("Invalid enum value"):
        allowed = get_args(get_type_hints(row_type)[steps[-1]])
        return FieldError(pointer, "invalid_value", f"Must be one of: {listed(allowed)}.")
    return FieldError(pointer, "wrong_type", _wrong_type(message))


def explain_syntax(raw: bytes) -> FieldError:
    """What is wrong with a row that the strict decoder could not parse; a lenient parser says how it is broken."""
    try:
        json.loads(raw, parse_constant=_refuse_constant, parse_int=float)
    except RecursionError:
        return FieldError("", "too_deep", "The row is nested too deeply.")
    except _NotFiniteError:
        return FieldError("", "not_finite", "NaN and Infinity are not numbers of JSON.")
    except json.JSONDecodeError as error:
        broken = f"Not valid JSON at character {error.pos + 1}"
        if error.doc[error.pos : error.pos + 1] == "{" and error.msg == "Extra data":
            return FieldError("", "invalid_json", f"{broken}, where another row begins. {ROW_A_LINE}")
        return FieldError("", "invalid_json", f"{broken}.")
    except UnicodeDecodeError:
        return FieldError("", "invalid_json", "Not valid JSON in UTF-8.")
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


def _wrong_type(message: str) -> str:
    match = _TYPES.match(message)
    if match is None:
        return "The value has the wrong type."
    expected = " or ".join(dict.fromkeys(_WORDS.get(word, word) for word in match["expected"].split(" | ")))
    got = f", got {_WORDS.get(match['got'], match['got'])}" if match["got"] else ""
    return f"Expected {expected}{got}."


def _refuse_constant(_: str) -> NoReturn:
    raise _NotFiniteError
