"""Whether the process lives and is ready."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import Field
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool

from service.api.deps.held import Held
from service.api.deps.known_parameters import NO_OTHERS
from service.api.deps.runtime import Runtime
from service.api.problems import described
from service.api.schemas.base import Schema
from service.errors import InvalidRequestError, UnavailableError

router = APIRouter(tags=["service"], dependencies=NO_OTHERS)


class Live(Schema):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(Schema):
    """The stores answer. Without its queue the service takes labels and uploads, and works on jobs later."""

    status: Literal["ok", "degraded"]
    stores: dict[str, Literal["ok", "unavailable"]] = Field(examples=[{"sql": "ok", "objects": "ok", "queue": "ok"}])


@router.get("/livez", operation_id="isLive", summary="Is the process alive?", responses=described(InvalidRequestError))
async def livez() -> Live:
    """Looks at nothing but the process."""
    return Live()


@router.get(
    "/readyz",
    operation_id="isReady",
    summary="Can requests be served?",
    response_model=Ready,
    responses=described(InvalidRequestError, UnavailableError),
)
async def readyz(held: Held) -> Response:
    """`degraded`: Redis is away; requests are served, and jobs run when it is back."""
    ready = await run_in_threadpool(_look, held)
    return Response(ready.render(), media_type="application/json")


def _look(held: Runtime) -> Ready:
    try:
        migrated = held.database.is_migrated()
        held.objects.exists("ready")
    except (DBAPIError, OSError) as error:
        raise UnavailableError("The database or the object storage does not answer.") from error
    if not migrated:
        raise UnavailableError("The database is older than this release: run `gleaner migrate`.")
    queue = held.queue.ping()
    return Ready(
        status="ok" if queue else "degraded",
        stores={"sql": "ok", "objects": "ok", "queue": "ok" if queue else "unavailable"},
    )
