"""A self-labelling: the serving model labels what it is sure enough of, as unbiased rows tell.

These are rows that people have labelled and no strategy has picked: test rows, the held-out part, and what was drawn at
random since the model was trained. What an earlier group would have labelled of them no longer tells of what that group
has left in the pool, so it is left out; where too few rows remain, only examples that were uploaded since are labelled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.actions import projects
from service.actions.predictions import arrays_of
from service.catalog.tasks import classes_of
from service.db.queries import autolabels as queries
from service.db.queries import jobs as job_queries
from service.db.queries import models as model_queries
from service.db.queries import projects as project_queries
from service.db.tables import Autolabel, Model
from service.errors import ConflictError
from service.queue.messages import AutolabelMessage
from workers.jobs import candidates
from workers.jobs.autolabel_writes import Loaded, begin, end, label_some, leave_some, mark_tested, undo
from workers.jobs.context import JobContext
from workers.jobs.features import fill_features
from workers.jobs.holdout import holdout_mask, read_picked
from workers.jobs.labels import consensus, gather, known_only
from workers.jobs.pool import features_reader, has_features, layout, pin_then_read, seen_then
from workers.jobs.serving import predictions_reader, told_rows
from workers.learning.matrices import ChunkReader, Rows, numbers, occupied
from workers.learning.scoring import BestClass
from workers.learning.self_labelling import Certified, certify, fewest_rows
from workers.learning.ties import random_subset

_SLICE = 2_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """Unbiased rows with a label [n], where they are from, and what the model says of them."""

    rows: Rows
    ids: Sequence[str]
    sources: dict[str, int]
    scores: NDArray[np.float32]
    said: NDArray[np.int64]
    right: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows that are labelled and rows that are left to people, with what the model says."""

    rows: Rows
    said: NDArray[np.int64]
    audit: Rows
    audit_said: NDArray[np.int64]


def run(context: JobContext) -> None:
    """Choose the threshold, then label in short transactions. A run that was lost is undone and begun anew."""
    message = context.claim.message
    assert isinstance(message, AutolabelMessage)  # noqa: S101 - the kind of the job says so
    undo(context, message.autolabel_id)
    loaded = pin_then_read(context, lambda session: _read(session, context, message.autolabel_id))
    base = candidates.base_mask(loaded.availability, context.objects)
    project, groups = loaded.project, loaded.availability.groups
    held_out = holdout_mask(base.size, project.holdout_fraction, project.seed, groups)
    unlearnt = holdout_mask(base.size, _held_from(loaded), project.seed, groups if _by_groups(loaded.model) else None)
    P, told = _predictions(context, loaded)
    evidence = _evidence(loaded, P, unlearnt, told, but=[*loaded.tested, *loaded.learnt])
    pool = np.flatnonzero(_free(loaded, base, told) & ~held_out)
    scope = "pool"
    if loaded.seen and evidence.rows.size < fewest_rows(loaded.group.target_precision, loaded.group.confidence_level):
        evidence = _evidence(loaded, P, unlearnt, told, but=loaded.learnt)
        scope, pool = "new", pool[pool >= loaded.seen]
    scores, said = _scored(context, P, pool)
    outcome: dict[str, Any] = {"evidence": evidence.sources, "scope": scope, "rows": loaded.layout.rows}
    found = _certified(loaded.group, evidence, scores, outcome)
    if found is None:
        end(context, loaded, outcome, state="refused")
        return
    chosen = _choose(loaded.group, found, pool, scores, said, outcome)
    if loaded.group.dry_run:
        end(context, loaded, outcome, state="tried")
        return
    begin(context, loaded, outcome)
    _write(context, loaded, _tested(evidence, found), chosen)
    end(context, loaded, outcome, state="labelled")


def _write(context: JobContext, loaded: Loaded, tested: Sequence[tuple[str, int, int]], chosen: Chosen) -> None:
    """Leave to people what is theirs before anything is labelled."""
    for part in _slices(context, len(tested), "noting what was tested"):
        mark_tested(context, loaded, tested[part])
    for part in _slices(context, chosen.audit.size, "leaving some to people"):
        leave_some(context, loaded, chosen.audit[part], chosen.audit_said[part])
    for part in _slices(context, chosen.rows.size, "labelling"):
        label_some(context, loaded, chosen.rows[part], chosen.said[part])


def _slices(context: JobContext, count: int, phase: str) -> Iterator[slice]:
    """What is written in one transaction each; tells how far it is."""
    for start in range(0, count, _SLICE):
        context.progress.tell(start, count, phase)
        yield slice(start, start + _SLICE)


def _held_from(loaded: Loaded) -> float:
    """The fraction that was held out from the model, too: what is held out since a training may have been learnt."""
    fraction, model = loaded.project.holdout_fraction, loaded.model
    return fraction if model.name is not None else min(fraction, model.estimator.get("holdout_fraction", 0.0))


def _by_groups(model: Model) -> bool:
    """Whether groups were held out from the model as a whole; earlier releases held out rows."""
    return model.name is not None or model.estimator.get("holdout_of") == "groups"


def _read(session: Session, context: JobContext, autolabel_id: str) -> Loaded:
    project = projects.get(session, context.project_id)
    pool = project_queries.pool(session, project.id)
    model = model_queries.get(session, project.id, pool.model_version)
    group = queries.get(session, autolabel_id)
    if model is None or group is None:
        raise ConflictError("There is no model any more that could label. Train one, or activate a version.")
    # a client's own model may have learnt anything since; of a trained one it is known what it has not seen
    trained_here = model.name is None
    drawn = queries.drawn_rows(session, project.id, after=model.created_at) if trained_here else []
    learnt = _changed(session, model) if trained_here else []
    return Loaded(
        group=group,
        project=project,
        model=model,
        layout=layout(session, context, pool, seen_then(session, context, project, pool, model), arrays_of(model)),
        availability=candidates.read_all(session, context, project, pool),
        answers=model_queries.answers(session, project.id, learn_from="people"),
        drawn=drawn,
        picked=read_picked(session, project),
        tested=queries.marked_rows(session, project.id, kind="tested"),
        seen=queries.rows_seen(session, project.id),
        learnt=learnt,
    )


def _changed(session: Session, model: Model) -> Sequence[int]:
    """Rows that are not what they were when the training began that made the model."""
    job = job_queries.get(session, model.job_id)
    began = model.created_at if job is None or job.started_at is None else job.started_at
    return queries.changed_rows(session, model.project_id, after=began, labelled=model.created_at)


def _predictions(context: JobContext, loaded: Loaded) -> tuple[ChunkReader, NDArray[np.bool_] | None]:
    features = None
    if has_features(loaded.layout.features):
        fill_features(context, loaded.layout, model=loaded.model)
        features = features_reader(context, loaded.layout)
    P = predictions_reader(context, loaded.model, "classification", loaded.layout, features)
    return P, told_rows(context, loaded.model, loaded.layout)


def _evidence(
    loaded: Loaded,
    P: ChunkReader,
    held_out: NDArray[np.bool_],
    told: NDArray[np.bool_] | None,
    *,
    but: Sequence[int],
) -> Evidence:
    """The unbiased rows, but some."""
    gathered = gather(loaded.answers, loaded.project.task)
    labelled = known_only(consensus(gathered, "majority"), "classification", len(classes_of(loaded.project.task)))
    labelled = labelled.only(labelled.rows < loaded.layout.rows)
    held = held_out[labelled.rows] & ~labelled.test & ~np.isin(labelled.rows, loaded.picked.otherwise)
    drawn = np.isin(labelled.rows, np.array(loaded.drawn, dtype=np.int64)) & ~held & ~labelled.test
    usable = ~np.isin(labelled.rows, np.array(but, dtype=np.int64))
    if told is not None:
        usable &= told[labelled.rows]
    sources = {
        name: int(np.count_nonzero(which & usable))
        for name, which in (("test", labelled.test), ("holdout", held), ("random", drawn))
    }
    chosen = labelled.only((labelled.test | held | drawn) & usable)
    said = numbers(np.asarray(P.take(chosen.rows)))
    classes = said.argmax(axis=1).astype(np.int64)
    ids = [gathered.ids[place] for place in chosen.places.tolist()]
    return Evidence(chosen.rows, ids, sources, said.max(axis=1, initial=0.0), classes, classes == chosen.y)


def _free(loaded: Loaded, base: NDArray[np.bool_], told: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Candidates that nobody holds, and that no other group has left to people."""
    free = base.copy()
    free[np.array(loaded.availability.unavailable, dtype=np.int64)] = False
    free[np.array(loaded.availability.audit, dtype=np.int64)] = False
    return free if told is None else free & told


def _scored(context: JobContext, P: ChunkReader, rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The probability of the best class of some rows, ascending, and which class that is; block by block."""
    scores = np.empty(rows.size, dtype=np.float32)
    said = np.empty(rows.size, dtype=np.int64)
    done = 0
    parts = occupied(rows, P.rows)
    for number, (best, classes) in enumerate(context.parallel.over_chunks(BestClass(P), parts)):
        context.progress.tell(number, len(parts), "scoring")
        part = slice(done, done + best.size)
        scores[part], said[part] = best, classes
        done += best.size
    return scores, said


def _certified(
    group: Autolabel, evidence: Evidence, pool: NDArray[np.float32], outcome: dict[str, Any]
) -> Certified | None:
    """The threshold; without one the outcome tells why."""
    target, level = group.target_precision, group.confidence_level
    needed, n = fewest_rows(target, level), evidence.rows.size
    found = None
    if n < needed:
        code = "too_few_unbiased_rows"
        detail = (
            f"{n} rows are unbiased, labelled by people and predicted by the model; a precision of {target:g} at a "
            f"confidence of {level:g} takes {needed} at least, all of them right. Label test rows (and predict them, "
            "if the model is your own), or set `holdout_fraction` or `explore`."
        )
    elif pool.size == 0:
        code = "nothing_to_label"
        detail = "No unlabelled example is free that the model says something of and the unbiased rows tell of."
    else:
        found = certify(evidence.scores, evidence.right, pool, target=target, level=level)
        code = "target_not_met"
        right = int(np.count_nonzero(evidence.right))
        detail = (
            f"No threshold shows a precision of {target:g} at a confidence of {level:g}. Of all {n} unbiased rows the "
            f"model has {right} right. Label more of them, or improve the model."
        )
    if found is None:
        outcome["refusal"] = {"code": code, "detail": detail}
    return found


def _choose(
    group: Autolabel,
    found: Certified,
    pool: Rows,
    scores: NDArray[np.float32],
    said: NDArray[np.int64],
    outcome: dict[str, Any],
) -> Chosen:
    """What is above the threshold, less the share that is drawn for people."""
    seed = int.from_bytes(blake2b(group.id.encode(), digest_size=8).digest())
    above = np.flatnonzero(scores >= found.threshold)
    outcome["coverage"] = above.size / pool.size
    audit = random_subset(above, int(np.ceil(group.audit_share * above.size)), seed, purpose="audit")
    rest = np.setdiff1d(above, audit, assume_unique=True)
    if group.max_labels is not None:
        rest = random_subset(rest, group.max_labels, seed, purpose="most")
    outcome["threshold"] = found.threshold
    outcome["precision"] = {"value": found.right / found.n, "low": found.low, "high": found.high, "n": found.n}
    outcome["audit"] = int(audit.size)
    return Chosen(pool[rest], said[rest], pool[audit], said[audit])


def _tested(evidence: Evidence, found: Certified) -> list[tuple[str, int, int]]:
    """Example, row and class of what has told the precision above the threshold."""
    told = zip(evidence.ids, evidence.rows.tolist(), evidence.said.tolist(), evidence.scores.tolist(), strict=True)
    return [(example_id, row, code) for example_id, row, code, score in told if score >= found.threshold]
