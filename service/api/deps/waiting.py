"""Accepting jobs and waiting for them."""

import asyncio
import time
from collections.abc import Callable, Mapping

from fastapi import Request, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service.actions import jobs, keys
from service.api.deps.edge import Edge
from service.api.deps.held import runtime
from service.api.deps.runtime import Runtime, utc_now
from service.api.problems import base_url
from service.api.schemas.base import natural
from service.api.schemas.jobs import JobOut
from service.db.tables import Job
from service.errors import UnauthenticatedError

MOST_WAIT_SECONDS = 30
_SHORTEST_POLL_SECONDS = 0.006
_LONGEST_POLL_SECONDS = 0.25
KEY_TRUSTED_SECONDS = 2.0  # a request that lasts looks again so often whether its key is live


def parse_wait(prefer: str | None) -> float | None:
    """The seconds of `Prefer: wait=N`, 30 at most; none when it is not asked for. Other preferences are ignored."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        seconds = natural(value.strip().strip('"'))
        if name.strip().lower() == "wait" and seconds is not None:
            return float(min(seconds, MOST_WAIT_SECONDS))
    return None


async def wait_for_job(
    request: Request, job_id: str, *, project_id: str | None, prefer: str | None
) -> tuple[Job, dict[str, str]]:
    """The job as soon as it has ended, or as it is after the time of `Prefer`, and `Preference-Applied`.

    A server that is told to stop waits no longer.

    Raises:
        UnauthenticatedError: The key was revoked or has expired, which is looked at every two seconds.
    """
    held, stopping = await runtime(request), request.app.state.stopping
    wait = parse_wait(prefer)
    headers = {} if wait is None else {"Preference-Applied": f"wait={wait:g}"}
    began = checked = time.monotonic()
    until = began + (wait or 0.0)
    while True:
        now = time.monotonic()
        left = until - now
        key_id = None
        if now - checked >= KEY_TRUSTED_SECONDS:
            key_id, checked = request.state.caller.key_id, now
        job = await run_in_threadpool(look, held, job_id, project_id, key_id=key_id)
        if job.finished_at is not None or left <= 0 or stopping.is_set():
            return job, headers
        # Look again after a tenth of the time waited so far: a short job is not answered late, a long one costs little.
        await asyncio.sleep(min(max((now - began) / 10, _SHORTEST_POLL_SECONDS), _LONGEST_POLL_SECONDS, left))


def look(held: Runtime, job_id: str, project_id: str | None, *, key_id: str | None = None) -> Job:
    """A job as it is now, for a key that has to be live if it is named."""
    if key_id is not None:
        with held.database.look() as session:
            keys.check_live(session, key_id, now=utc_now())
    with held.database.look() as session:
        return jobs.get(session, job_id, project_id=project_id)


async def accept_job(
    request: Request, writing: Edge, action: Callable[[Session], Job], *, prefer: str | None
) -> Response:
    """Queue a job and answer `202`, with the job as it is after the time of `Prefer`.

    When the key ends meanwhile, the answer is the job as it was accepted: it will run, and a `401` would say that
    nothing was done. What became of it since is for keys that are live.
    """
    base = base_url(request)
    response = await run_in_threadpool(
        writing.answer,
        action,
        render=lambda job: JobOut.of(job, base),
        status=202,
        headers=where_to_ask,
    )
    if parse_wait(prefer) is None:
        return response
    job_id = response.headers["Location"].rpartition("/")[2]
    try:
        job, applied = await wait_for_job(request, job_id, project_id=None, prefer=prefer)
    except UnauthenticatedError:
        return response
    replayed = {name: value for name, value in response.headers.items() if name == "idempotent-replayed"}
    return under_way(request, job, {**applied, **replayed})


def under_way(request: Request, job: Job, headers: Mapping[str, str]) -> Response:
    """`202` with a job whose result was asked for, and where to ask again."""
    told = {**where_to_ask(job), **headers}
    return Response(JobOut.of(job, base_url(request)).render(), 202, told, "application/json")


def where_to_ask(job: Job) -> dict[str, str]:
    """The headers of a `202`: where to ask for a job, and when."""
    return {"Location": f"/v1/jobs/{job.id}", "Retry-After": "1"}
