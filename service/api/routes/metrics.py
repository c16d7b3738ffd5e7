"""Metrics, for those who hold an admin key."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.deps.callers import Admin
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
def get_metrics(_: Admin, request: Request) -> Response:
    """What the API processes of this host counted, and the state of the whole service, kept for three seconds.

    `GLEANER_METRICS_ADDRESS` is a listener that tells the same without a key, also while the database is away.
    """
    from service.api.deps.exposition import exposition_of  # noqa: PLC0415 - few processes are asked for it

    return Response(generate_latest(exposition_of(request.app)), media_type=CONTENT_TYPE_LATEST)
