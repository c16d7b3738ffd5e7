"""Query parameters that an operation does not have are refused: a misspelt one would be taken for one left out.

Operations under `/v1` look for them with their rule of `service.api.deps.callers`, the public ones by `NO_OTHERS`.
"""

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError

from service.api.problems import MOST_ERRORS
from service.catalog.names import known_are, meant


async def refuse_unknown(request: Request) -> None:
    """Refuse what neither the operation nor anything that it depends on declares."""
    if not request.query_params:
        return
    known = list(dict.fromkeys(_declared(request.scope["route"].dependant)))
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise RequestValidationError([_fault(name, known) for name in unknown[:MOST_ERRORS]])


NO_OTHERS = [Depends(refuse_unknown)]
"""For routers of operations that anybody may call."""


def _declared(dependant: Dependant) -> list[str]:
    inner = [name for each in dependant.dependencies for name in _declared(each)]
    return [*(parameter.alias for parameter in dependant.query_params), *inner]


def _fault(name: str, known: list[str]) -> dict[str, object]:
    detail = f"This operation has no such query parameter.{meant(name, known)} {known_are(known)}"
    return {"type": "unknown_parameter", "loc": ("query", name), "msg": detail}
