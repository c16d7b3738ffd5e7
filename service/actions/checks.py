"""Whether tables and objects agree: what is lost, damaged, left over or counted wrongly, and how it is repaired.

A service may run meanwhile: keys are listed before the rows that name them are read, and what looks wrong is looked at
again in a later view.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.actions import candidates
from service.actions.backups import object_keys
from service.actions.candidates import is_candidate
from service.actions.predictions import chunk_of, is_record
from service.db.queries import arrays, upkeep
from service.db.queries import candidates as candidate_queries
from service.db.queries.projects import lock_pool
from service.db.queries.upkeep import Named
from service.db.tables import Outbox, Pool, Project, Table
from service.errors import DamagedObjectError
from service.storage.bitmaps import Change, apply_changes, unpack
from service.storage.chunks import open_csr, open_dense
from service.storage.objects import RESTORE_MARKER, ObjectNotFoundError, ObjectStore

Repair = Callable[[Session], None]
Transaction = Callable[[], AbstractContextManager[Session]]
_OWNED_PARTS = 3  # a kind, a project, a name


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        kind: What, in a word.
        project_id: Whose; empty: nobody's.
        name: The object or row.
        detail: What it means.
        repair: Makes it right; none: a person has to.
    """

    kind: str
    project_id: str
    name: str
    detail: str
    repair: Repair | None = field(default=None, compare=False)


def look(*, snapshot: Transaction, objects: ObjectStore, grace_seconds: float) -> list[Finding]:
    """Everything that is wrong; objects younger than the grace time may belong to work under way."""
    if objects.exists(RESTORE_MARKER):
        detail = "A restore was cut off: repeat it before anything else."
        return [Finding("unfinished-restore", "", RESTORE_MARKER, detail)]
    old = dict(_old(objects, grace_seconds))
    with snapshot() as session:
        names = list(upkeep.named(session))
        leaving = upkeep.deleting(session)
        found = [*_rows(session), *_counters(session, objects)]
    suspects = [one for one in names if _fault(one, objects) is not None]
    if suspects:
        with snapshot() as session:
            still = {one.key: one for one in upkeep.named(session)}
        suspects = [still[one.key] for one in suspects if one.key in still]
    found += [_lost(one, fault) for one in suspects if (fault := _fault(one, objects)) is not None]
    return [*found, *_orphans(old, names, leaving, objects)]


def repair(findings: Iterable[Finding], *, write: Transaction) -> list[Finding]:
    """Repair what can be; returns what is left."""
    left = []
    for finding in findings:
        if finding.repair is None:
            left.append(finding)
            continue
        with write() as session:
            finding.repair(session)
    return left


def _old(objects: ObjectStore, grace_seconds: float) -> Iterator[tuple[str, float]]:
    limit = time.time() - grace_seconds
    for key in objects.list():
        try:
            written = objects.path(key).stat().st_mtime
        except (ObjectNotFoundError, FileNotFoundError):
            continue
        if written <= limit:
            yield key, written


def _orphans(old: Iterable[str], names: Iterable[Named], leaving: set[str], objects: ObjectStore) -> Iterator[Finding]:
    known = {key for one in names for key in object_keys(one)}
    for key in old:
        parts = key.split("/")
        owner = parts[1] if len(parts) >= _OWNED_PARTS else ""
        if key in known or owner in leaving:
            continue

        def remove(_session: Session, key: str = key) -> None:
            objects.delete(key)

        yield Finding("orphan-object", owner, key, "No row names it.", remove)


def _fault(one: Named, objects: ObjectStore) -> str | None:
    """What is wrong with the objects of a row."""
    if one.kind == "chunk" and one.row.retired is not None:
        return None  # about to be deleted
    missing = [key for key in object_keys(one) if not objects.exists(key)]
    if missing:
        return "missing"
    try:
        if one.kind == "chunk":
            chunk = chunk_of(one.row)
            open_dense(objects, chunk) if chunk.kind == "dense" else open_csr(objects, chunk)
        elif one.kind == "snapshot":
            unpack(objects.get(one.key), one.row.snapshot_rows)
    except (DamagedObjectError, ValueError):
        return "damaged"
    except (ObjectNotFoundError, FileNotFoundError):
        return "missing"
    return None


def _lost(one: Named, fault: str) -> Finding:
    kind = f"{fault}-{one.kind}"
    if one.kind == "chunk" and not is_record(one.row.array):

        def drop(session: Session) -> None:
            pool = lock_pool(session, one.project_id)
            pool.chunk_generation += 1
            session.flush()
            arrays.retire(session, [one.key], generation=pool.chunk_generation)

        return Finding(kind, one.project_id, one.key, "Derived: dropped, jobs make it again.", drop)
    if one.kind == "snapshot":
        return Finding(
            kind, one.project_id, one.key, "Who may be picked is derived anew.", _rebuilds_candidates(one.project_id)
        )
    if one.kind == "errors":

        def forget(session: Session) -> None:
            session.delete(session.merge(one.row, load=False))

        return Finding(kind, one.project_id, one.key, "A list of bad rows: forgotten.", forget)
    remedy = {
        "chunk": f"What was uploaded of rows {getattr(one.row, 'start', 0)} to {getattr(one.row, 'stop', 0)}: from a "
        "backup, or upload these examples, or their predictions, again.",
        "model": "A model's file: from a backup, or train again.",
        "inputs": "Its job will fail: ask again.",
    }
    return Finding(kind, one.project_id, one.key, remedy[one.kind])


def _rows(session: Session) -> Iterator[Finding]:
    for lease in upkeep.stray_leases(session):
        name = f"{lease.example_id} of {lease.holder}"
        yield Finding("stray-lease", lease.project_id, name, "Its example or job is gone.", _removes(lease))
    for job in upkeep.stray_jobs(session):
        yield Finding("stray-job", job.project_id, job.id, "Its project is gone.", _removes(job))
    for label in upkeep.stray_labels(session):
        yield Finding("stray-label", label.project_id, label.id, "Its example is gone.")
    for job in upkeep.unrung_jobs(session):
        row = Outbox(job_id=job.id, project_id=job.project_id, ring_after=datetime.now(UTC))
        yield Finding("unrung-job", job.project_id, job.id, "Nobody would ring it.", _adds(row))
    for table, count in upkeep.broken_references(session):
        yield Finding("broken-reference", "", table, f"{count} rows refer to rows that are not there.")


def _removes(row: Table) -> Repair:
    def remove(session: Session) -> None:
        session.delete(session.merge(row, load=False))
        session.flush()

    return remove


def _adds(row: Table) -> Repair:
    def add(session: Session) -> None:
        session.merge(row)
        session.flush()

    return add


def _counters(session: Session, objects: ObjectStore) -> Iterator[Finding]:
    for project, pool in upkeep.checkable_pools(session):
        overlap: int = project.annotation["overlap"]
        repairs = _recounts(project.id, overlap)
        if count := upkeep.miscounted(session, project.id):
            yield Finding("wrong-count", project.id, "examples", f"{count} examples miscount their labels.", repairs)
        for name, right in upkeep.recounted(session, project.id, overlap=overlap).items():
            told = getattr(pool, name)
            if told != right:
                yield Finding("wrong-count", project.id, name, f"{told}, and not {right}.", repairs)
        wrong = _wrong_candidates(session, project, pool, objects)
        if wrong:
            rebuild = _rebuilds_candidates(project.id)
            detail = f"{wrong} examples are offered that should not be, or are not and should."
            yield Finding("wrong-candidates", project.id, "candidates", detail, rebuild)


def _recounts(project_id: str, overlap: int) -> Repair:
    def recount(session: Session) -> None:
        pool = lock_pool(session, project_id)
        upkeep.recount_examples(session, project_id)
        for name, right in upkeep.recounted(session, project_id, overlap=overlap).items():
            setattr(pool, name, right)
        session.flush()
        _rebuilds_candidates(project_id)(session)

    return recount


def _rebuilds_candidates(project_id: str) -> Repair:
    def rebuild(session: Session) -> None:
        pool = lock_pool(session, project_id)
        project = session.get_one(Project, project_id)
        upkeep.forget_candidates(session, project_id)
        pool.snapshot_key, pool.snapshot_rows = None, 0
        pool.snapshot_sequence = pool.change_sequence
        candidates.enter(session, pool, 0, _right_mask(session, project, pool))
        session.flush()

    return rebuild


def _right_mask(session: Session, project: Project, pool: Pool) -> NDArray[np.bool_]:
    overlap: int = project.annotation["overlap"]
    mask = np.zeros(pool.next_row, dtype=np.bool_)
    for row, split, labels, skips in upkeep.standings(session, project.id):
        mask[row] = is_candidate(split=split, label_count=labels, skip_count=skips, overlap=overlap)
    return mask


def _wrong_candidates(session: Session, project: Project, pool: Pool, objects: ObjectStore) -> int:
    """How many rows of the mask differ from what the examples say; 0 when its snapshot cannot be read."""
    mask = np.zeros(pool.next_row, dtype=np.bool_)
    try:
        if pool.snapshot_key is not None:
            mask[: pool.snapshot_rows] = unpack(objects.get(pool.snapshot_key), pool.snapshot_rows)
    except (ObjectNotFoundError, ValueError):
        return 0  # told as such, or replaced since
    since = candidate_queries.changes(session, project.id, after=pool.snapshot_sequence)
    apply_changes(mask, (Change(*change) for change in since))
    return int(np.count_nonzero(mask != _right_mask(session, project, pool)))
