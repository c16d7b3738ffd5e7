"""Who calls, and what the key must allow: the one place that declares the rule of an operation.

Every route that needs a key takes exactly one of the callers below. Its rule is in the OpenAPI document as `x-access`,
from which the tests generate the matrix of who may do what. The application does not start with a route that has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Request, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from service.actions.keys import Caller
from service.api.deps.known_parameters import refuse_unknown
from service.api.deps.recent_callers import RecentCallers
from service.api.schemas.openapi import needs_key
from service.errors import (
    ForbiddenError,
    NotFoundError,
)


class _ApiKey(HTTPBearer):
    """Stands for the key in the OpenAPI document; the middleware has looked at it before."""

    async def __call__(self, request: HTTPConnection) -> None:
        """Do nothing."""


_api_key = _ApiKey(scheme_name="ApiKey", description="An API key, `gln_...`.")


async def identified(request: Request) -> Caller:
    """The caller as the key says, before any rule: what a request is done for."""
    return caller_of(request)


def caller_of(request: Request) -> Caller:
    """As `identified`, of a request at hand."""
    who: Caller = request.state.caller
    return who


async def recent_callers(request: Request) -> RecentCallers:
    """The callers that this process remembers."""
    remembered: RecentCallers = request.app.state.recent_callers
    return remembered


@dataclass(frozen=True)
class Access:
    """The rule of an operation.

    Attributes:
        scopes: The key has one of them, or `admin`; empty: any key.
        bound: What a key of one project may reach: what is its `own` project's, or nothing (`refused`).
        free_here: A neighbour (`service.security.neighbours`) needs no key, and is nobody.
    """

    scopes: tuple[str, ...]
    bound: Literal["own", "refused"]
    free_here: bool = False

    async def __call__(self, request: Request, _: Annotated[object, Depends(_api_key)]) -> Caller | None:
        """The caller, if the rule allows the call, which has no parameters but those of the operation."""
        if "\0" in request.scope["path"]:
            raise NotFoundError("There is nothing at this path.")  # no store could look for it
        if self.free_here and getattr(request.state, "is_neighbour", False):
            await refuse_unknown(request)
            return None
        who = caller_of(request)
        project_id = request.path_params.get("project_id")
        if who.project_id is not None and project_id not in {None, who.project_id}:
            raise NotFoundError("There is no such project.")
        if self.scopes and not who.may(*self.scopes):
            raise ForbiddenError(f"The key needs the scope {' or '.join(self.scopes)}.")
        if self.bound == "refused":
            who.check_unrestricted()
        await refuse_unknown(request)
        return who


def _needs(*scopes: str, bound: Literal["own", "refused"] = "own", free_here: bool = False) -> Any:
    return Security(Access(scopes, bound, free_here), scopes=list(scopes))


Recent = Annotated[RecentCallers, Depends(recent_callers)]
Identified = Annotated[Caller, Depends(identified)]
AnyCaller = Annotated[Caller, _needs()]
Reader = Annotated[Caller, _needs("read")]
ResultReader = Annotated[Caller, _needs("read", "query:run")]
ProjectMaker = Annotated[Caller, _needs("project:write", bound="refused")]
ProjectWriter = Annotated[Caller, _needs("project:write")]
WebhookReader = Annotated[Caller, _needs("read", "project:write")]
PoolWriter = Annotated[Caller, _needs("pool:write")]
BulkReader = Annotated[Caller, _needs("read", "pool:write", "label:write")]
LabelWriter = Annotated[Caller, _needs("label:write")]
QueryRunner = Annotated[Caller, _needs("query:run")]
Operator = Annotated[Caller, _needs("query:run", "project:write")]
Admin = Annotated[Caller, _needs("admin", bound="refused")]
AdminOrHere = Annotated[Caller | None, _needs("admin", bound="refused", free_here=True)]


def declare(routes: Sequence[BaseRoute]) -> None:
    """Put the rule of each route that needs a key into its part of the OpenAPI document.

    Raises:
        RuntimeError: One has no rule, or more than one, or is of a kind that cannot have any.
    """
    if others := [route for route in routes if not isinstance(route, APIRoute)]:
        raise RuntimeError(f"{others} can have no rule of service.api.deps.callers, whatever they serve.")
    for route in (found for found in routes if isinstance(found, APIRoute) and needs_key(found.path)):
        rules = [needed.call for needed in route.dependant.dependencies if isinstance(needed.call, Access)]
        if len(rules) != 1:
            raise RuntimeError(f"{route.path} ({route.name}) needs exactly one rule of service.api.deps.callers.")
        rule = {
            "scopes": list(rules[0].scopes),
            "bound_keys": rules[0].bound,
            **({"free_here": True} if rules[0].free_here else {}),
        }
        route.openapi_extra = {**(route.openapi_extra or {}), "x-access": rule}
