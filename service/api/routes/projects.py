"""Projects."""

from fastapi import APIRouter, Request, Response

from service.actions import projects
from service.actions.projects import ProjectView
from service.api.deps.callers import ProjectMaker, ProjectWriter, Reader
from service.api.deps.edge import Writing
from service.api.deps.held import Held, Reading
from service.api.deps.parameters import IfMatch, PageSize, PageToken, ProjectId, version_of
from service.api.deps.runtime import utc_now
from service.api.deps.waiting import where_to_ask
from service.api.problems import BODY, base_url, responses
from service.api.schemas.base import Page, decode_token
from service.api.schemas.jobs import JobOut
from service.api.schemas.projects import ProjectIn, ProjectOut, ProjectPatch
from service.errors import (
    ConflictError,
    IdempotencyMismatchError,
    MalformedRequestError,
    NotFoundError,
    PreconditionFailedError,
    PreconditionRequiredError,
)

router = APIRouter(prefix="/v1/projects", tags=["projects"])


def _headers(view: ProjectView) -> dict[str, str]:
    return {"ETag": f'"{view.project.version}"', "Location": f"/v1/projects/{view.project.id}"}


@router.post(
    "",
    operation_id="createProject",
    summary="Create a project",
    status_code=201,
    response_model=ProjectOut,
    responses=responses(*BODY, ConflictError, IdempotencyMismatchError),
)
def create_project(body: ProjectIn, _: ProjectMaker, writing: Writing) -> Response:
    """Only `name`, `task` and `features` are required; everything else has a default."""
    config = body.config()
    return writing.answer(
        lambda session: projects.create(session, config, now=writing.now),
        render=ProjectOut.of,
        status=201,
        headers=_headers,
    )


@router.get(
    "",
    operation_id="listProjects",
    summary="List projects",
    responses=responses(MalformedRequestError),
)
def list_projects(
    who: Reader, session: Reading, page_size: PageSize = 100, page_token: PageToken = None
) -> Page[ProjectOut]:
    """Active projects in order of creation."""
    tied = {"list": "projects", "only": who.project_id}
    after = decode_token(page_token, **tied)
    views = projects.page(session, only=who.project_id, after=after, size=page_size + 1, now=utc_now())
    return Page.of(views, page_size, show=ProjectOut.of, position=lambda view: view.project.id, tied=tied)


@router.get(
    "/{project_id}",
    operation_id="getProject",
    summary="Get a project",
    responses=responses(NotFoundError),
)
def get_project(project_id: ProjectId, _: Reader, session: Reading, response: Response) -> ProjectOut:
    """The configuration and the counters; the ETag is the version of the configuration."""
    view = projects.view(session, projects.get(session, project_id), now=utc_now())
    response.headers["ETag"] = _headers(view)["ETag"]
    return ProjectOut.of(view)


@router.patch(
    "/{project_id}",
    operation_id="changeProject",
    summary="Change a project",
    response_model=ProjectOut,
    responses=responses(
        *BODY,
        NotFoundError,
        ConflictError,
        PreconditionFailedError,
        PreconditionRequiredError,
    ),
)
def change_project(
    project_id: ProjectId, body: ProjectPatch, _: ProjectWriter, writing: Writing, if_match: IfMatch = None
) -> Response:
    """Each section that is sent replaces the old one. Classes can be added, renamed and merged.

    Other features are made by a job (`featurization_job_id`) while the project goes on with those that it has. When the
    job ends well, the project has the new ones, and a model is trained on them; else it keeps what it has.
    """
    version, changes = version_of(if_match), body.changes()
    share = writing.held.settings.jobs_in_queue_per_project
    return writing.answer(
        lambda session: projects.change(session, project_id, changes, version=version, now=writing.now, share=share),
        render=ProjectOut.of,
        headers=_headers,
    )


@router.delete(
    "/{project_id}",
    operation_id="deleteProject",
    summary="Delete a project",
    status_code=202,
    response_model=JobOut,
    responses=responses(NotFoundError),
)
def delete_project(project_id: ProjectId, _: ProjectWriter, writing: Writing, held: Held, request: Request) -> Response:
    """The project is closed at once; a job removes everything of it."""
    share = held.settings.jobs_in_queue_per_project
    return writing.answer(
        lambda session: projects.delete(session, project_id, now=writing.now, share=share),
        render=lambda job: JobOut.of(job, base_url(request)),
        status=202,
        headers=where_to_ask,
    )
