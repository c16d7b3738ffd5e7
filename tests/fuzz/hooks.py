"""What the tool cannot know: which calls would end the run itself, and what the bulk media types look like."""

import os
from itertools import count
from typing import Any

import schemathesis

# The keys that the run calls with and the project that it works on.
KEPT = frozenset(os.environ["FUZZ_KEPT"].split())
_ENDING = {"revokeKey", "rotateKey", "deleteProject"}
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
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case[Any], _kwargs: dict[str, Any]) -> None:
    """Number a good Idempotency-Key: by contract, the same one with another body is 422, however good the body is."""
    for name, key in list((case.headers or {}).items()):
        good = isinstance(key, str) and 1 <= len(key) <= 255 and all("!" <= letter <= "~" for letter in key)
        if name.lower() == "idempotency-key" and good:
            case.headers[name] = f"{next(_numbers)}-{key}"[:255]


@schemathesis.serializer("application/x-ndjson", "text/csv")
def text_body(_context: schemathesis.SerializationContext, value: object) -> bytes:
    """A body that the document describes as a text."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else str(value).encode()
