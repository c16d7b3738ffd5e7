"""How much annotators agree."""

from fastapi import APIRouter, Request, Response

from service.actions import agreement, projects
from service.actions.jobs import Room
from service.api.deps.callers import QueryRunner
from service.api.deps.edge import Writing
from service.api.deps.parameters import NO_FIELDS, Prefer, ProjectId
from service.api.deps.waiting import accept_job
from service.api.problems import BODY, responses
from service.api.schemas.agreement import AgreementJob
from service.errors import ConflictError, IdempotencyMismatchError, NotFoundError

router = APIRouter(tags=["labels"])


@router.post(
    "/v1/projects/{project_id}/agreement",
    operation_id="createAgreement",
    summary="Report how much annotators agree",
    status_code=202,
    response_model=AgreementJob,
    responses=responses(*BODY, NotFoundError, ConflictError, IdempotencyMismatchError),
    dependencies=NO_FIELDS,
)
async def create_agreement(
    project_id: ProjectId, _: QueryRunner, writing: Writing, request: Request, prefer: Prefer = None
) -> Response:
    """A job compares all answers; its `result` has agreement beyond chance, and the quality of each annotator."""
    settings = writing.held.settings
    return await accept_job(
        request,
        writing,
        lambda session: agreement.ask(
            session,
            projects.get(session, project_id),
            now=writing.now,
            share=settings.jobs_in_queue_per_project,
            room=Room.of(settings),
        ),
        prefer=prefer,
    )
