"""The heartbeat of a running job: prolongs its lease, tells its progress, and ends it when it is no longer ours."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

from sqlalchemy.exc import SQLAlchemyError

from service.actions import jobs
from service.errors import UnavailableError
from service.telemetry import logger
from workers.jobs.context import JobContext, JobLostError

_TICK_SECONDS = 0.5
_GRACE_SECONDS = 5.0
_log = logger(__name__)


@contextmanager
def heartbeat(context: JobContext) -> Iterator[None]:
    """Beat while the block runs. In the main thread of a work-horse, a lost job raises JobLostError there."""
    ended = threading.Event()
    with _interrupts() as interrupt:
        thread = threading.Thread(target=_beat, args=(context, ended, interrupt), name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@contextmanager
def _interrupts() -> Iterator[Callable[[], None]]:
    """A way to raise JobLostError in the main thread, if this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise JobLostError

    before = signal.signal(signal.SIGUSR1, stop)
    main = threading.get_ident()
    try:
        yield lambda: signal.pthread_kill(main, signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, before)


def _beat(context: JobContext, ended: threading.Event, interrupt: Callable[[], None]) -> None:
    lease = context.settings.job_lease_seconds
    since = 0.0
    while not ended.wait(_TICK_SECONDS):
        since += _TICK_SECONDS
        if context.finished.is_set():
            return
        if not context.progress.changed.is_set() and since < lease / 4:
            continue
        since = 0.0
        if _still_ours(context, lease) or ended.is_set() or context.finished.is_set():
            continue
        interrupt()
        # Code that does not come back to Python cannot be interrupted; nothing it makes could be stored anyway.
        if not ended.wait(_GRACE_SECONDS):
            _log.warning("stuck_job_ended", job_id=context.claim.job_id)
            os._exit(1)
        return


def _still_ours(context: JobContext, lease: float) -> bool:
    progress = context.progress
    progress.changed.clear()
    until = context.now() + timedelta(seconds=lease)
    try:
        with context.write() as session:
            return jobs.beat(
                session, context.claim, until=until, done=progress.done, total=progress.total, phase=progress.phase
            )
    except (SQLAlchemyError, UnavailableError, MemoryError) as error:
        # The database may be back before the lease runs out; if it is not, the fence holds.
        _log.warning("heartbeat_failed", job_id=context.claim.job_id, error=str(error))
        return True
