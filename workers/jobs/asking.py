"""What a query asks of the pool, out of what is loaded for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.actions import projects
from service.actions.batches import Provenance
from service.actions.projects import truth_of
from service.catalog.parameters import with_codes
from service.catalog.sources import LearnFrom
from service.catalog.strategies import STRATEGIES, reviews
from service.catalog.tasks import Task, classes_of, task_of
from service.db.queries import models as model_queries
from service.db.tables import Model, Project
from service.queue.messages import QueryMessage
from workers.jobs import candidates
from workers.jobs.candidates import Availability
from workers.jobs.context import JobContext
from workers.jobs.labels import Gathered, Labelled, consensus, gather, known_only
from workers.jobs.pool import Layout
from workers.learning.matrices import ChunkReader
from workers.learning.query import Query, Ranking

_RESERVE = 50  # rows at least that are ranked behind a batch, as others may take some of it


@dataclass(frozen=True)
class Loaded:
    """What a query needs, of one generation of chunk lists; its message names classes as they were then."""

    message: QueryMessage
    project: Project
    model: Model | None
    labels_since: int
    training_job_id: str | None
    layout: Layout
    availability: Availability

    @property
    def task(self) -> Task:
        """What labels are."""
        return task_of(self.project.task)

    @property
    def classes(self) -> list[str]:
        """Of the project; none for numbers."""
        return classes_of(self.project.task)

    @property
    def needs(self) -> set[str]:
        """What the strategies of the query rank by."""
        message = self.message
        names = [message.strategy, *([message.candidates.strategy] if message.candidates else [])]
        return {need for name in names for need in STRATEGIES[name].needs}

    @property
    def asks_uploaded(self) -> bool:
        """Whether it asks for what was uploaded of a model of the client's own: rows without it are left out then."""
        if self.model is None or self.model.name is None or reviews(self.message.strategy):
            return False
        wanted = {"predictions", "committee", "model", *(["features"] if self.model.dimensions else [])}
        return self.message.class_balanced or not wanted.isdisjoint(self.needs)


def asked_of(
    context: JobContext,
    loaded: Loaded,
    labelled: Callable[[], Labelled],
    *,
    mask: NDArray[np.bool_],
    pinned: NDArray[np.int64],
    P: ChunkReader | None,
) -> Query:
    """What a query asks of the candidates in `mask`, with a reserve for races."""
    message, classes = loaded.message, loaded.classes
    return Query(
        task=loaded.task,
        strategy=message.strategy,
        params=with_codes(STRATEGIES[message.strategy].parameters, message.params, classes),
        k=message.k,
        reserve=max(2 * message.k, _RESERVE),
        seed=message.seed,
        candidates=mask,
        probabilities=P,
        classes=len(classes),
        labelled=labelled,
        labels_count=loaded.model.labels_used if loaded.model else 0,
        preselect=_preselect(message, classes),
        explore=message.explore,
        class_balanced=message.class_balanced,
        priorities=loaded.availability.priorities,
        groups=loaded.availability.group_codes,
        pinned=pinned,
        parallel=context.parallel,
        progress=context.progress.tell,
    )


def _preselect(message: QueryMessage, classes: list[str]) -> tuple[str, dict[str, Any], int] | None:
    if message.candidates is None:
        return None
    name, params, count = message.candidates.strategy, message.candidates.params, message.candidates.count
    return name, with_codes(STRATEGIES[name].parameters, params, classes), count


def read_labels(
    context: JobContext, loaded: Loaded, hidden: NDArray[np.bool_], learn_from: LearnFrom | None = None
) -> tuple[Gathered, Labelled]:
    """All answers or those that models learn from, and the labelled examples that models are trained on, by row."""
    with context.read() as session:
        project = projects.get(session, context.project_id)  # classes may have been added meanwhile
        answers = model_queries.answers(session, context.project_id, learn_from=learn_from)
    gathered = gather(answers, project.task)
    found = known_only(consensus(gathered, truth_of(loaded.project)), loaded.task, len(loaded.classes))
    found = found.only(~found.test & (found.rows < loaded.layout.rows))  # later ones are in no array yet
    found = found.only(~hidden[found.rows])
    return gathered, found.only(np.argsort(found.rows))


def provenance_of(loaded: Loaded, ranking: Ranking, mask: NDArray[np.bool_], *, complete: bool) -> Provenance:
    """What a batch tells of how it was made."""
    message = loaded.message
    strategy = {
        "name": ranking.strategy,
        "params": message.params if ranking.strategy == message.strategy else dict(ranking.params),
        "seed": message.seed,
        "fallback_from": ranking.fallback_from,
        "fallback_reason": ranking.fallback_reason,
    }
    return Provenance(
        strategy=strategy,
        model=_model_note(loaded),
        candidates=int(np.count_nonzero(mask)),
        row_high_water=loaded.layout.rows,
        mask_hash=candidates.mask_hash(mask),
        complete=complete,
        group_mates=ranking.group_mates,
    )


def _model_note(loaded: Loaded) -> dict[str, Any] | None:
    if loaded.model is None:
        return None
    return {
        "version": loaded.model.version,
        "labels_used": loaded.model.labels_used,
        "labels_since": loaded.labels_since,
        "training_job_id": loaded.training_job_id,
        "name": loaded.model.name,
    }
