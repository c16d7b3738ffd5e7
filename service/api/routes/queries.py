"""Queries, batches and their leases."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from service.actions import batches, projects, queries, turns
from service.actions.jobs import Room
from service.actions.turns import Turn
from service.api.deps.callers import QueryRunner, ResultReader
from service.api.deps.edge import Writing
from service.api.deps.held import Held
from service.api.deps.parameters import JobId, Prefer, ProjectId
from service.api.deps.runtime import Runtime, utc_now
from service.api.deps.waiting import accept_job, parse_wait, under_way, wait_for_job
from service.api.problems import BODY, base_url, responses
from service.api.schemas.base import AnnotatorName
from service.api.schemas.jobs import JobOut
from service.api.schemas.queries import BatchOut, LeasesChanged, NextOut, QueryIn, ReleaseIn, RenewIn
from service.db.tables import Batch, Job
from service.errors import (
    ConflictError,
    IdempotencyMismatchError,
    JobNotSucceededError,
    NotFoundError,
    ProjectPausedError,
    RemovedError,
    TooManyRequestsError,
    UnavailableError,
)

router = APIRouter(tags=["queries"])


@router.post(
    "/v1/projects/{project_id}/queries",
    operation_id="createQuery",
    summary="Ask for a batch",
    status_code=202,
    response_model=JobOut,
    responses=responses(*BODY, NotFoundError, ConflictError, IdempotencyMismatchError, ProjectPausedError),
)
async def create_query(
    project_id: ProjectId,
    body: QueryIn,
    _: QueryRunner,
    writing: Writing,
    request: Request,
    prefer: Prefer = None,
) -> Response:
    """A job ranks the pool; its batch is at `/v1/jobs/{job_id}/batch`. `Prefer: wait=N` waits for it."""
    settings = writing.held.settings
    return await accept_job(
        request,
        writing,
        lambda session: queries.ask(
            session,
            projects.get(session, project_id),
            body.wish(),
            most=settings.max_batch,
            now=writing.now,
            share=settings.jobs_in_queue_per_project,
            room=Room.of(settings),
        ),
        prefer=prefer,
    )


@router.get(
    "/v1/jobs/{job_id}/batch",
    operation_id="getBatch",
    summary="Get the batch of a query",
    response_model=BatchOut,
    responses={
        202: {"model": JobOut, "description": "The batch is being made; ask again after `Retry-After`."},
        304: {"description": "The batch that you have; it never changes."},
        **responses(NotFoundError, JobNotSucceededError, RemovedError),
    },
)
async def get_batch(
    job_id: JobId,
    who: ResultReader,
    held: Held,
    request: Request,
    prefer: Prefer = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The ranked examples, exactly as they were chosen."""
    job, headers = await wait_for_job(request, job_id, project_id=who.project_id, prefer=prefer)
    batch = await run_in_threadpool(_batch, held, job)
    if batch is None:
        body = JobOut.of(job, base_url(request)).render()
        return Response(body, 202, {**headers, "Retry-After": "1"}, "application/json")
    headers |= {"ETag": f'"{batch.etag}"', "Cache-Control": "private, max-age=31536000, immutable"}
    if if_none_match is not None and batch.etag in if_none_match:
        return Response(None, 304, headers)
    return Response(batch.body, 200, headers, "application/json")


def _batch(held: Runtime, job: Job) -> Batch | None:
    with held.database.look() as session:
        return batches.batch_of(session, job)


@router.get(
    "/v1/projects/{project_id}/next",
    operation_id="getNext",
    summary="Get one example to label",
    response_model=NextOut,
    responses={
        202: {"model": JobOut, "description": "The ranking is being made; ask again after `Retry-After`."},
        204: {"description": "The pool is exhausted: nothing is left for this annotator now."},
        **responses(NotFoundError, JobNotSucceededError, ProjectPausedError, TooManyRequestsError, UnavailableError),
    },
)
async def get_next(
    project_id: ProjectId,
    _: QueryRunner,
    held: Held,
    request: Request,
    annotator: Annotated[AnnotatorName | None, Query(description="Who will label; gets own open leases first.")] = None,
    prefer: Prefer = None,
) -> Response:
    """An example from a prepared ranking, leased. The next ranking is made before this one is used up.

    Asked again before the label came, it gives the same example to the same annotator.
    """
    turn = await run_in_threadpool(_turn, held, project_id, annotator)
    headers: dict[str, str] = {}
    if turn.waits_for is not None and parse_wait(prefer) is not None:
        headers = (await wait_for_job(request, turn.waits_for.id, project_id=project_id, prefer=prefer))[1]
        turn = await run_in_threadpool(_turn, held, project_id, annotator)
    if turn.waits_for is not None:
        return under_way(request, turn.waits_for, headers)
    if turn.document is None:
        return Response(None, 204, headers)
    return Response(orjson.dumps(turn.document, option=orjson.OPT_UTC_Z), 200, headers, "application/json")


def _turn(held: Runtime, project_id: str, annotator: str | None) -> Turn:
    with held.write() as session:
        return turns.take(session, project_id, annotator=annotator, settings=held.settings, now=utc_now())


@router.post(
    "/v1/jobs/{job_id}/batch/renew",
    operation_id="renewBatch",
    summary="Prolong the leases of a batch",
    response_model=LeasesChanged,
    responses=responses(*BODY, NotFoundError, ConflictError, JobNotSucceededError, RemovedError),
)
def renew_batch(job_id: JobId, body: RenewIn, who: QueryRunner, writing: Writing) -> Response:
    """Leases that are live now end `lease_seconds` from now."""
    return writing.answer(
        lambda session: batches.renew(
            session, job_id, project_id=who.project_id, lease_seconds=body.lease_seconds, clock=utc_now
        ),
        render=lambda changed: LeasesChanged(job_id=job_id, changed=changed),
    )


@router.post(
    "/v1/jobs/{job_id}/batch/release",
    operation_id="releaseBatch",
    summary="Give examples of a batch back",
    response_model=LeasesChanged,
    responses=responses(*BODY, NotFoundError, ConflictError, JobNotSucceededError, RemovedError),
)
def release_batch(job_id: JobId, body: ReleaseIn, who: QueryRunner, writing: Writing) -> Response:
    """Others may be given them at once."""
    return writing.answer(
        lambda session: batches.release(session, job_id, project_id=who.project_id, example_ids=body.example_ids),
        render=lambda changed: LeasesChanged(job_id=job_id, changed=changed),
    )
