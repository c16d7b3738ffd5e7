"""Jobs: look, wait, follow, cancel."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from service.actions import jobs, projects, trainings
from service.api.deps.callers import Operator, ResultReader
from service.api.deps.edge import Writing
from service.api.deps.held import Held, Reading
from service.api.deps.parameters import NO_FIELDS, JobId, PageSize, PageToken, Prefer, ProjectId
from service.api.deps.runtime import Runtime
from service.api.deps.waiting import KEY_TRUSTED_SECONDS, look, wait_for_job
from service.api.problems import BODY, base_url, responses
from service.api.schemas.base import Page, State, decode_token, natural
from service.api.schemas.jobs import JOB_EVENT, TERMINAL, JobOut
from service.db.tables import Job
from service.errors import ConflictError, MalformedRequestError, NotFoundError, UnauthenticatedError
from service.queue.messages import JobKind

router = APIRouter(tags=["jobs"])
_POLL_SECONDS = 0.25
_CHECK_KEY_EVERY = round(KEY_TRUSTED_SECONDS / _POLL_SECONDS)  # polls
_COMMENT_EVERY = 40  # polls: a comment line every ten seconds keeps proxies from closing the stream


@router.get(
    "/v1/jobs/{job_id}",
    operation_id="getJob",
    summary="Get a job",
    response_model=JobOut,
    responses=responses(NotFoundError),
)
async def get_job(job_id: JobId, who: ResultReader, request: Request, prefer: Prefer = None) -> Response:
    """With `Prefer: wait=N` the answer comes when the job ends, after N seconds at the latest."""
    job, headers = await wait_for_job(request, job_id, project_id=who.project_id, prefer=prefer)
    if job.state not in TERMINAL:
        headers["Retry-After"] = "1"
    return Response(JobOut.of(job, base_url(request)).render(), 200, headers, "application/json")


@router.get(
    "/v1/projects/{project_id}/jobs",
    operation_id="listJobs",
    summary="List a project's jobs",
    responses=responses(NotFoundError, MalformedRequestError),
)
def list_jobs(
    project_id: ProjectId,
    _: ResultReader,
    session: Reading,
    request: Request,
    kind: Annotated[JobKind | None, Query()] = None,
    state: Annotated[State | None, Query()] = None,
    page_size: PageSize = 100,
    page_token: PageToken = None,
) -> Page[JobOut]:
    """The newest first."""
    projects.get(session, project_id)
    tied = {"list": "jobs", "project": project_id, "kind": kind, "state": state}
    before = decode_token(page_token, **tied)
    found = jobs.page(session, project_id, kind=kind, state=state, before=before, size=page_size + 1)
    base = base_url(request)
    return Page.of(found, page_size, show=lambda job: JobOut.of(job, base), position=lambda job: job.id, tied=tied)


@router.post(
    "/v1/jobs/{job_id}/cancel",
    operation_id="cancelJob",
    summary="Cancel a job",
    response_model=JobOut,
    responses=responses(*BODY, NotFoundError, ConflictError),
    dependencies=NO_FIELDS,
)
def cancel_job(
    job_id: JobId,
    who: Operator,
    writing: Writing,
    request: Request,
) -> Response:
    """A queued job never runs; a running one stores nothing from here on and stops. Cancelling twice is no error."""
    return writing.answer(
        lambda session: trainings.cancel(
            session,
            jobs.get(session, job_id, project_id=who.project_id),
            now=writing.now,
            share=writing.held.settings.jobs_in_queue_per_project,
        ),
        render=lambda job: JobOut.of(job, base_url(request)),
    )


@router.get(
    "/v1/jobs/{job_id}/events",
    operation_id="followJob",
    summary="Follow a job (server-sent events)",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": JOB_EVENT}}, "description": "Events."},
        **responses(NotFoundError),
    },
)
async def follow_job(
    job_id: JobId,
    who: ResultReader,
    held: Held,
    request: Request,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> StreamingResponse:
    """`progress` events, then one event named like the state in which the job ended. `Last-Event-ID` resumes."""
    first = await run_in_threadpool(look, held, job_id, who.project_id)
    seen = natural(last_event_id or "") or 0
    stream = _events(held, request, first, seen=seen, key_id=who.key_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _events(held: Runtime, request: Request, job: Job, *, seen: int, key_id: str) -> AsyncIterator[bytes]:
    """Events of a job until it ends, the key does, the client leaves or the server stops."""
    polls = 0
    while True:
        if job.version > seen or job.state in TERMINAL:
            seen = job.version
            yield _event(job, base_url(request))
        if job.state in TERMINAL or request.app.state.stopping.is_set():
            return
        await asyncio.sleep(_POLL_SECONDS)
        polls += 1
        if polls % _COMMENT_EVERY == 0:
            yield b": still here\n\n"
        try:
            checked = key_id if polls % _CHECK_KEY_EVERY == 0 else None
            job = await run_in_threadpool(look, held, job.id, None, key_id=checked)
        except (NotFoundError, UnauthenticatedError):
            return  # the project was deleted, and the job with it; or the key is dead


def _event(job: Job, base: str) -> bytes:
    name = job.state if job.state in TERMINAL else "progress"
    data = orjson.dumps(JobOut.of(job, base).model_dump(mode="json"))
    return f"id: {job.version}\nevent: {name}\ndata: ".encode() + data + b"\n\n"
