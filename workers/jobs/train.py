"""A training: the project's estimator on the labels of the moment, and how good the model is."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.actions import classes, digests, events, featurizations, projects, trainings
from service.actions.arrays import add_chunk
from service.actions.predictions import array_name
from service.actions.projects import truth_of
from service.actions.versions import serve
from service.catalog.sources import learns_from
from service.catalog.tasks import classes_of, task_of
from service.db.queries import arrays
from service.db.queries import models as model_queries
from service.db.queries import projects as project_queries
from service.db.tables import Job, Model, Pool, Project
from service.storage.artifacts import committee_key, model_encoder_key
from workers.jobs.context import JobContext
from workers.jobs.estimates import Before, Found, estimate, newly_met, read, sample_of
from workers.jobs.features import fill_features
from workers.jobs.filling import tidy
from workers.jobs.groups import Groups, read_groups
from workers.jobs.holdout import Picked, holdout_mask, read_picked
from workers.jobs.labels import Answer, Labelled, consensus, gather
from workers.jobs.measuring import Figures, described
from workers.jobs.model_files import ModelFiles, model_files
from workers.jobs.notes import model_note, no_model_note
from workers.jobs.pool import (
    Layout,
    counts_terms,
    features_reader,
    has_features,
    layout,
    pin_then_read,
    seen_next,
    spread_rows,
)
from workers.jobs.serving import predictions_ahead
from workers.learning.estimators.committees import train_any_committee
from workers.learning.estimators.folds import group_count
from workers.learning.estimators.training import Trained, TrainingRequest, learn, nothing_to_learn, train
from workers.learning.matrices import ChunkReader, Rows
from workers.learning.metrics import cross_validated_probabilities

_BACKGROUND = 10_000  # pool rows that scales or IDF are learnt from
_FOLDS = 5
_STEPS = 4
_FEWEST_GROUPS = 2
_NONE = Picked()


@dataclass(frozen=True)
class Loaded:
    """What a training needs; `label_generation` counts the changes of labels that it holds."""

    project: Project
    label_generation: int
    layout: Layout
    answers: list[Answer]
    automated: Sequence[int]  # rows that no person has labelled: they measure nothing
    background: Rows  # rows that hold an example, evenly spread, for what a model learns from the unlabelled pool
    picked: Picked
    groups: Groups | None
    before: Before  # what the project's goal needs
    asked: bool  # whether somebody asked what the serving model says of the pool


@dataclass(frozen=True)
class Parts:
    """The labelled examples by use."""

    train: Labelled
    test: Labelled
    holdout: Labelled
    spoilt: int  # how many of the held-out part a strategy has picked


def run(context: JobContext) -> None:
    """Train and measure; too few labels or one class only is no failure, but a result without a model."""
    loaded = pin_then_read(context, lambda session: _read(session, context))
    held_out = holdout_mask(loaded.layout.rows, loaded.project.holdout_fraction, loaded.project.seed, loaded.groups)
    parts = split(_consensus(loaded), held_out, automated=loaded.automated, picked=loaded.picked)
    reason: str | None = "no_features"
    if has_features(loaded.project.features):
        reason = nothing_to_learn(parts.train.y, task_of(loaded.project.task))
    if reason is not None:
        _end_without(context, loaded, reason)
        return
    encoder = fill_features(context, loaded.layout)
    reader = features_reader(context, loaded.layout)
    request = _request(loaded, parts.train, reader)
    request = replace(request, learnt=learn(request))  # once for the model, its committee and its measuring
    context.progress.tell(0, _STEPS, "training")
    model = train(request)
    estimator = {
        **loaded.project.estimator,
        "chosen": dict(model.hyper_parameters),
        "seed": request.seed,
        "holdout_fraction": loaded.project.holdout_fraction,
        "holdout_of": "rows" if loaded.groups is None else "groups",
        "features": {"array": loaded.layout.array, "definition": loaded.layout.features},
    }
    if encoder is not None:
        estimator["features"]["fields"] = list(encoder.told)
    with model_files(context) as files:
        files.put(files.key, model.dump())
        if encoder is not None:
            files.put(model_encoder_key(files.key), encoder.dump())
        context.progress.tell(1, _STEPS, "training the committee")
        _train_committee(context, request, model, files)
        context.progress.tell(2, _STEPS, "measuring")
        figures = _figures(loaded, request, parts, _measure(request, model, parts, reader))
        _predict_ahead(context, loaded, model, reader, files)
        _store(context, loaded, parts.train, estimator=estimator, figures=figures, files=files)
    tidy(context)


def _read(session: Session, context: JobContext) -> Loaded:
    project = projects.get(session, context.project_id)
    pool = project_queries.pool(session, project.id)  # before the labels, so that it never counts more than are read
    said = array_name(pool.model_version)
    found = layout(session, context, pool, seen_next(session, context, project, pool), [said])
    return Loaded(
        project=project,
        label_generation=pool.label_generation,
        layout=found,
        answers=model_queries.answers(session, project.id, learn_from=learns_from(project.retraining)),
        automated=model_queries.automated_rows(session, project.id),
        background=_background_rows(session, pool),
        picked=read_picked(session, project),
        groups=read_groups(session, project.id, pool.next_row),
        before=read(session, project),
        asked=bool(found.chunks[said]) and pool.pin is None,
    )


def _consensus(loaded: Loaded) -> Labelled:
    return consensus(gather(loaded.answers, loaded.project.task), truth_of(loaded.project))


def split(
    labelled: Labelled, held_out: NDArray[np.bool_], *, automated: Sequence[int] = (), picked: Picked = _NONE
) -> Parts:
    """Test rows and the held-out part measure, as far as people have labelled them; the rest trains.

    What a strategy picked before it was held out does neither.
    """
    held_out = held_out[labelled.rows] & ~labelled.test
    by_people = ~np.isin(labelled.rows, np.array(automated, dtype=np.int64))
    otherwise = np.isin(labelled.rows, picked.otherwise)
    return Parts(
        train=labelled.only(~labelled.test & ~held_out),
        test=labelled.only(labelled.test & by_people),
        holdout=labelled.only(held_out & by_people & ~otherwise),
        spoilt=int(np.count_nonzero(held_out & otherwise)),
    )


def _request(loaded: Loaded, labelled: Labelled, reader: ChunkReader) -> TrainingRequest:
    """Rows in order of example ids and a seed from the labels: the same labels give the same model."""
    project = loaded.project
    seed = int.from_bytes(hashlib.blake2b(f"{project.seed}:{labelled.digest}".encode(), digest_size=4).digest())
    return TrainingRequest(
        X=reader.take(labelled.rows),
        y=labelled.y,
        classes=classes_of(project.task),
        task=task_of(project.task),
        estimator=project.estimator["name"],
        params=project.estimator["params"],
        seed=seed,
        groups=None if loaded.groups is None else loaded.groups.codes[labelled.rows],
        background=reader.take(loaded.background),
        text=counts_terms(loaded.layout),
    )


def _background_rows(session: Session, pool: Pool) -> Rows:
    """Rows that hold an example: holes are zeros, which would be learnt from."""
    spread = spread_rows(pool.next_row, _BACKGROUND)
    present = spread if pool.examples == pool.next_row else arrays.present_rows(session, pool.project_id, spread)
    return np.array(present, dtype=np.int64)


def _train_committee(context: JobContext, request: TrainingRequest, model: Trained, files: ModelFiles) -> None:
    """Keep the committee that the project wants beside its model, with the model's choices of parameters."""
    count = request.params.get("committee", 0)
    if count:
        same = replace(request, params={**request.params, **model.hyper_parameters})
        kind = request.params["committee_of"]
        committee = train_any_committee(same, count=count, kind=kind, parallel=context.parallel)
        files.put(committee_key(files.key), committee.dump())


def _predict_ahead(context: JobContext, loaded: Loaded, model: Trained, reader: ChunkReader, files: ModelFiles) -> None:
    """Write the pool's predictions before the model serves, so that the first who asks need not wait for them."""
    if not loaded.asked:
        return
    context.progress.tell(3, _STEPS, "predicting")
    for chunk in predictions_ahead(context, model, loaded.layout, reader):
        files.ahead.append(chunk)


def _measure(request: TrainingRequest, model: Trained, parts: Parts, reader: ChunkReader) -> Figures:
    """On test rows if there are any, else on the held-out part, else by cross-validation, which is biased."""
    rng = np.random.default_rng(request.seed)
    for method, rows in (("test", parts.test), ("holdout", parts.holdout)):
        if rows.size:
            P = model.predictions(reader.take(rows.rows))
            biased = method == "holdout" and parts.spoilt > 0
            return described(P, rows, request.task, rng, method=method, biased=biased)
    if group_count(request.groups, parts.train.size) < _FEWEST_GROUPS:
        return Figures()  # a model of the others knows nothing
    same = replace(request, params={**request.params, **model.hyper_parameters})
    P = cross_validated_probabilities(same, _FOLDS)
    return described(P, parts.train, request.task, rng, method="cross_validation", biased=True)


def _end_without(context: JobContext, loaded: Loaded, reason: str) -> None:
    with context.fenced() as (session, job):
        project_queries.lock_pool(session, context.project_id)
        job.label_generation = loaded.label_generation
        context.finish(session, no_model_note(reason))
        _tell(session, context, job, model=None)


def _figures(loaded: Loaded, request: TrainingRequest, parts: Parts, measured: Figures) -> dict[str, Any]:
    """How good the model is, and how far the project's goals are."""
    rng = np.random.default_rng(request.seed)
    people = ~np.isin(parts.train.rows, np.array(loaded.automated, dtype=np.int64))
    sample = None if parts.spoilt else sample_of(parts.train.only(people), parts.holdout, loaded.picked)
    found = Found(parts.train, parts.holdout, sample)
    far = estimate(loaded.project, loaded.before, measured.metrics, found, rng=rng)
    return {"metrics": measured.metrics, "by_class": measured.by_class, "estimates": far}


def _store(
    context: JobContext,
    loaded: Loaded,
    labelled: Labelled,
    *,
    estimator: dict[str, Any],
    figures: Mapping[str, Any],
    files: ModelFiles,
) -> None:
    """Keep the model, and list the predictions ahead if it serves from now on."""
    with context.fenced() as (session, job):
        job.label_generation = loaded.label_generation
        project, pool = projects.lock(session, context.project_id)
        if not classes.are_kept(project, loaded.project):
            context.finish(session, no_model_note("classes_changed"))
            _tell(session, context, job, model=None)
            return
        version = model_queries.newest(session, context.project_id) + 1
        before = model_queries.newest_trained(session, context.project_id)
        stopping = bool(newly_met(figures["estimates"], before.estimates if before else None))
        record = Model(
            project_id=context.project_id,
            version=version,
            job_id=job.id,
            artifact_key=files.key,
            labels_used=labelled.size,
            label_generation=loaded.label_generation,
            labels_hash=labelled.digest,
            classes=classes_of(loaded.project.task),
            estimator=estimator,
            **figures,
            created_at=context.now(),
        )
        session.add(record)
        digests.record(session, context.project_id, files.digests)
        serving = pool.pin is None
        if serving:
            serve(session, pool, version, now=context.now())
            if project.features == loaded.project.features and featurizations.unfinished(session, project.id) is None:
                arrays.retire_features(session, project.id, but=loaded.layout.array, generation=pool.chunk_generation)
            for chunk in files.ahead:
                named = replace(chunk, array=array_name(version))
                add_chunk(session, context.project_id, named, generation=pool.chunk_generation)
        context.finish(session, {"model": model_note(record), "serving": serving})
        _tell(session, context, job, model=model_note(record), stopping=stopping)
        files.keep(ahead=serving)


def _tell(
    session: Session, context: JobContext, job: Job, *, model: dict[str, Any] | None, stopping: bool = False
) -> None:
    trainings.after_end(session, job, now=context.now(), share=context.share, succeeded=True)
    events.training_succeeded(session, job, model=model, stopping=stopping, now=context.now())
