"""What operators watch: how much waits and for how long, who leads, what models do not cover, what ended."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service.actions.deliveries import is_success
from service.actions.leaders import DISPATCHER
from service.db.queries import figures as queries
from service.db.queries import leaders

JOB_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
ATTEMPT_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# A job is seen at the end of its transaction only, and clocks differ; numbers are taken before transactions end.
_LATE = timedelta(seconds=30)
_LATE_NUMBERS = 1000


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many wait, and the seconds of the one that waits longest."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The state of the service.

    Attributes:
        waiting: Jobs by queue; the seconds are of one that could begin.
        running: Jobs by kind.
        trainings_behind: Trainings that wait for another of their project: all labels meanwhile share one.
        uncovered_most: Changes of labels that a serving model does not cover, of the project with most.
        uncovered_all: The same, of all projects.
        failed_projects: Projects whose labels were tried, and are in no model.
        overdue_seconds: How long ago a training should have been asked for.
        deliveries: Webhook deliveries that are to be attempted.
        deliveries_retried: Those of them that were attempted before.
        deliveries_late_seconds: How long ago one should have been attempted.
        outbox: Jobs to be rung; the seconds count from when one should have been.
        leads: Whether a dispatcher leads.
        totals: What is held.
        removed: How many were removed as their time was over, by kind.
    """

    waiting: dict[str, Waiting]
    running: dict[str, int]
    trainings_behind: int
    uncovered_most: int
    uncovered_all: int
    failed_projects: int
    overdue_seconds: float
    deliveries: Waiting
    deliveries_retried: int
    deliveries_late_seconds: float
    outbox: Waiting
    leads: bool
    totals: queries.Totals
    removed: dict[str, int]


def read(session: Session, *, now: datetime) -> Figures:
    """The state of the moment, from a few statements over what is unfinished."""

    def since(moment: datetime | None) -> float:
        return max((now - moment).total_seconds(), 0.0) if moment else 0.0

    uncovered = queries.uncovered(session, now)
    sent = queries.deliveries(session, now)
    rings, due = queries.outbox(session, now)
    leader = leaders.get(session, DISPATCHER)
    return Figures(
        waiting={queue: Waiting(count, since(made)) for queue, count, made in queries.waiting(session, now)},
        running={row[0]: row[1] for row in queries.running(session)},
        trainings_behind=queries.trainings_behind(session),
        uncovered_most=uncovered.most,
        uncovered_all=uncovered.all,
        failed_projects=uncovered.failed_projects,
        overdue_seconds=since(uncovered.asked_at),
        deliveries=Waiting(sent.pending, since(sent.made_at)),
        deliveries_retried=sent.retried,
        deliveries_late_seconds=since(sent.due_at),
        outbox=Waiting(rings, since(due)),
        leads=leader is not None and leader.until > now,
        totals=queries.totals(session),
        removed=queries.removed(session),
    )


@dataclass(slots=True)
class Buckets:
    """A histogram: how many values were at most each bound, or above all of them."""

    bounds: Sequence[float]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        """Count a value."""
        place = next((n for n, bound in enumerate(self.bounds) if seconds <= bound), len(self.bounds))
        self.counts[place] += 1
        self.total += seconds


class EndedJobs:
    """The jobs that ended since this began to look, each counted once.

    They are read from SQL and not told by work-horses: these may end with any of their jobs, in any way.

    Attributes:
        outcomes: By kind and state.
        durations: From the first start to the end, by kind.
        waits: From the request to the first start, by kind.
    """

    def __init__(self, since: datetime) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.durations: dict[str, Buckets] = defaultdict(lambda: Buckets(JOB_SECONDS))
        self.waits: dict[str, Buckets] = defaultdict(lambda: Buckets(JOB_SECONDS))
        self._began = self._looked = since
        self._counted: dict[str, datetime] = {}

    def look(self, session: Session, *, now: datetime) -> None:
        """Count those that ended since the last look."""
        for job in queries.ended(session, max(self._began, self._looked - _LATE)):
            if job.id not in self._counted:
                self._counted[job.id] = job.finished_at
                self._count(job)
        self._looked = now
        self._counted = {one: at for one, at in self._counted.items() if at >= now - _LATE}

    def _count(self, job: queries.Ended) -> None:
        self.outcomes[job.kind, job.state] += 1
        if job.started_at is not None:
            self.durations[job.kind].add((job.finished_at - job.started_at).total_seconds())
            self.waits[job.kind].add(max((job.started_at - job.created_at).total_seconds(), 0.0))


class Attempts:
    """The attempts to deliver webhooks since this looked first, each counted once.

    Attributes:
        durations: By outcome: `succeeded`, `refused` (another status), `unanswered`.
    """

    def __init__(self) -> None:
        self.durations = {name: Buckets(ATTEMPT_SECONDS) for name in ("succeeded", "refused", "unanswered")}
        self._first: int | None = None
        self._newest = 0
        self._counted: set[int] = set()

    def look(self, session: Session) -> None:
        """Count those since the last look."""
        if self._first is None:
            self._first = self._newest = queries.newest_attempt(session)
        for attempt in queries.attempts(session, max(self._first, self._newest - _LATE_NUMBERS)):
            if attempt.id not in self._counted:
                self._counted.add(attempt.id)
                self.durations[_outcome(attempt.status)].add(attempt.duration_ms / 1000)
        self._newest = max([self._newest, *self._counted])
        self._counted = {one for one in self._counted if one > self._newest - _LATE_NUMBERS}


def _outcome(status: int | None) -> str:
    if status is None:
        return "unanswered"
    return "succeeded" if is_success(status) else "refused"
