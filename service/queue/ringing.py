"""Ringing after a commit."""

from service.queue.messages import Queue, QueueUnavailableError, Ring
from service.telemetry import logger

_log = logger(__name__)


def ring(queue: Queue, rings: list[Ring]) -> None:
    """Ring committed jobs; when the queue is away they wait in SQL and the dispatcher rings them."""
    if not rings:
        return
    try:
        queue.ring(rings)
    except QueueUnavailableError as error:
        _log.warning("queue_unavailable", error=str(error), jobs=len(rings))
