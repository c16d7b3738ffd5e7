"""Models that leave the service: their files and their cards."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from service.actions import digests, exports, models, projects
from service.actions.jobs import Room
from service.api.deps.callers import Reader
from service.api.deps.downloads import download
from service.api.deps.held import Held, Reading
from service.api.deps.parameters import Prefer, ProjectId, Version
from service.api.deps.runtime import Runtime, utc_now
from service.api.deps.waiting import under_way, wait_for_job
from service.api.problems import base_url, responses
from service.api.schemas.cards import ModelCard
from service.api.schemas.jobs import JobOut
from service.db.tables import Job, Model, Project
from service.errors import (
    JobNotSucceededError,
    NotFoundError,
    RemovedError,
    TooManyRequestsError,
    UnavailableError,
    UnsupportedFeatureError,
)
from service.storage.artifacts import model_encoder_key, onnx_key

router = APIRouter(prefix="/v1/projects/{project_id}/models/{version}", tags=["models"])
_FILE = "application/octet-stream"


@router.get(
    "/card",
    operation_id="getModelCard",
    summary="Get the card of a model",
    responses=responses(NotFoundError),
)
def get_card(project_id: ProjectId, version: Version, _: Reader, session: Reading, request: Request) -> ModelCard:
    """What whoever takes the model out has to know: labels, metrics, classes, features, and how to load its files."""
    project = projects.get(session, project_id)
    return ModelCard.of(project, models.get_trained(session, project.id, version), base_url(request))


@router.get(
    "/artifact",
    operation_id="getModelArtifact",
    summary="Download a model",
    response_class=StreamingResponse,
    responses={
        200: {"content": {_FILE: {"schema": {"type": "string", "format": "binary"}}}},
        202: {"model": JobOut, "description": "The file is being made; ask again when the job has ended."},
        **responses(
            NotFoundError,
            JobNotSucceededError,
            RemovedError,
            UnsupportedFeatureError,
            TooManyRequestsError,
            UnavailableError,
        ),
    },
)
async def get_artifact(
    project_id: ProjectId,
    version: Version,
    _: Reader,
    request: Request,
    held: Held,
    format: Annotated[Literal["skops", "encoder", "onnx"], Query()] = "skops",  # noqa: A002 - the contract's name
    prefer: Prefer = None,
) -> Response:
    """`skops`: the scikit-learn pipeline, which loads without pickle. `onnx`: made when it is first asked for.

    `encoder`: of a model of tables, what makes its rows of fields.

    `Link` names the model's card.
    """
    file = await run_in_threadpool(_file, held, project_id, version, format)
    headers: dict[str, str] = {}
    if not file.made:
        begun = await run_in_threadpool(_convert, held, project_id, version)
        job, headers = await wait_for_job(request, begun.id, project_id=project_id, prefer=prefer)
        exports.check_ended(job)
        file = await run_in_threadpool(_file, held, project_id, version, format)  # classes may have been renamed
        if job.state != "succeeded" or not file.made:
            return under_way(request, job, headers)
    headers["Link"] = f'</v1/projects/{project_id}/models/{version}/card>; rel="describedby"'
    headers["Content-Disposition"] = f'attachment; filename="{project_id}-{version}.{format}"'
    return await run_in_threadpool(download, held, file.key, media_type=_FILE, digest=file.digest, headers=headers)


@dataclass(frozen=True, slots=True)
class _File:
    """A model in one form: where it is, once it is made, and its recorded digest."""

    key: str
    digest: str | None
    made: bool


def _file(held: Runtime, project_id: str, version: int, form: str) -> _File:
    """The model's file in this form, if it can be had."""
    with held.database.read() as session:
        project = projects.get(session, project_id)
        model = models.get_with_file(session, project.id, version)
        key = _key(project, model, form)
        digest = digests.recorded(session, key)
    # an ONNX file that nobody recorded was made by a job that was lost, or an earlier release, or is somebody's own
    made = form != "onnx" or (digest is not None and held.objects.exists(key))
    return _File(key, digest, made)


def _key(project: Project, model: Model, form: str) -> str:
    if form == "skops":
        return model.artifact_key
    if form == "encoder":
        exports.check_encoder(model)
        return model_encoder_key(model.artifact_key)
    exports.check_onnx(project, model)
    return onnx_key(model.artifact_key, model.classes)


def _convert(held: Runtime, project_id: str, version: int) -> Job:
    settings = held.settings
    with held.write() as session:
        project = projects.get(session, project_id)
        model = models.get_with_file(session, project.id, version)
        share, room = settings.jobs_in_queue_per_project, Room.of(settings)
        return exports.ask(session, project, model, now=utc_now(), share=share, room=room)
