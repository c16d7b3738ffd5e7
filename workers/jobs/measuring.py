"""How good a model of the client's own is, on the labelled test rows of which it said something.

Other rows tell nothing: what it was trained on is not known here.
"""

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.actions import models, projects
from service.actions.predictions import arrays_of
from service.actions.projects import truth_of
from service.catalog.tasks import Task, classes_of, columns_of, task_of
from service.db.queries import models as model_queries
from service.db.queries import projects as project_queries
from service.db.tables import Model, Project
from service.queue.messages import MeasuringMessage
from workers.jobs.context import JobContext
from workers.jobs.labels import Answer, Labelled, consensus, gather
from workers.jobs.notes import model_note
from workers.jobs.pool import Layout, layout, pin_then_read, seen_next
from workers.jobs.serving import predictions_reader, told_rows
from workers.learning.metric import Metric
from workers.learning.metrics import evaluate
from workers.learning.metrics_by_class import evaluate_by_class

Loaded = tuple[Project, Model, Layout, list[Answer]]


def run(context: JobContext) -> None:
    """Measure the version of the message; without labelled test rows it stays without metrics."""
    message = context.claim.message
    assert isinstance(message, MeasuringMessage)  # noqa: S101 - the kind of the job says so
    loaded = pin_then_read(context, partial(_read, context=context, version=message.version))
    context.progress.tell(0, 1, "measuring")
    figures = _measure(context, loaded) if models.fits(*loaded[:2]) else Figures()
    with context.fenced() as (session, _):
        project, _ = projects.lock(session, context.project_id)
        model = models.get(session, project.id, message.version)
        reason = None if figures.metrics else "no_test_rows"
        if models.fits(project, model):
            model.metrics, model.by_class = figures.metrics, figures.by_class
        else:
            reason = "classes_changed"
        context.finish(session, {"model": model_note(model), "reason": reason})


@dataclass(frozen=True)
class Figures:
    """Metrics by name, and those of each class by its code, as they are kept: each says how it was measured."""

    metrics: dict[str, Any] = field(default_factory=dict)
    by_class: dict[str, Any] = field(default_factory=dict)


def described(
    P: NDArray[Any], rows: Labelled, task: Task, rng: np.random.Generator, *, method: str, biased: bool = False
) -> Figures:
    """Measure predictions of labelled rows."""
    note = {"method": method, "biased": biased}

    def told(metric: Metric | None) -> dict[str, Any] | None:
        return None if metric is None else {**asdict(metric), **note}

    return Figures(
        metrics={name: told(metric) for name, metric in evaluate(P, rows.y, rng, task=task).items()},
        by_class={
            str(code): {"recall": told(one.recall), "precision": told(one.precision)}
            for code, one in evaluate_by_class(P, rows.y, task).items()
        },
    )


def _read(session: Session, *, context: JobContext, version: int) -> Loaded:
    project = projects.get(session, context.project_id)
    model = models.get(session, project.id, version)
    names = arrays_of(model)
    pool = project_queries.pool(session, project.id)
    seen = seen_next(session, context, project, pool)
    found = layout(session, context, pool, seen, [names.predictions, names.told])
    return project, model, found, model_queries.answers(session, project.id, split="test", learn_from="people")


def _measure(context: JobContext, loaded: Loaded) -> Figures:
    project, model, found, answers = loaded
    test = consensus(gather(answers, project.task), truth_of(project))
    told = told_rows(context, model, found)
    rows = test if told is None else test.only(told[test.rows])
    task = task_of(project.task)
    reader = predictions_reader(context, model, task, found, None)
    if not rows.size:
        return Figures()
    P = reader.take(rows.rows)
    later = columns_of(task, classes_of(project.task)) - P.shape[1]  # classes that it does not know
    P = np.pad(P, ((0, 0), (0, later)))
    return described(P, rows, task, np.random.default_rng([project.seed, model.version]), method="test")
