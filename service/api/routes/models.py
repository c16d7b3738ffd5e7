"""Trainings, models and predictions."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from service.actions import goals, models, projects, serving, trainings
from service.actions.jobs import Room
from service.api.deps.callers import Operator, QueryRunner, Reader
from service.api.deps.edge import Edge, Writing
from service.api.deps.held import Reading
from service.api.deps.parameters import NO_FIELDS, PageSize, PageToken, Prefer, ProjectId, Version
from service.api.deps.runtime import Runtime, utc_now
from service.api.deps.waiting import accept_job, parse_wait, under_way, wait_for_job
from service.api.problems import BODY, responses
from service.api.schemas.base import Page, decode_number, decode_token
from service.api.schemas.jobs import JobOut
from service.api.schemas.models import ActivateIn, CurvePoint, ModelDetail, ModelOut, PredictIn, PredictOut
from service.api.schemas.progress import ProgressOut
from service.api.schemas.projects import counts_of
from service.errors import (
    ConflictError,
    GleanerError,
    IdempotencyMismatchError,
    JobNotSucceededError,
    MalformedRequestError,
    NotFoundError,
    ProjectPausedError,
    RemovedError,
    UnauthenticatedError,
)

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["models"])
_PREDICT_SECONDS = 10.0


@router.post(
    "/trainings",
    operation_id="createTraining",
    summary="Train now",
    status_code=202,
    response_model=JobOut,
    responses=responses(*BODY, NotFoundError, ConflictError, IdempotencyMismatchError, ProjectPausedError),
    dependencies=NO_FIELDS,
)
async def create_training(
    project_id: ProjectId,
    _: Operator,
    writing: Writing,
    request: Request,
    prefer: Prefer = None,
) -> Response:
    """While one training waits, asking again gives the waiting one. With one class only it succeeds without a model."""
    settings = writing.held.settings
    return await accept_job(
        request,
        writing,
        lambda session: trainings.request(
            session,
            projects.lock(session, project_id)[0].id,
            now=writing.now,
            share=settings.jobs_in_queue_per_project,
            room=Room.of(settings),
        ),
        prefer=prefer,
    )


@router.get(
    "/models",
    operation_id="listModels",
    summary="List models",
    responses=responses(NotFoundError, MalformedRequestError),
)
def list_models(
    project_id: ProjectId, _: Reader, session: Reading, page_size: PageSize = 100, page_token: PageToken = None
) -> Page[ModelOut]:
    """The newest first."""
    projects.get(session, project_id)
    tied = {"list": "models", "project": project_id}
    below = decode_number(decode_token(page_token, **tied))
    found = models.page(session, project_id, below=below, size=page_size + 1)
    pool = models.pool(session, project_id)
    return Page.of(
        found, page_size, show=lambda model: ModelOut.of(model, pool), position=lambda model: model.version, tied=tied
    )


@router.get("/models/{version}", operation_id="getModel", summary="Get a model", responses=responses(NotFoundError))
def get_model(project_id: ProjectId, version: Version, _: Reader, session: Reading) -> ModelDetail:
    """What it was trained on and how good it is."""
    model = models.get(session, projects.get(session, project_id).id, version)
    return ModelDetail.of(model, models.pool(session, project_id))


@router.post(
    "/models/{version}/activate",
    operation_id="activateModel",
    summary="Let a version serve",
    response_model=ModelOut,
    responses=responses(*BODY, NotFoundError, ConflictError, RemovedError, IdempotencyMismatchError),
)
def activate_model(
    project_id: ProjectId, version: Version, _: Operator, writing: Writing, body: ActivateIn | None = None
) -> Response:
    """The way to a model of your own, to pin a version, and back to an older one. Its predictions are complete then."""
    share = writing.held.settings.jobs_in_queue_per_project
    pin = body is None or body.pin
    return writing.answer(
        lambda session: serving.activate(session, project_id, version, pin=pin, now=writing.now, share=share),
        render=lambda activated: ModelOut.of(*activated),
    )


@router.post(
    "/models/{version}/predict",
    operation_id="predict",
    summary="Predict examples that need not be in the pool",
    response_model=PredictOut,
    responses={
        202: {"model": JobOut, "description": "It takes longer; the job's result will hold the predictions."},
        **responses(*BODY, NotFoundError, JobNotSucceededError, RemovedError),
    },
)
async def predict(
    project_id: ProjectId,
    version: Version,
    body: PredictIn,
    who: QueryRunner,
    writing: Writing,
    request: Request,
    prefer: Prefer = None,
) -> Response:
    """In the order of the examples. The answer is `202` with the job after 10 s, or after `Prefer: wait=N`."""
    inputs_key = await run_in_threadpool(_keep_inputs, writing.held, project_id, version, body)
    accepted = await _accept(request, writing, project_id, version, inputs_key)
    job_id = accepted.headers["Location"].rpartition("/")[2]
    wait = parse_wait(prefer)
    seconds = _PREDICT_SECONDS if wait is None else wait
    try:
        job, headers = await wait_for_job(request, job_id, project_id=who.project_id, prefer=f"wait={seconds:g}")
    except UnauthenticatedError:
        return accepted  # as every job that was accepted before its key ended
    if job.state in {"failed", "cancelled"}:
        raise JobNotSucceededError(f"The prediction was {job.state}.")
    headers = headers if wait is not None else {}
    if "Idempotent-Replayed" in accepted.headers:
        headers["Idempotent-Replayed"] = "true"
    if job.result is None:
        return under_way(request, job, headers)
    return Response(PredictOut.model_validate(job.result).render(), 200, headers, "application/json")


def _keep_inputs(held: Runtime, project_id: str, version: int, body: PredictIn) -> str:
    with held.database.read() as session:
        project = projects.get(session, project_id)
        models.get_trained(session, project_id, version)
    return models.keep_inputs(project, [example.model_dump() for example in body.examples], objects=held.objects)


async def _accept(request: Request, writing: Edge, project_id: str, version: int, inputs_key: str) -> Response:
    """Queue the prediction; inputs that no job will read are forgotten."""
    held = writing.held
    try:
        accepted = await accept_job(
            request,
            writing,
            lambda session: models.predict(
                session,
                projects.get(session, project_id),
                version,
                inputs_key,
                now=writing.now,
                share=held.settings.jobs_in_queue_per_project,
                room=Room.of(held.settings),
            ),
            prefer=None,
        )
    except GleanerError:
        await run_in_threadpool(held.objects.delete, inputs_key)
        raise
    if "Idempotent-Replayed" in accepted.headers:
        await run_in_threadpool(held.objects.delete, inputs_key)
    return accepted


@router.get("/progress", operation_id="getProgress", summary="The learning curve", responses=responses(NotFoundError))
def get_progress(project_id: ProjectId, _: Reader, session: Reading) -> ProgressOut:
    """How good each model was for how many labels, and how far the project's `goal` is."""
    view = projects.view(session, projects.get(session, project_id), now=utc_now())
    found = models.curve(session, project_id)
    points = [CurvePoint.of(model) for model in found]
    return ProgressOut.of(counts_of(view).labels, points, goals.outlook(view.project, found))
