"""A rehearsal before a worker forks: what a first job would learn, every forked job knows then.

SQLAlchemy compiles each statement when it is first executed, about 2 ms each, and every forked work-horse is new at
first: a query spent more time on that than on everything else. So the parent runs a small query in a transaction that
is rolled back. It computes nothing with BLAS or OpenMP, which must not start before a fork.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta

import numpy as np
from sklearn.preprocessing import StandardScaler
from sqlalchemy.orm import Session

from service.actions import jobs, projects
from service.db.tables import CandidateChange, Example
from service.queue.messages import QueryMessage
from service.settings import Settings
from service.storage.memory import MemoryObjects
from workers.jobs import query
from workers.jobs.context import JobContext, utc_now


class _RolledBackError(Exception):
    pass


def rehearse(write: Callable[[], AbstractContextManager[Session]], settings: Settings) -> None:
    """Run a query of a project that is never committed.

    Raises:
        DBAPIError: the database does not answer.
    """
    settings = settings.model_copy(update={"parallel": "threads"})  # no connection to a cluster may cross the fork
    with suppress(_RolledBackError), write() as session:
        project_id = _pool(session)
        message = QueryMessage(
            k=1,
            strategy="random",
            params={},
            annotator="rehearsal",
            lease_seconds=1,
            seed=0,
            filter=None,
            candidates=None,
            explore=0.0,
            include_data=True,
        )
        job = jobs.enqueue(session, project_id=project_id, kind="query", message=message, now=utc_now(), share=1)
        claim = jobs.claim(session, job.id, lease=timedelta(seconds=60), now=utc_now())
        if claim is not None:
            same = _reuse(session)
            query.run(JobContext(claim=claim, settings=settings, objects=MemoryObjects(), read=same, write=same))
        raise _RolledBackError
    StandardScaler().fit(np.zeros((2, 1)))  # looks for plug-ins of data frames once, which takes 12 ms


def _reuse(session: Session) -> Callable[[], AbstractContextManager[Session]]:
    @contextmanager
    def same() -> Iterator[Session]:
        yield session
        session.flush()

    return same


def _pool(session: Session) -> str:
    """A project with one example."""
    now = utc_now()
    config = {
        "name": "rehearsal",
        "task": {"type": "classification", "classes": ["a", "b"], "multi_label": False},
        "features": {"type": "vector", "dimensions": 1, "params": {}},
        "estimator": {"name": "logistic_regression", "params": {}},
        "query": {"strategy": "auto", "params": {}},
        "retraining": {"automatic": False},
        "annotation": {"overlap": 1, "lease_seconds": 1},
        "holdout_fraction": 0.0,
        "seed": 0,
    }
    view = projects.create(session, config, now=now)
    project_id = view.project.id
    view.pool.next_row = view.pool.examples = view.pool.change_sequence = 1
    session.add(
        Example(
            project_id=project_id,
            example_id="rehearsal",
            row=0,
            data=None,
            split="pool",
            content_hash=b"",
            features_hash=b"",
            label_count=0,
            skip_count=0,
            created_at=now,
            updated_at=now,
        )
    )
    session.add(CandidateChange(project_id=project_id, sequence=1, start=0, stop=1, value=True))
    session.flush()
    return project_id
