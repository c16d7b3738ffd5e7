"""Metrics, for neighbours and for who holds an admin key."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.deps.callers import AdminOrHere
from service.api.problems import responses

router = APIRouter(tags=["service"])


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Get metrics",
    response_class=Response,
    responses={
        200: {
            "description": "In the text form of Prometheus.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **responses(),
    },
)
def get_metrics(_: AdminOrHere, request: Request) -> Response:
    """What the API processes of this host counted, and the state of the whole service, kept for three seconds.

    Who asks `127.0.0.1`, `[::1]` or `localhost` on this machine, and not through a proxy that says so, needs no key
    while `GLEANER_PUBLIC_URL` is empty. `GLEANER_METRICS_ADDRESS` is a listener that never asks for one, and answers
    while the database is away, too. Jobs and deliveries that have ended (`gleaner_jobs_ended_total`,
    `gleaner_job_duration_seconds`, `gleaner_job_wait_seconds`, `gleaner_webhook_attempt_duration_seconds`) are told by
    that listener, or here where the API is one process without it.
    """
    from service.api.deps.exposition import exposition_of  # noqa: PLC0415 - few processes are asked for it

    return Response(generate_latest(exposition_of(request.app)), media_type=CONTENT_TYPE_LATEST)
