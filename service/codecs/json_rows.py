"""Rows of NDJSON and of a JSON document."""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Generic

import msgspec

from service.codecs.blocks import Parsed
from service.codecs.limits import Limits
from service.codecs.row_errors import ROW_A_LINE, explain_syntax, explain_type, id_of, named
from service.codecs.rows import Row, RowKind, pointer_to
from service.errors import FieldError, InvalidRequestError, MalformedRequestError, PayloadTooLargeError

_SPACES = " \t\r\n"
_SPACE = re.compile(rf"[{_SPACES}]*")
# numbers become floats: whole numbers of many digits would be slow to convert, and only the extent counts here
_lenient = json.JSONDecoder(parse_int=float)
# the longest token that an error near the end of the text may be about
_LONGEST_TOKEN = 16


class RowDecoder(Generic[Row]):
    """Decodes the JSON of one row strictly."""

    def __init__(self, kind: RowKind[Row]) -> None:
        self._kind: RowKind[Row] = kind
        self._decoder: msgspec.json.Decoder[Row] = msgspec.json.Decoder(kind.row_type)

    def decode(self, raw: bytes) -> Row | FieldError:
        """The row, or its first problem.

        Raises:
            UnicodeDecodeError: It is not UTF-8.
        """
        try:
            row = self._decoder.decode(raw)
        except msgspec.ValidationError as error:
            return replace(explain_type(error, self._kind.row_type), id=id_of(raw, self._kind))
        except (msgspec.DecodeError, RecursionError):
            return explain_syntax(raw)
        problem = row.problem()
        return row if problem is None else named(problem, row.key)


def read_ndjson(chunks: Iterator[bytes], kind: RowKind[Row], limits: Limits) -> Iterator[Parsed[Row]]:
    """Each line that is not blank.

    Raises:
        MalformedRequestError: A line is not UTF-8.
        PayloadTooLargeError: More lines are blank than there may be rows.
    """
    decoder = RowDecoder(kind)
    too_long = FieldError("", "too_long", f"At most {limits.max_line_bytes} bytes are allowed in a line. {ROW_A_LINE}")
    blank = 0
    for number, line in enumerate(split_lines(chunks, limits.max_line_bytes), start=1):
        if line is None:
            yield number, 0, too_long
        elif not line or line.isspace():
            blank += 1
            check_blank_lines(blank, limits)
        else:
            try:
                yield number, len(line), decoder.decode(line)
            except UnicodeDecodeError as error:
                raise MalformedRequestError(f"Line {number} is not valid UTF-8.") from error


def check_blank_lines(count: int, limits: Limits) -> None:
    """Refuse a body of nothing but line feeds, which would be small when compressed and slow to skip.

    Raises:
        PayloadTooLargeError: More lines are blank than there may be rows.
    """
    if count > limits.max_rows:
        raise PayloadTooLargeError(f"The body has more than {limits.max_rows} blank lines.")


def split_lines(chunks: Iterator[bytes], max_bytes: int) -> Iterator[bytes | None]:
    """The lines of a text without their line feeds, and None for one that is too long, which is not held.

    A byte order mark at the start is dropped.
    """
    rest = b""
    skipping, at_start = False, True
    for chunk in chunks:
        lines = ((rest + chunk).removeprefix(codecs.BOM_UTF8) if at_start else rest + chunk).split(b"\n")
        at_start = False
        rest = lines.pop()
        for line in lines:
            yield None if skipping or len(line) > max_bytes else line
            skipping = False
        if skipping or len(rest) > max_bytes:
            skipping, rest = True, b""
    if skipping or rest:
        yield None if skipping else rest


def read_document(chunks: Iterator[bytes], kind: RowKind[Row], limits: Limits) -> Iterator[Parsed[Row]]:
    """Each element of the list in `{"examples": [...]}` or `{"labels": [...]}`, without holding the document.

    Raises:
        MalformedRequestError: It is not one JSON document in UTF-8.
        InvalidRequestError: It is not an object with just that list.
        PayloadTooLargeError: An element is over `max_line_bytes`.
    """
    text = _Window(chunks, limits.max_line_bytes)
    if not text.peek():
        return
    decoder = RowDecoder(kind)
    _open_list(text, kind.name)
    number = 0
    while text.peek() != "]":
        if number:
            text.take(",")
        number += 1
        raw = text.value()
        yield number, len(raw), decoder.decode(raw)
    text.take("]")
    if text.peek() == ",":
        raise _bad_document(kind.name, "", "unknown_field", "It has another field.")
    text.take("}")
    if text.peek():
        raise MalformedRequestError("Something follows the JSON document.")


def _open_list(text: "_Window", name: str) -> None:
    """Step into the list of rows."""
    if text.peek() != "{":
        text.value()
        raise _bad_document(name, "", "wrong_type", "Expected object.")
    text.take("{")
    if text.peek() == "}":
        raise _bad_document(name, pointer_to(name), "missing_field", "The field is required.")
    if text.peek() != '"':
        raise text.not_json()
    if text.value() != json.dumps(name).encode():
        raise _bad_document(name, "", "unknown_field", "It has another field.")
    text.take(":")
    if text.peek() != "[":
        text.value()
        raise _bad_document(name, pointer_to(name), "wrong_type", "Expected list.")
    text.take("[")


def _bad_document(name: str, pointer: str, code: str, detail: str) -> InvalidRequestError:
    return InvalidRequestError(
        f'The body must be {{"{name}": [...]}} and nothing else. One row a line is sent as application/x-ndjson.',
        errors=[FieldError(pointer, code, detail)],
    )


class _Window:
    """The part of a JSON text that is being parsed; it moves forward over the chunks."""

    def __init__(self, chunks: Iterator[bytes], max_value_bytes: int) -> None:
        self._chunks = chunks
        self._max_value_bytes = max_value_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._passed = 0  # characters that the window has left behind

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        if self._at < len(self._text) and self._text[self._at] not in _SPACES:
            return self._text[self._at]
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, expected: str) -> None:
        """Step over one character."""
        if self.peek() != expected:
            raise self.not_json()
        self._at += 1

    def value(self) -> bytes:
        """Step over one JSON value; returns its text."""
        self.peek()
        end = self._end_of_value()
        raw = self._text[self._at : end].encode()
        self._at = end
        if len(raw) > self._max_value_bytes:
            raise self._too_long()
        return raw

    def not_json(self, at: int | None = None) -> MalformedRequestError:
        """The error of a text that is no JSON at that place of the window; by default at the next character."""
        place = self._passed + (self._at if at is None else at) + 1
        return MalformedRequestError(f"The body is not valid JSON at character {place}.")

    def _end_of_value(self) -> int:
        while True:
            try:
                _, end = _lenient.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise MalformedRequestError("The body is nested too deeply.") from error
            except json.JSONDecodeError as error:
                self._complete(error)
            else:
                # a number may go on in the next chunk
                if end < len(self._text) or not self._more():
                    return end

    def _complete(self, error: json.JSONDecodeError) -> None:
        """Read on after an error that says only that the value does not end in this window; else raise."""
        cut_off = error.pos + _LONGEST_TOKEN > len(self._text) or error.msg.startswith("Unterminated string")
        if cut_off and len(self._text) - self._at > self._max_value_bytes:
            raise self._too_long() from error
        broken = self.not_json(error.pos)
        if not cut_off or not self._more():
            raise broken from error

    def _more(self) -> bool:
        """Move the window on by a chunk; false at the end of the body."""
        chunk = next(self._chunks, None)
        try:
            text = self._utf8.decode(chunk or b"", final=chunk is None)
        except UnicodeDecodeError as error:
            raise MalformedRequestError("The body is not valid UTF-8.") from error
        self._passed += self._at
        self._text, self._at = self._text[self._at :] + text, 0
        return chunk is not None

    def _too_long(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(f"One row of the body is over {self._max_value_bytes} bytes.")
