"""Ringing jobs that nobody rang, or that Redis has lost."""

from datetime import timedelta

from service.actions import relay
from service.api.deps.runtime import Runtime, utc_now
from service.queue.messages import QueueUnavailableError, Ring
from service.telemetry import logger

RINGS_AT_ONCE = 500
_LOOKED_AT = 10_000
_log = logger(__name__)


class Relay:
    """Rings over the queue, and remembers whether that answers, to log its absence once."""

    def __init__(self) -> None:
        self._away = False

    def ring_due(self, runtime: Runtime) -> None:
        """Ring what the outbox says, unless it waits in Redis already."""
        now = utc_now()
        share = runtime.settings.jobs_in_queue_per_project
        with runtime.database.read() as session:
            due = relay.due(session, share=share, limit=RINGS_AT_ONCE, now=now)
        if due and self._ring_missing(runtime, due) is not None:
            with runtime.database.write() as session:
                relay.mark_rung(session, due, now=now)

    def ring_lost(self, runtime: Runtime) -> None:
        """Compare the jobs that were rung with Redis, and ring those that it has not."""
        now = utc_now()
        moment = now - timedelta(seconds=runtime.settings.sweep_seconds)
        with runtime.database.read() as session:
            rung = relay.rung_before(session, moment, limit=_LOOKED_AT)
        lost = self._ring_missing(runtime, rung) if rung else None
        if lost:
            with runtime.database.write() as session:
                relay.mark_rung(session, lost, now=now)

    def _ring_missing(self, runtime: Runtime, rings: list[Ring]) -> list[Ring] | None:
        """Ring those that do not wait in Redis, so many at a time; None when the queue is away."""
        try:
            waiting = runtime.queue.waiting()
            missing = [ring for ring in rings if ring.rq_id not in waiting][:RINGS_AT_ONCE]
            if missing:
                runtime.queue.ring(missing)
        except QueueUnavailableError as error:
            if not self._away:
                _log.warning("queue_unavailable", error=str(error))
            self._away = True
            return None
        if self._away:
            _log.info("queue_available")
        self._away = False
        return missing
