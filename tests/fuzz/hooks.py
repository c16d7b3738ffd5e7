"""What the tool cannot know: which calls would end the run itself, and what the bulk media types look like."""

import json
import os
from itertools import count
from typing import Any

import schemathesis
from schemathesis.generation.meta import TestPhase

# The keys that the run calls with and the project that it works on.
KEPT = frozenset(os.environ["FUZZ_KEPT"].split())
_ENDING = {"revokeKey", "rotateKey", "deleteProject"}
_TEXTS = ("application/x-ndjson", "text/csv")
_numbers = count()


@schemathesis.hook
def filter_case(_context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Whether a made-up call may be sent. In partial mode bad rows are told in a 200, which would pass for accepted."""
    partial = (case.query or {}).get("mode") == "partial"
    if partial and case.meta is not None and case.meta.generation.mode.is_negative:
        return False
    ending = case.operation.definition.raw.get("operationId") in _ENDING
    return not (ending and KEPT & {str(value) for value in (case.path_parameters or {}).values()})


@schemathesis.hook
def map_headers(_context: schemathesis.HookContext, headers: dict[str, Any] | None) -> dict[str, Any] | None:
    """Number the Idempotency-Key as it is drawn; one that is changed later passes for one that a link has named."""
    return headers and {name: _numbered(name, value) for name, value in headers.items()}


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case[Any], _kwargs: dict[str, Any]) -> None:
    """Number the Idempotency-Key of a case that is listed and not drawn; write what a link puts into a text as text."""
    phase = case.meta and case.meta.phase.name
    if phase in {TestPhase.EXAMPLES, TestPhase.COVERAGE}:
        for name, value in list((case.headers or {}).items()):
            case.headers[name] = _numbered(name, value)
    elif phase is TestPhase.STATEFUL and case.media_type in _TEXTS and isinstance(case.body, dict):
        case.body = json.dumps(case.body)


def _numbered(name: str, value: Any) -> Any:
    """The header's value, where a good key has a number: the same one with another body is 422 by contract."""
    good = isinstance(value, str) and 1 <= len(value) <= 255 and all("!" <= letter <= "~" for letter in value)
    return f"{next(_numbers)}-{value}"[:255] if good and name.lower() == "idempotency-key" else value


@schemathesis.serializer(*_TEXTS)
def text_body(_context: schemathesis.SerializationContext, value: object) -> bytes:
    """A body that the document describes as a text."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else str(value).encode()
