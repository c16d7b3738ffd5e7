"""Giving back what runs on workers that fell silent."""

import time
from collections.abc import Callable
from datetime import datetime

from service.actions import relay, trainings
from service.api.deps.runtime import Runtime, utc_now
from service.telemetry import logger

_AT_ONCE = 200
_BLIND_SECONDS = 3.0  # a look is due each second
_log = logger(__name__)


class LostJobs:
    """Looks for expired leases, one object for the life of a process.

    While this process could not write to the database, workers could not prolong their leases either. Their silence of
    that time says nothing: once the database is back they get the length of a lease to speak.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_at: float | None = None
        self._blind_until = 0.0

    def give_back(self, runtime: Runtime) -> None:
        """Queue jobs again whose lease ran out; a fault leaves them, to be asked again."""
        settings = runtime.settings
        began, now = self._clock(), utc_now()
        with runtime.write() as session:
            silent = relay.any_lost(session, now=now)
        wrote = self._clock()
        if self._looked_at is not None and wrote - self._looked_at > max(
            _BLIND_SECONDS, settings.job_lease_seconds / 2
        ):
            self._blind_until = wrote + settings.job_lease_seconds
        self._looked_at = wrote
        if not silent or wrote < self._blind_until:
            return
        count = 0
        while count < _AT_ONCE and _give_one_back(runtime, now):
            count += 1
        if count:
            _log.warning("workers_lost", jobs=count, seconds=round(self._clock() - began, 3))


def _give_one_back(runtime: Runtime, now: datetime) -> bool:
    settings = runtime.settings
    with runtime.write() as session:
        return trainings.give_back_lost(
            session, now=now, max_attempts=settings.job_max_attempts, share=settings.jobs_in_queue_per_project
        )
