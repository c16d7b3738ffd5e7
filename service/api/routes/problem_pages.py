"""The pages that the `type` of a problem leads to."""

from fastapi import APIRouter
from pydantic import Field

from service.api.deps.known_parameters import NO_OTHERS
from service.api.problems import described
from service.api.schemas.base import Schema
from service.errors import InvalidRequestError, NotFoundError, catalogue

router = APIRouter(tags=["service"], dependencies=NO_OTHERS)


class ProblemPage(Schema):
    """What a kind of problem means and what to do."""

    name: str = Field(examples=["not-found"])
    title: str
    status: int
    meaning: str


@router.get(
    "/problems/{name}",
    operation_id="explainProblem",
    summary="What a kind of problem means",
    responses=described(NotFoundError, InvalidRequestError),
)
async def explain_problem(name: str) -> ProblemPage:
    """Every problem's `type` resolves to such a page."""
    kind = catalogue().get(name)
    if kind is None:
        raise NotFoundError("There is no such kind of problem.")
    return ProblemPage(name=kind.name, title=kind.title, status=kind.status, meaning=kind.meaning)
