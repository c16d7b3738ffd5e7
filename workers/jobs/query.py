"""A query: rank the candidates, then keep the batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.actions import batches, events, projects
from service.actions.batches import Provenance, Ranked
from service.actions.predictions import arrays_of
from service.actions.projects import gold_share_of, truth_of
from service.catalog.parameters import with_codes
from service.catalog.sources import LearnFrom, learns_from
from service.catalog.strategies import STRATEGIES, reviews
from service.catalog.tasks import Task, classes_of, task_of
from service.db.queries import jobs as job_queries
from service.db.queries import models as model_queries
from service.db.queries import projects as project_queries
from service.db.tables import Batch, Model, Project
from service.errors import GleanerError, ProjectPausedError
from service.queue.messages import QueryMessage
from service.storage.objects import ObjectNotFoundError
from workers.jobs import candidates, gold
from workers.jobs.candidates import Availability
from workers.jobs.context import JobContext, JobLostError
from workers.jobs.features import fill_features
from workers.jobs.holdout import holdout_mask, of_other_groups, without_groups_of
from workers.jobs.labels import Gathered, Labelled, consensus, gather, known_only
from workers.jobs.notes import model_note
from workers.jobs.pool import Layout, counts_terms, features_reader, has_features, layout, pin_then_read, seen_then
from workers.jobs.ranked import Shown, ranked_rows
from workers.jobs.readers import DenseReader, Overlay
from workers.jobs.review import REVIEWS, Review, ReviewRequest
from workers.jobs.serving import members_reader, open_model, predictions_reader, told_rows, vectors_reader
from workers.learning.estimators.training import Trained
from workers.learning.matrices import ChunkReader
from workers.learning.query import Query, Ranking
from workers.learning.selection import rank

_ROUNDS = 20
_RESERVE = 50


@dataclass(frozen=True)
class Loaded:
    """What a query needs, of one generation of chunk lists."""

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
        ranking, made = _rank(context, loaded.message, loaded, base)
        if _keep(context, loaded.message, loaded, ranking=ranking, made=made):
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


def _rank(
    context: JobContext, message: QueryMessage, loaded: Loaded, base: NDArray[np.bool_]
) -> tuple[list[Ranked], Provenance]:
    candidates.refresh_snapshot(context, loaded.availability, base)
    features = _features(context, message, loaded)
    held_out = holdout_mask(base.size, loaded.project.holdout_fraction, loaded.project.seed)
    if reviews(message.strategy):
        return _review(context, message, loaded, base=base, held_out=held_out, features=features)
    mask, pinned = candidates.for_query(loaded.availability, base)
    mask, audit = candidates.audited(loaded.availability, mask, pinned, message, seed=loaded.project.seed)
    pinned = np.concatenate([pinned, audit])
    available = int(np.count_nonzero(mask))
    told, hidden = told_rows(context, loaded.model, loaded.layout), held_out
    if told is not None and _asks_uploaded(message, loaded.model):
        mask &= told | held_out  # what is held out is drawn at random
        pinned = pinned[told[pinned]]
        hidden = held_out | ~told
    probabilities = predictions_reader(context, loaded.model, loaded.task, loaded.layout, features)
    members = None
    if "committee" in _needs(message):
        members = members_reader(context, loaded.model, loaded.task, loaded.layout, features)
    ranked, ranking, complete = _compose(
        context,
        message,
        loaded,
        audit=audit,
        mask=mask,
        pinned=pinned,
        held_out=held_out,
        features=features,
        P=probabilities,
        members=members,
        told=told,
        hidden=hidden,
    )
    made = _provenance(message, loaded, ranking, mask, complete=complete)
    return ranked, replace(made, without_predictions=available - made.candidates)


def _features(context: JobContext, message: QueryMessage, loaded: Loaded) -> ChunkReader | None:
    """The vectors that came with predictions where a query asks for these, else the project's features."""
    if _asks_uploaded(message, loaded.model) and (vectors := vectors_reader(context, loaded.model, loaded.layout)):
        return vectors
    if not has_features(loaded.layout.features):
        return None
    fill_features(context, loaded.layout, model=loaded.model)
    return features_reader(context, loaded.layout)


def _asks_uploaded(message: QueryMessage, model: Model | None) -> bool:
    """Whether a query asks for what was uploaded of a model of the client's own: rows without it are left out then."""
    if model is None or model.name is None or reviews(message.strategy):
        return False
    wanted = {"predictions", "committee", "model", *(["features"] if model.dimensions else [])}
    return message.class_balanced or not wanted.isdisjoint(_needs(message))


def _needs(message: QueryMessage) -> set[str]:
    """What the strategies of a query rank by."""
    names = [message.strategy, *([message.candidates.strategy] if message.candidates else [])]
    return {need for name in names for need in STRATEGIES[name].needs}


def _provenance(
    message: QueryMessage, loaded: Loaded, ranking: Ranking, mask: NDArray[np.bool_], *, complete: bool
) -> Provenance:
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


def _review(
    context: JobContext,
    message: QueryMessage,
    loaded: Loaded,
    *,
    base: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
    features: ChunkReader | None,
) -> tuple[list[Ranked], Provenance]:
    """The labelled training examples by what a review of their labels finds.

    Features are not shown to the ranking: of copies with different labels, one is wrong.
    """
    gathered, labelled = _read_labels(context, loaded, held_out)
    present = base.copy()
    present[labelled.rows] = True
    context.progress.tell(0, 1, "reviewing labels")
    found = REVIEWS[message.strategy](
        ReviewRequest(
            project=loaded.project,
            model=loaded.model,
            gathered=gathered,
            labelled=labelled,
            features=features,
            text=counts_terms(loaded.layout),
            present=present,
            seed=message.seed,
            parallel=context.parallel,
        )
    )
    mask = np.zeros_like(base)
    mask[found.labelled.rows] = True
    mask, pinned = candidates.for_query(loaded.availability, mask)
    P = _reviewed_probabilities(context, loaded, found)
    asked = _asked(context, message, loaded, lambda: found.labelled, mask=mask, pinned=pinned, P=P)
    asked = replace(asked, disagreement=_by_row(found, base.size))
    ranking = rank(replace(asked, strategy="random") if found.reason else asked)
    if found.reason:
        ranking = replace(ranking, fallback_from=message.strategy, fallback_reason=found.reason)
    shown = Shown(loaded.task, P, loaded.classes)
    rows = ranked_rows(ranking, shown, priorities=asked.priorities)
    ranked = _with_labels(rows, found, gathered.classes)
    complete = len(ranked) < asked.k + asked.reserve
    return ranked, _provenance(message, loaded, ranking, mask, complete=complete)


def _reviewed_probabilities(context: JobContext, loaded: Loaded, found: Review) -> ChunkReader | None:
    if found.P is None:
        return None
    overlay = Overlay(found.labelled.rows, found.P)
    return DenseReader(context.objects, [], rows=loaded.layout.rows, columns=found.P.shape[1], overlay=overlay)


def _by_row(found: Review, rows: int) -> NDArray[np.float64] | None:
    if found.disagreement is None:
        return None
    by_row = np.zeros(rows)
    by_row[found.labelled.rows] = found.disagreement
    return by_row


def _with_labels(ranked: list[Ranked], found: Review, classes: Sequence[str]) -> list[Ranked]:
    """The ranked rows with the label that each has, and the one that it rather has."""
    places = np.searchsorted(found.labelled.rows, [each.row for each in ranked])
    current = [classes[code] for code in found.labelled.y[places]]
    suggested = [None] * len(ranked) if found.suggested is None else [classes[c] for c in found.suggested[places]]
    return [
        replace(each, current_label=now, suggested_label=rather)
        for each, now, rather in zip(ranked, current, suggested, strict=True)
    ]


def _labelled(context: JobContext, loaded: Loaded, hidden: NDArray[np.bool_]) -> Callable[[], Labelled]:
    """Reads, once and when asked, the labelled examples that models are trained on and that are not hidden, by row.

    Most strategies never ask, and there may be a million of them.
    """
    learn_from = learns_from(loaded.project.retraining)
    return cache(lambda: _read_labels(context, loaded, hidden, learn_from)[1])


def _read_labels(
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


def _compose(
    context: JobContext,
    message: QueryMessage,
    loaded: Loaded,
    *,
    audit: NDArray[np.int64],
    mask: NDArray[np.bool_],
    pinned: NDArray[np.int64],
    held_out: NDArray[np.bool_],
    features: ChunkReader | None,
    P: ChunkReader | None,
    members: ChunkReader | None,
    told: NDArray[np.bool_] | None,
    hidden: NDArray[np.bool_],
) -> tuple[list[Ranked], Ranking, bool]:
    """The strategy's ranking, with the project's share from the held-out part of the pool, drawn at random.

    The last member says whether it holds everything that could be picked.
    """
    # The share of a small batch is rounded at random, anew whenever the candidates have changed.
    rng = np.random.default_rng([message.seed, int(np.count_nonzero(mask))])
    share = int(loaded.project.holdout_fraction * message.k + rng.random())
    labelled = _labelled(context, loaded, hidden)
    shown = Shown(loaded.task, P, loaded.model.classes if loaded.model else [], told)
    groups = loaded.availability.groups
    held: list[Ranked] = []
    if loaded.project.holdout_fraction:
        held = ranked_rows(_drawn(message, mask & held_out, pinned), shown, held_share=share)
    mask, mates = without_groups_of(held[:share], mask & ~held_out, groups)
    room = message.k - share
    questions = gold.chosen(
        _answerable(loaded.availability.gold, told),
        np.array(loaded.availability.own, dtype=np.int64),
        message,
        share=gold_share_of(loaded.project),
        room=room,
        rng=rng,
    )
    asked = _asked(context, message, loaded, labelled, mask=mask, pinned=np.concatenate([pinned, questions]), P=P)
    chosen = rank(
        replace(
            asked,
            k=room,
            features=features,
            members=members,
            model=_opened(context, message, loaded, features),
        )
    )
    ranked = _audited(ranked_rows(chosen, shown, priorities=asked.priorities), audit)
    ranked = gold.mixed_in(ranked, questions, room, rng)
    complete = len(ranked) < room + asked.reserve and len(held) < message.k + asked.reserve
    ranked = [*ranked[:room], *held[:share], *ranked[room:]]
    ranked += of_other_groups(held[share:], ranked, groups)
    if gold.are_asked(loaded.project, message):
        ranked = gold.by_place(ranked)
    return ranked, replace(chosen, group_mates=chosen.group_mates + mates), complete


def _answerable(questions: NDArray[np.int64], told: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Without those of which a model of the client's own says nothing: they would be known by that."""
    return questions if told is None else questions[told[questions]]


def _audited(ranked: list[Ranked], audit: NDArray[np.int64]) -> list[Ranked]:
    """Say of which rows people shall tell whether a model is right, without what it says."""
    rows = set(audit.tolist())
    return [replace(one, strategy="audit", prediction=None) if one.row in rows else one for one in ranked]


def _asked(
    context: JobContext,
    message: QueryMessage,
    loaded: Loaded,
    labelled: Callable[[], Labelled],
    *,
    mask: NDArray[np.bool_],
    pinned: NDArray[np.int64],
    P: ChunkReader | None,
) -> Query:
    """What the message asks of the candidates in `mask`, with a reserve for races."""
    classes = loaded.classes
    return Query(
        task=loaded.task,
        strategy=message.strategy,
        params=with_codes(STRATEGIES[message.strategy].parameters, message.params, classes),
        k=message.k,
        reserve=_reserve(message),
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
        groups=loaded.availability.groups,
        pinned=pinned,
        parallel=context.parallel,
        progress=context.progress.tell,
    )


def _reserve(message: QueryMessage) -> int:
    return max(2 * message.k, _RESERVE)


def _preselect(message: QueryMessage, classes: list[str]) -> tuple[str, dict[str, Any], int] | None:
    if message.candidates is None:
        return None
    name, params, count = message.candidates.strategy, message.candidates.params, message.candidates.count
    return name, with_codes(STRATEGIES[name].parameters, params, classes), count


def _opened(context: JobContext, message: QueryMessage, loaded: Loaded, features: ChunkReader | None) -> Trained | None:
    """The serving model, for strategies that ask it about features of their own making."""
    model = loaded.model
    if model is None or features is None or model.name is not None:
        return None
    if "model" not in STRATEGIES[message.strategy].needs:
        return None
    return open_model(context, model, loaded.task, features.read(0, 1))


def _drawn(message: QueryMessage, mask: NDArray[np.bool_], pinned: NDArray[np.int64]) -> Ranking:
    """The held-out candidates in random order, whatever their groups and priorities: it is to be a fair sample."""
    mask[pinned] = False
    return rank(
        Query(strategy="random", k=message.k, reserve=_reserve(message), seed=message.seed, candidates=mask, classes=1)
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


def _keep(
    context: JobContext, message: QueryMessage, loaded: Loaded, *, ranking: list[Ranked], made: Provenance
) -> bool:
    with context.fenced() as (session, job):
        project, _ = projects.lock(session, context.project_id)
        if project.paused:
            raise ProjectPausedError
        if project.task != loaded.project.task:
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
