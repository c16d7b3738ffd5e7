"""Self-labelling."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from service.actions import autolabels
from service.actions.jobs import Room
from service.api.deps.callers import ProjectWriter, Reader
from service.api.deps.edge import Writing
from service.api.deps.held import Held, Reading
from service.api.deps.parameters import PageSize, PageToken, Prefer, ProjectId
from service.api.deps.waiting import accept_job, where_to_ask
from service.api.problems import BODY, base_url, responses
from service.api.schemas.autolabels import AutolabelIn, AutolabelOut
from service.api.schemas.base import Page, decode_token
from service.api.schemas.jobs import JobOut
from service.errors import (
    ConflictError,
    IdempotencyMismatchError,
    MalformedRequestError,
    NotFoundError,
    ProjectPausedError,
)

router = APIRouter(prefix="/v1/projects/{project_id}/autolabels", tags=["autolabels"])

AutolabelId = Annotated[str, Path(description="Id of the group.", examples=["aut_01jd5k3v7mq8z2x4c6b8n0m1aa"])]


@router.post(
    "",
    operation_id="createAutolabels",
    summary="Let the model label what it is sure of",
    status_code=202,
    response_model=JobOut,
    responses=responses(*BODY, NotFoundError, ConflictError, IdempotencyMismatchError, ProjectPausedError),
)
async def create_autolabels(
    project_id: ProjectId,
    body: AutolabelIn,
    _: ProjectWriter,
    writing: Writing,
    request: Request,
    prefer: Prefer = None,
) -> Response:
    """A job labels the pool above a probability from which on unbiased rows show the precision that is wanted.

    It is refused, with the reason, when they are too few or do not show it. `links.autolabel` of the job is the group.
    A share is left to people, who get it first with their queries.
    """
    settings = writing.held.settings
    return await accept_job(
        request,
        writing,
        lambda session: autolabels.ask(
            session,
            project_id,
            body.model_dump(),
            now=writing.now,
            share=settings.jobs_in_queue_per_project,
            room=Room.of(settings),
        ),
        prefer=prefer,
    )


@router.get(
    "",
    operation_id="listAutolabels",
    summary="List groups of labels that models made",
    responses=responses(MalformedRequestError, NotFoundError),
)
def list_autolabels(
    project_id: ProjectId, _: Reader, session: Reading, page_size: PageSize = 100, page_token: PageToken = None
) -> Page[AutolabelOut]:
    """The newest first."""
    tied = {"list": "autolabels", "project": project_id}
    found = autolabels.page(session, project_id, before=decode_token(page_token, **tied), size=page_size + 1)
    return Page.of(found, page_size, show=AutolabelOut.of, position=lambda view: view.group.id, tied=tied)


@router.get(
    "/{autolabel_id}",
    operation_id="getAutolabels",
    summary="Get a group of labels that a model made",
    responses=responses(NotFoundError),
)
def get_autolabels(project_id: ProjectId, autolabel_id: AutolabelId, _: Reader, session: Reading) -> AutolabelOut:
    """How its threshold was chosen, what it has labelled, and how often people say the same in its audit share."""
    return AutolabelOut.of(autolabels.get(session, project_id, autolabel_id))


@router.delete(
    "/{autolabel_id}",
    operation_id="revokeAutolabels",
    summary="Take back the labels that a model made",
    status_code=202,
    response_model=JobOut,
    responses=responses(NotFoundError, ConflictError),
)
def revoke_autolabels(
    project_id: ProjectId, autolabel_id: AutolabelId, _: ProjectWriter, writing: Writing, held: Held, request: Request
) -> Response:
    """A job removes all labels of the group, and none of people's; its examples can be picked again."""
    share = held.settings.jobs_in_queue_per_project
    return writing.answer(
        lambda session: autolabels.revoke(session, project_id, autolabel_id, now=writing.now, share=share),
        render=lambda job: JobOut.of(job, base_url(request)),
        status=202,
        headers=where_to_ask,
    )
