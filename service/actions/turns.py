"""One example at a time, from a ranking that was prepared before anybody asked.

Everybody shares a ranking while an example needs one label; beyond, each annotator has one, as each is missing other
examples. It holds what is leased too: that comes back to others when it is not labelled in time.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy.orm import Session

from service.actions import batches, jobs, projects, queries
from service.actions.projects import gold_share_of
from service.actions.queries import Wish
from service.catalog.strategies import reviews
from service.db.queries import batches as batch_queries
from service.db.queries import candidates
from service.db.queries import examples as example_queries
from service.db.queries import rankings as ranking_queries
from service.db.queries.rankings import Place
from service.db.tables import Batch, Job, Lease, Pool, Project, Ranking
from service.errors import ConflictError, JobNotSucceededError, ProjectPausedError
from service.settings import Settings

_SIZE = 100
_LOW = 50
# How soon after a ranking that helped nobody another one may be made.
_PATIENCE = timedelta(seconds=10)
_LATER = {"Retry-After": str(_PATIENCE.seconds)}
# Of projects whose batches take none: two who ask at once must not get the same example.
_LEASE_SECONDS = 1800


@dataclass(frozen=True, slots=True)
class Turn:
    """What an annotator gets: an example, or the job that makes the ranking; neither: there is none left."""

    document: dict[str, Any] | None = None
    waits_for: Job | None = None


def take(session: Session, project_id: str, *, annotator: str | None, settings: Settings, now: datetime) -> Turn:
    """Lease the best example that is free to an annotator; the one that is leased to them already comes first.

    Raises:
        ConflictError: nothing can be prepared as the project is.
        JobNotSucceededError: the ranking could not be made just now.
        ProjectPausedError: nothing is given.
    """
    project, pool = projects.lock(session, project_id)
    if project.paused:
        raise ProjectPausedError
    if annotator is not None:
        held = ranking_queries.own_lease(session, project_id, batches.holder_of("", annotator), now)
        if held is not None and (document := _document(session, project, held)) is not None:
            return Turn(document)
    desk = _Desk(session, project, pool, annotator=annotator, settings=settings, now=now)
    return desk.give()


class _Desk:
    """A project as one request for an example finds it; the pool is locked."""

    def __init__(
        self,
        session: Session,
        project: Project,
        pool: Pool,
        *,
        annotator: str | None,
        settings: Settings,
        now: datetime,
    ) -> None:
        if reviews(project.query["strategy"]):
            raise ConflictError("The strategy of the project reviews labels, of which batches are made only.")
        self._session = session
        self._project = project
        self._pool = pool
        self._annotator = annotator
        self._settings = settings
        self._now = now
        self._overlap: int = project.annotation["overlap"]
        self._ranking = self._opened()

    def give(self) -> Turn:
        ranking = self._ranking
        asked = self._asked()
        batch = batch_queries.get(self._session, ranking.job_id) if ranking.job_id else None
        places = ranking_queries.places(self._session, batch) if batch is not None else []
        found = self._free(batch, places) if batch is not None else []
        free, gold = ([place for place in found if (place.split == "gold") is asks] for asks in (False, True))
        if batch is not None and free:
            others = batch.size - sum(place.split == "gold" for place in places)
            low = len(free) <= min(_LOW, others // 2) and not self._is_whole(batch)
            if asked is None and (self._is_stale(batch) or low):
                self._ask(room=None)
            given = self._question(batch, free[0], gold) or free[0]
            return Turn(_document(self._session, self._project, self._lease(batch, given)))
        if asked is not None:
            if asked.state == "failed":
                raise JobNotSucceededError(f"The ranking could not be made: see /v1/jobs/{asked.id}.", headers=_LATER)
            return Turn(waits_for=asked)
        if batch is not None:
            if _is_exhausted(batch) and not self._has_grown():
                return Turn()
            self._be_patient(batch)
        return Turn(waits_for=self._ask(room=jobs.Room.of(self._settings)))

    def _opened(self) -> Ranking:
        """The annotator's ranking, or everybody's."""
        name = (self._annotator or "") if self._overlap > 1 else ""
        found = ranking_queries.get(self._session, self._project.id, name)
        if found is None:
            found = Ranking(project_id=self._project.id, annotator=name, project_version=0, change_sequence=0)
            self._session.add(found)
            self._session.flush()
        return found

    def _asked(self) -> Job | None:
        """The query that makes the next ranking, or failed just now. One that succeeded is the ranking from now on."""
        ranking = self._ranking
        if ranking.asked_job_id is None:
            return None
        job = jobs.get(self._session, ranking.asked_job_id)
        if job.state == "succeeded":
            ranking.job_id, ranking.asked_job_id = job.id, None
            return None
        if job.state == "cancelled" or (job.finished_at is not None and self._now - job.finished_at >= _PATIENCE):
            ranking.asked_job_id = None
            return None
        return job

    def _free(self, batch: Batch, places: Sequence[Place]) -> list[Place]:
        """What of a ranking can be given to the annotator now, best first."""
        leases = candidates.live_leases(self._session, self._project.id, self._now, rows=[one.row for one in places])
        held = Counter(row for row, _ in leases)
        own = {row for row, holder in leases if holder == batches.holder_of(batch.job_id, self._annotator)}
        done: set[str] = set()
        if self._overlap > 1 or any(place.split == "gold" for place in places):
            done = ranking_queries.answered(self._session, batch, self._annotator or "")
        return [
            place
            for place in places
            if batches.is_open(place, held[place.row], self._overlap)
            and place.row not in own
            and place.example_id not in done
        ]

    def _question(self, batch: Batch, instead: Place, gold: list[Place]) -> Place | None:
        """A gold question that comes before an example now and then: of each pair always the same one, so once."""
        draws = _draws(batch.job_id, self._annotator or "", instead.example_id)
        if not gold or self._annotator is None or draws.random() >= gold_share_of(self._project):
            return None
        chosen = draws.choice(ranking_queries.questions(self._session, batch))
        return next((place for place in gold if place.example_id == chosen), None)

    def _lease(self, batch: Batch, place: Place) -> Lease:
        seconds = self._project.annotation["lease_seconds"] or _LEASE_SECONDS
        lease = {
            "project_id": self._project.id,
            "example_id": place.example_id,
            "holder": batches.holder_of(batch.job_id, self._annotator),
            "annotator": self._annotator,
            "job_id": batch.job_id,
            "row": place.row,
            "expires_at": self._now + timedelta(seconds=seconds),
        }
        batch_queries.add_leases(self._session, [lease])
        return Lease(**lease)

    def _is_stale(self, batch: Batch) -> bool:
        """Whether a model or settings of today would rank otherwise, or there are new examples."""
        changed = self._ranking.project_version != self._project.version
        return changed or (batch.model_version or 0) != self._pool.model_version or self._has_grown()

    def _is_whole(self, batch: Batch) -> bool:
        """Whether a ranking holds all that could be ranked: another one would hold no more."""
        wanted: int = jobs.get(self._session, batch.job_id).payload["k"]
        return batch.size < wanted and not orjson.loads(batch.body)["pool"].get("group_mates", 0)

    def _has_grown(self) -> bool:
        """Whether examples may have become candidates since the ranking was asked for."""
        since = self._ranking.change_sequence
        forgotten = self._pool.snapshot_sequence > since
        return forgotten or ranking_queries.has_entered(self._session, self._project.id, after=since)

    def _be_patient(self, batch: Batch) -> None:
        """Refuse to make rankings again and again that help nobody."""
        if self._is_stale(batch) or self._now - batch.created_at >= _PATIENCE:
            return
        if orjson.loads(batch.body)["pool"]["without_predictions"]:
            detail = "All examples that are left have no prediction of the serving model. Upload predictions."
            raise ConflictError(detail, headers=_LATER)

    def _ask(self, *, room: jobs.Room | None) -> Job:
        """Queue the query that makes the next ranking."""
        most = self._settings.max_batch
        wish = Wish(
            k=min(_SIZE + ranking_queries.live_leases(self._session, self._project.id, self._now), most),
            strategy=None,
            params=None,
            annotator=self._annotator if self._overlap > 1 else None,
            lease_seconds=0,
            seed=None,
            filter=None,
            candidates=None,
            explore=0.0,
            class_balanced=False,
            include_data=False,
        )
        share = self._settings.jobs_in_queue_per_project
        job = queries.ask(
            self._session, self._project, wish, most=most, now=self._now, share=share, room=room, prepared=True
        )
        self._ranking.asked_job_id = job.id
        self._ranking.project_version = self._project.version
        self._ranking.change_sequence = self._pool.change_sequence
        self._session.flush()
        return job


def _draws(*names: str) -> random.Random:
    """Draws that depend on names alone."""
    return random.Random("\n".join(names))  # noqa: S311 - no secret


def _is_exhausted(batch: Batch) -> bool:
    """Whether a ranking holds all that there was, with predictions or without."""
    exhausted: bool = orjson.loads(batch.body)["exhausted"]
    return exhausted


def _document(session: Session, project: Project, lease: Lease) -> dict[str, Any] | None:
    """What is told of a leased example: its item and what its batch says of itself; none if either is gone."""
    batch = batch_queries.get(session, lease.job_id)
    example = example_queries.get(session, lease.project_id, lease.example_id)
    if batch is None or example is None:
        return None
    body = orjson.loads(batch.body)
    item = next((one for one in body.pop("items") if one["example_id"] == lease.example_id), None)
    if item is None:
        return None
    data = orjson.loads(example.data) if example.data else None
    promise = {"annotator": lease.annotator, "expires_at": lease.expires_at}
    item["exhausted"] = False  # the end of all is told by an answer without an example
    if gold_share_of(project):
        item |= {"rank": None, "score": None, "reason": None}  # of a question they are those of another place
    return {**body, **item, "data": data, "lease": promise}
