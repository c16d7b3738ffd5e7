"""A query: rank the candidates, then keep the batch."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.actions import batches, classes, events, projects
from service.actions.batches import Provenance, Ranked
from service.actions.predictions import arrays_of
from service.catalog.strategies import reviews
from service.db.queries import jobs as job_queries
from service.db.queries import models as model_queries
from service.db.queries import projects as project_queries
from service.db.tables import Batch
from service.errors import GleanerError, ProjectPausedError
from service.queue.messages import QueryMessage
from service.storage.objects import ObjectNotFoundError
from workers.jobs import candidates
from workers.jobs.asking import Loaded, provenance_of
from workers.jobs.composing import Rowsets, Seen, compose
from workers.jobs.context import JobContext, JobLostError
from workers.jobs.features import fill_features
from workers.jobs.holdout import holdout_mask
from workers.jobs.notes import model_note
from workers.jobs.pool import features_reader, has_features, layout, pin_then_read, seen_then
from workers.jobs.reviewing import review
from workers.jobs.serving import members_reader, predictions_reader, told_rows, vectors_reader
from workers.learning.matrices import ChunkReader

_ROUNDS = 20


def run(context: JobContext) -> None:
    """Rank until the batch is full, as others may take what was ranked; then keep it."""
    lost = ""
    for _ in range(_ROUNDS):
        loaded = pin_then_read(context, lambda session: _read(session, context))
        try:
            base = candidates.base_mask(loaded.availability, context.objects)
        except ObjectNotFoundError as error:
            if error.key == lost:
                raise
            lost = error.key  # a snapshot may be replaced between its key and its file: read the new key
            continue
        ranking, made = _rank(context, loaded, base)
        if _keep(context, loaded, ranking=ranking, made=made):
            return
    raise GleanerError("Other queries and labels were faster each time. Ask again.")


def _read(session: Session, context: JobContext) -> Loaded:
    job = job_queries.get(session, context.claim.job_id)
    if job is None:
        raise JobLostError
    message = QueryMessage.model_validate(job.payload)  # classes that it names may have been renamed since the claim
    project = projects.get(session, context.project_id)
    pool = project_queries.pool(session, project.id)
    model = model_queries.get(session, project.id, pool.model_version)
    return Loaded(
        message=message,
        project=project,
        model=model,
        labels_since=pool.label_generation - (model.label_generation if model else 0),
        training_job_id=next((job.id for job in job_queries.trainings(session, project.id)), None),
        layout=layout(
            session, context, pool, seen_then(session, context, project, pool, model), arrays_of(model) if model else ()
        ),
        availability=candidates.read(session, context, project, pool, message),
    )


def _rank(context: JobContext, loaded: Loaded, base: NDArray[np.bool_]) -> tuple[list[Ranked], Provenance]:
    message = loaded.message
    candidates.refresh_snapshot(context, loaded.availability, base)
    features = _features(context, loaded)
    project, groups = loaded.project, loaded.availability.groups
    held_out = holdout_mask(base.size, project.holdout_fraction, project.seed, groups)
    if reviews(message.strategy):
        return review(context, loaded, base=base, held_out=held_out, features=features)
    mask, pinned = candidates.for_query(loaded.availability, base)
    mask, audit = candidates.audited(loaded.availability, mask, pinned, message, seed=loaded.project.seed)
    pinned = np.concatenate([pinned, audit])
    available = int(np.count_nonzero(mask))
    told, hidden = told_rows(context, loaded.model, loaded.layout), held_out
    if told is not None and loaded.asks_uploaded:
        mask &= told | held_out  # what is held out is drawn at random
        pinned = pinned[told[pinned]]
        hidden = held_out | ~told
    seen = _seen(context, loaded, features)
    rows = Rowsets(mask=mask, pinned=pinned, audit=audit, held_out=held_out, hidden=hidden, told=told)
    ranked, ranking, complete = compose(context, loaded, rows, seen)
    made = provenance_of(loaded, ranking, mask, complete=complete)
    return ranked, replace(made, without_predictions=available - made.candidates)


def _seen(context: JobContext, loaded: Loaded, features: ChunkReader | None) -> Seen:
    """What the strategies may look at; what a model says is computed where it is missing."""
    if loaded.model is None:
        return Seen(features)
    P = predictions_reader(context, loaded.model, loaded.task, loaded.layout, features)
    members = None
    if "committee" in loaded.needs:
        members = members_reader(context, loaded.model, loaded.task, loaded.layout, features)
    return Seen(features, P, members)


def _features(context: JobContext, loaded: Loaded) -> ChunkReader | None:
    """The vectors that came with predictions where a query asks for these, else the project's features."""
    if loaded.asks_uploaded and (vectors := vectors_reader(context, loaded.model, loaded.layout)):
        return vectors
    if not has_features(loaded.layout.features):
        return None
    fill_features(context, loaded.layout, model=loaded.model)
    return features_reader(context, loaded.layout)


def _keep(context: JobContext, loaded: Loaded, *, ranking: list[Ranked], made: Provenance) -> bool:
    message = loaded.message
    with context.fenced() as (session, job):
        project, _ = projects.lock(session, context.project_id)
        if project.paused:
            raise ProjectPausedError
        if not classes.are_kept(project, loaded.project):
            return False  # the ranking names classes of before
        overlap: int = project.annotation["overlap"]
        batch: Batch | None = batches.keep(session, job, message, ranking, made, overlap=overlap, now=context.now())
        if batch is None:
            return False
        exhausted = batches.is_exhausted(batch.size, message, made)
        context.finish(
            session, {"batch": {"url": f"/v1/jobs/{job.id}/batch", "size": batch.size}, "exhausted": exhausted}
        )
        model = model_note(loaded.model) if loaded.model else None
        if message.prepared:
            return True  # nobody asked for this batch
        told = exhausted and _asks_whole_pool(message)
        events.query_succeeded(session, job, model=model, size=batch.size, exhausted=told, now=context.now())
    return True


def _asks_whole_pool(message: QueryMessage) -> bool:
    """Whether a batch that is not full says that the pool has no more, and not that a part of it has not."""
    whole = not message.filter and message.candidates is None and not message.program
    return whole and not reviews(message.strategy)
