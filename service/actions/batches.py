"""Batches and their leases. A batch never changes; its leases come and go."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy.orm import Session

from service.actions import jobs, projects
from service.catalog.strategies import reviews
from service.db.queries import batches as queries
from service.db.queries import candidates
from service.db.queries.candidates import Pick
from service.db.queries.rankings import Place
from service.db.tables import Batch, Job
from service.errors import (
    ConflictError,
    FieldError,
    InvalidRequestError,
    JobNotSucceededError,
    NotFoundError,
    RemovedError,
)
from service.queue.messages import QueryMessage


@dataclass(frozen=True, slots=True)
class Ranked:
    """One row of a ranking, before it is known whether somebody else took it meanwhile."""

    row: int
    score: float
    value: float
    strategy: str
    explore: bool
    propensity: float | None
    prediction: dict[str, Any] | None
    priority: float  # infinite: pinned; 0: none, or drawn at random
    current_label: str | None = None
    suggested_label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How a batch was made: what it records beside its items."""

    strategy: dict[str, Any]
    model: dict[str, Any] | None
    candidates: int
    row_high_water: int
    mask_hash: str
    complete: bool  # the ranking holds everything that could be picked
    group_mates: int = 0  # candidates that were left out, as another of their group is ranked
    without_predictions: int = 0  # candidates that were left out, as a model of the client's own says nothing of them


def batch_of(session: Session, job: Job) -> Batch | None:
    """The batch of a query; none while it is being made.

    Raises:
        NotFoundError: the job is no query.
        JobNotSucceededError: the query failed or was cancelled.
        RemovedError: the batch is gone.
    """
    if job.kind != "query":
        raise NotFoundError("Only queries have a batch.")
    if job.state in {"failed", "cancelled"}:
        raise JobNotSucceededError(f"The query was {job.state}; ask again.")
    batch = queries.get(session, job.id)
    if batch is not None and not batch.body:  # perhaps since the job was read
        raise RemovedError("The batch is removed, as its query ended long ago (GLEANER_KEEP_JOBS_DAYS). Ask anew.")
    return batch


def keep(
    session: Session,
    job: Job,
    message: QueryMessage,
    ranking: Sequence[Ranked],
    made: Provenance,
    *,
    overlap: int,
    now: datetime,
) -> Batch | None:
    """Write the batch from the best of `ranking` that are still to be had, and take their leases.

    The pool is locked, so that two queries never lease one example beyond `overlap`. None: others were faster so often
    that the ranking does not fill the batch although it was cut off; rank again.
    """
    chosen = _still_free(session, job, message, ranking, overlap=overlap, now=now)
    # what was lost to others may have kept out the rest of its group
    complete = made.complete and (len(chosen) == len(ranking) or not made.group_mates)
    if len(chosen) < message.k and not complete:
        return None
    expires_at = now + timedelta(seconds=message.lease_seconds) if message.lease_seconds else None
    if expires_at is not None:
        _lease(session, job, message, [pick for _, pick in chosen], expires_at=expires_at)
    body = orjson.dumps(_document(job, message, chosen, made, expires_at=expires_at, now=now))
    batch = Batch(
        job_id=job.id,
        project_id=job.project_id,
        created_at=now,
        body=body,
        etag=hashlib.sha256(body).hexdigest()[:32],
        size=len(chosen),
        strategy=made.strategy["name"],
        seed=message.seed,
        model_version=made.model["version"] if made.model else None,
        row_high_water=made.row_high_water,
        mask_hash=made.mask_hash,
    )
    session.add(batch)
    session.flush()
    items = [
        {"job_id": job.id, "example_id": pick.example_id, "rank": rank, "propensity": ranked.propensity}
        for rank, (ranked, pick) in enumerate(chosen, start=1)
    ]
    queries.add_items(session, items)
    return batch


def _still_free(
    session: Session, job: Job, message: QueryMessage, ranking: Sequence[Ranked], *, overlap: int, now: datetime
) -> list[tuple[Ranked, Pick]]:
    """The first k of the ranking that nobody labelled, skipped, deleted or leased since it was made."""
    rows = [ranked.row for ranked in ranking]
    found = candidates.picks(session, job.project_id, rows)
    holder = holder_of(job.id, message.annotator)
    leases = [] if message.prepared else candidates.live_leases(session, job.project_id, now, rows=rows)
    others = Counter(row for row, held_by in leases if held_by != holder)
    reviewed = reviews(message.strategy)
    several = overlap > 1 or any(pick.split == "gold" for pick in found.values())
    answered = (
        set(candidates.answered_rows(session, job.project_id, message.annotator or "", rows=rows))
        if several and not reviewed
        else set()
    )
    free = []
    for ranked in ranking:
        pick = found.get(ranked.row)
        if pick is None or ranked.row in answered:
            continue
        held = others[ranked.row]
        if _is_reviewable(pick, held) if reviewed else is_open(pick, held, overlap):
            free.append((ranked, pick))
        if len(free) == message.k:
            break
    return free


def is_open(pick: Pick | Place, held: int, overlap: int) -> bool:
    """Whether an example that others hold so often lacks a label; a gold question is for everybody."""
    free = pick.label_count + held < overlap and not (overlap == 1 and pick.skip_count)
    return free or pick.split == "gold"


def _is_reviewable(pick: Pick, held: int) -> bool:
    """Whether an example has a label that nobody else is looking at."""
    return pick.label_count > 0 and held == 0


def holder_of(job_id: str, annotator: str | None) -> str:
    """Who holds a lease: the annotator, or the batch when none was named."""
    return job_id if annotator is None else f"annotator:{annotator}"


def _lease(session: Session, job: Job, message: QueryMessage, picks: Sequence[Pick], *, expires_at: datetime) -> None:
    shared = {
        "project_id": job.project_id,
        "holder": holder_of(job.id, message.annotator),
        "annotator": message.annotator,
        "job_id": job.id,
        "expires_at": expires_at,
    }
    queries.add_leases(session, [{**shared, "example_id": pick.example_id, "row": pick.row} for pick in picks])


def _document(
    job: Job,
    message: QueryMessage,
    chosen: Sequence[tuple[Ranked, Pick]],
    made: Provenance,
    *,
    expires_at: datetime | None,
    now: datetime,
) -> dict[str, Any]:
    lease = None if expires_at is None else {"annotator": message.annotator, "expires_at": expires_at}
    return {
        "job_id": job.id,
        "project_id": job.project_id,
        "created_at": now,
        "strategy": made.strategy,
        "model": made.model,
        "pool": {
            "candidates": made.candidates,
            "without_predictions": made.without_predictions,
            "group_mates": made.group_mates,
        },
        "lease": lease,
        "exhausted": is_exhausted(len(chosen), message, made),
        "items": [_item(rank, ranked, pick, message) for rank, (ranked, pick) in enumerate(chosen, start=1)],
    }


def is_exhausted(size: int, message: QueryMessage, made: Provenance) -> bool:
    """Whether a batch of a size says that no more is left, with predictions or without, in its groups or others."""
    return size < message.k and not made.without_predictions and not made.group_mates


def _item(rank: int, ranked: Ranked, pick: Pick, message: QueryMessage) -> dict[str, Any]:
    item: dict[str, Any] = {
        "rank": rank,
        "example_id": pick.example_id,
        "score": _number(ranked.score),
        "data": orjson.loads(pick.data) if message.include_data and pick.data else None,
        "reason": {
            "strategy": ranked.strategy,
            "value": _number(ranked.value),
            "explore": ranked.explore,
            "propensity": ranked.propensity,
            "priority": _number(ranked.priority) or None,
            "pinned": ranked.priority == math.inf,
        },
        "prediction": ranked.prediction,
    }
    if reviews(message.strategy):
        item |= {"current_label": ranked.current_label, "suggested_label": ranked.suggested_label}
    return item if message.include_data else {name: value for name, value in item.items() if name != "data"}


def _number(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None


def renew(
    session: Session, job_id: str, *, project_id: str | None, lease_seconds: int, clock: Callable[[], datetime]
) -> int:
    """Prolong the leases of a batch that are still live; how many.

    The pool is locked: a query may just be giving another what ran out while this request waited.
    """
    job = _query_job(session, job_id, project_id)
    projects.lock(session, job.project_id)
    now = clock()
    renewed = queries.renew(session, job.id, until=now + timedelta(seconds=lease_seconds), now=now)
    if not renewed:
        raise ConflictError("No lease of this batch is live: they ended or ran out. Ask for a new batch.")
    return renewed


def release(session: Session, job_id: str, *, project_id: str | None, example_ids: list[str] | None) -> int:
    """End the leases of a batch, all or of some examples; how many ended."""
    job = _query_job(session, job_id, project_id)
    projects.lock(session, job.project_id)
    if example_ids is not None:
        known = queries.item_ids(session, job.id)
        bad = [
            FieldError(f"/example_ids/{position}", "unknown_example", "The batch does not hold this example.")
            for position, example_id in enumerate(example_ids)
            if example_id not in known
        ]
        if bad:
            raise InvalidRequestError("The batch does not hold all of these examples.", errors=bad)
    return queries.release(session, job.id, example_ids)


def _query_job(session: Session, job_id: str, project_id: str | None) -> Job:
    job = jobs.get(session, job_id, project_id=project_id)
    if batch_of(session, job) is None:
        raise ConflictError("The batch is still being made.", headers={"Retry-After": "1"})
    return job
