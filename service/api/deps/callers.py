"""Who calls, and what the key must allow."""

from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer, SecurityScopes

from service.actions.keys import Caller
from service.errors import (
    ForbiddenError,
    NotFoundError,
)

_bearer = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="An API key, `gln_...`.")


def caller(request: Request, scopes: SecurityScopes, _: Annotated[object, Depends(_bearer)]) -> Caller:
    """The caller, who must have one of the scopes and may see the project of the path."""
    if "\0" in request.url.path:
        raise NotFoundError("There is nothing at this path.")  # no store could look for it
    who: Caller = request.state.caller
    project_id = request.path_params.get("project_id")
    if who.project_id is not None and project_id not in {None, who.project_id}:
        raise NotFoundError("There is no such project.")
    if scopes.scopes and not who.may(*scopes.scopes):
        raise ForbiddenError(f"The key needs the scope {' or '.join(scopes.scopes)}.")
    return who


def _needs(*scopes: str) -> Any:
    return Security(caller, scopes=list(scopes))


AnyCaller = Annotated[Caller, _needs()]
Reader = Annotated[Caller, _needs("read")]
ResultReader = Annotated[Caller, _needs("read", "query:run")]
ProjectWriter = Annotated[Caller, _needs("project:write")]
PoolWriter = Annotated[Caller, _needs("pool:write")]
BulkReader = Annotated[Caller, _needs("read", "pool:write", "label:write")]
LabelWriter = Annotated[Caller, _needs("label:write")]
QueryRunner = Annotated[Caller, _needs("query:run")]
Operator = Annotated[Caller, _needs("query:run", "project:write")]
Admin = Annotated[Caller, _needs("admin")]
