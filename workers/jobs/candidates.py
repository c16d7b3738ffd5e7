"""Who may be picked: a snapshot of the bitmap and the changes since, less what is leased."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.actions.batches import holder_of
from service.catalog.strategies import reviews
from service.db.queries import annotators, autolabels, projects
from service.db.queries import candidates as queries
from service.db.tables import Pool, Project
from service.errors import DamagedObjectError
from service.queue.messages import QueryMessage
from service.storage.bitmaps import Change, apply_changes, pack, unpack
from service.storage.objects import ObjectStore
from workers.jobs.context import JobContext
from workers.jobs.gold import are_asked
from workers.jobs.groups import Groups, numbered, read_groups
from workers.learning.groups import first_of_group
from workers.learning.matrices import Rows
from workers.learning.ties import shuffled

_CHANGES_BEFORE_SNAPSHOT = 500


@dataclass(frozen=True)
class Availability:
    """What the mask of candidates is made of, read in one transaction."""

    rows: int
    snapshot_key: str | None
    snapshot_rows: int
    sequence: int
    changes: list[Change]
    unavailable: list[int]  # leased to others as often as overlap allows, or answered by this annotator
    own: list[int]  # leased to this annotator
    audit: Sequence[int]  # left to people by self-labelling
    matching: Sequence[int] | None  # what the filter leaves
    priorities: NDArray[np.float64] | None  # by row; none: all are equal
    groups: Groups | None  # none: each row is by itself
    gold: Rows  # of the questions that may be asked

    @property
    def group_codes(self) -> NDArray[np.int64] | None:
        """The groups as queries have them."""
        return None if self.groups is None else self.groups.codes


def read(session: Session, context: JobContext, project: Project, pool: Pool, message: QueryMessage) -> Availability:
    """Read what the mask is made of."""
    # A label is reviewed by one person at a time, who may be the one that gave it.
    overlap: int = 1 if reviews(message.strategy) else project.annotation["overlap"]
    leases = [] if message.prepared else queries.live_leases(session, project.id, context.now())
    own, taken = _leased(session, context, leases, message, overlap)
    if overlap > 1:
        taken += queries.answered_rows(session, project.id, message.annotator or "")
    if message.annotator and message.program:
        taken += annotators.done_rows(session, project.id, message.annotator)
    matching = queries.matching_rows(session, project.id, message.filter) if message.filter else None
    gold = _gold(session, project, message, matching)
    return _availability(session, project, pool, unavailable=taken, own=own, gold=gold, matching=matching)


def read_all(session: Session, context: JobContext, project: Project, pool: Pool) -> Availability:
    """Read what the mask is made of for a job that labels by itself, and takes nothing that anybody holds."""
    taken = [row for row, _ in queries.live_leases(session, project.id, context.now())]
    none = np.empty(0, dtype=np.int64)
    return _availability(session, project, pool, unavailable=taken, own=[], gold=none, matching=None)


def _availability(
    session: Session,
    project: Project,
    pool: Pool,
    *,
    unavailable: list[int],
    own: list[int],
    gold: Rows,
    matching: Sequence[int] | None,
) -> Availability:
    return Availability(
        rows=pool.next_row,
        priorities=_priorities(session, project.id, pool.next_row),
        groups=read_groups(session, project.id, pool.next_row),
        gold=gold,
        snapshot_key=pool.snapshot_key,
        snapshot_rows=pool.snapshot_rows,
        sequence=pool.change_sequence,
        changes=[Change(*row) for row in queries.changes(session, project.id, after=pool.snapshot_sequence)],
        unavailable=unavailable,
        own=own,
        audit=autolabels.marked_rows(session, project.id, kind="audit", unlabeled=True),
        matching=matching,
    )


def _gold(session: Session, project: Project, message: QueryMessage, matching: Sequence[int] | None) -> Rows:
    if not are_asked(project, message):
        return np.empty(0, dtype=np.int64)
    rows = np.array(queries.gold_rows(session, project.id, message.annotator), dtype=np.int64)
    return rows if matching is None else rows[np.isin(rows, np.array(matching, dtype=np.int64))]


def _priorities(session: Session, project_id: str, rows: int) -> NDArray[np.float64] | None:
    """Pinned examples are above all, and those without a priority have 0."""
    found = queries.priorities(session, project_id)
    if not found:
        return None
    levels = np.array([np.inf if pinned else priority for priority, pinned, _ in found], dtype=np.float64)
    ranked, level = numbered([told for _, _, told in found])
    priorities = np.zeros(rows)
    priorities[ranked] = levels[level]
    return priorities


def _leased(
    session: Session, context: JobContext, leases: Sequence[tuple[int, str]], message: QueryMessage, overlap: int
) -> tuple[list[int], list[int]]:
    """Rows leased to this annotator, and rows that others hold as often as they may."""
    holder = holder_of(context.claim.job_id, message.annotator)
    own = [row for row, held_by in leases if held_by == holder]
    others = Counter(row for row, held_by in leases if held_by != holder)
    if overlap == 1:
        return own, list(others)
    labelled = queries.label_counts(session, context.project_id, list(others))
    return own, [row for row, held in others.items() if held + labelled.get(row, 0) >= overlap]


def base_mask(found: Availability, objects: ObjectStore) -> NDArray[np.bool_]:
    """Who may be picked if nothing were leased, by row."""
    mask = np.zeros(found.rows, dtype=np.bool_)
    if found.snapshot_key is not None:
        try:
            mask[: found.snapshot_rows] = unpack(objects.get(found.snapshot_key), found.snapshot_rows)
        except ValueError as error:
            raise DamagedObjectError(found.snapshot_key, f"{error}.") from error
    apply_changes(mask, found.changes)
    return mask


def for_query(found: Availability, base: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Rows]:
    """The mask of a query, and the annotator's own leases among it."""
    mask = base.copy()
    mask[np.array(found.unavailable, dtype=np.int64)] = False
    if found.matching is not None:
        wanted = np.zeros_like(mask)
        rows = np.array(found.matching, dtype=np.int64)
        wanted[rows[rows < mask.size]] = True
        mask &= wanted
    own = np.array(found.own, dtype=np.int64)
    return mask, own[mask[own]]


def audited(
    found: Availability, mask: NDArray[np.bool_], own: Rows, message: QueryMessage, *, seed: int
) -> tuple[NDArray[np.bool_], Rows]:
    """The mask without the audit share, and the rows of it that come first: for people, up to half of a batch.

    They are given in random order and never ranked, so that what people say of the first of them is unbiased as well.
    """
    rows = np.array(found.audit, dtype=np.int64)
    rows = shuffled(np.unique(rows[mask[rows]]), seed, purpose="audit")
    left = mask.copy()
    left[rows] = False
    if message.program:
        return left, rows[:0]
    rows = rows[~np.isin(rows, own)]
    if found.groups is not None:
        rows = rows[first_of_group(found.groups.codes[rows])]
    room = max(-(-message.k // 2), 2 * message.k - int(np.count_nonzero(left)))
    return left, rows[:room]


def mask_hash(mask: NDArray[np.bool_]) -> str:
    """What a batch records of its candidates."""
    return hashlib.blake2b(pack(mask), digest_size=16).hexdigest()


def refresh_snapshot(context: JobContext, found: Availability, base: NDArray[np.bool_]) -> None:
    """Once there are many changes, keep the mask as a new snapshot and forget them."""
    if len(found.changes) < _CHANGES_BEFORE_SNAPSHOT:
        return
    key = f"candidates/{context.project_id}/{found.sequence:012d}-{context.claim.token[:12]}"
    context.objects.put_bytes(key, pack(base))
    with context.fenced() as (session, _):
        pool = projects.lock_pool(session, context.project_id)
        old = key
        if pool.snapshot_sequence < found.sequence:
            old = pool.snapshot_key or ""
            pool.snapshot_key, pool.snapshot_sequence, pool.snapshot_rows = key, found.sequence, found.rows
            session.flush()
            queries.forget_changes(session, context.project_id, until=found.sequence)
    if old:
        context.objects.delete(old)
