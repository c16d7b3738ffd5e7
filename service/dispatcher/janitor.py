"""What nobody needs any more is removed: old jobs, batches, deliveries, files of models and predictions."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from itertools import takewhile
from random import SystemRandom

from sqlalchemy.orm import Session

from service.actions import retention
from service.actions.retention import Keep, Removed
from service.api.deps.runtime import Runtime
from service.telemetry import logger

_AT_ONCE = 100
_SECONDS = 1.0  # for each part of a pass, so that a dispatcher that is told to stop does so soon
_log = logger(__name__)


def forget_old(runtime: Runtime, *, now: datetime) -> Counter[str]:
    """Make one pass in short transactions; returns how many of each kind went.

    There may be more projects than a pass has time for: each pass takes them in an order of its own.
    """
    keep = Keep.of(runtime.settings)
    removed: Counter[str] = Counter(dict.fromkeys(retention.KINDS, 0))
    for forget in (retention.forget_jobs, retention.forget_deliveries):
        until, more = time.monotonic() + _SECONDS, True
        while more and time.monotonic() < until:
            found = _slice(runtime, partial(forget, keep=keep, limit=_AT_ONCE, now=now))
            removed.update(found)
            more = sum(found.values()) == _AT_ONCE
    with runtime.database.read() as session:
        projects = retention.projects_with_old(session, keep, now=now)
    until = time.monotonic() + _SECONDS
    for project_id in takewhile(lambda _: time.monotonic() < until, SystemRandom().sample(projects, len(projects))):
        of_project = partial(retention.forget_of_project, project_id=project_id, keep=keep, now=now)
        removed.update(_slice(runtime, of_project))
    _log.info("old_forgotten", **removed)
    return removed


def _slice(runtime: Runtime, forget: Callable[[Session], Removed]) -> Removed:
    """One transaction, and a pause as long as it took: who waits for SQLite polls, and has to find it free."""
    began = time.monotonic()
    with runtime.write() as session:
        found = forget(session)
    time.sleep(time.monotonic() - began)
    return found
