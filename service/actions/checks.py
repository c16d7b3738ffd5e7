"""Whether tables and objects agree: what is lost, damaged, left over or counted wrongly, and how it is repaired.

A service may run meanwhile: keys are listed before the rows that name them are read, and what looks wrong is looked at
again in a later view.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.actions import candidates, projects
from service.actions.backups import object_keys, spare_keys
from service.actions.candidates import is_candidate
from service.actions.predictions import chunk_of, is_record
from service.actions.webhooks import signing_secrets
from service.db.queries import arrays, upkeep
from service.db.queries import candidates as candidate_queries
from service.db.queries import digests as digest_queries
from service.db.queries import webhooks as webhook_queries
from service.db.queries.upkeep import Named
from service.db.tables import Pool, Project
from service.errors import DamagedObjectError, NotFoundError
from service.security.sealing import Sealer
from service.storage.bitmaps import Change, apply_changes, unpack
from service.storage.chunks import open_csr, open_dense
from service.storage.objects import RESTORE_MARKER, ObjectNotFoundError, ObjectStore
from service.storage.parts import part_of

Repair = Callable[[Session], bool]
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
        repair: Makes it right; false when that has to wait. None: a person has to.
    """

    kind: str
    project_id: str
    name: str
    detail: str
    repair: Repair | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class _Files:
    """The objects, and what was written into those of models."""

    objects: ObjectStore
    digests: Mapping[str, str]

    def is_spoilt(self, key: str) -> bool:
        """Whether it is there and not what was written."""
        if key not in self.digests:
            return False
        try:
            return part_of(self.objects.blocks(key)).sha256 != self.digests[key]
        except DamagedObjectError:
            return True
        except ObjectNotFoundError:
            return False


def look(*, snapshot: Transaction, objects: ObjectStore, sealer: Sealer | None, grace_seconds: float) -> list[Finding]:
    """Everything that is wrong; objects younger than the grace time may belong to work under way.

    Secrets are looked at with a sealer only.
    """
    if objects.exists(RESTORE_MARKER):
        detail = "A restore was cut off: repeat it before anything else."
        return [Finding("unfinished-restore", "", RESTORE_MARKER, detail)]
    old = list(objects.list(older_than_seconds=grace_seconds))
    with snapshot() as session:
        names, files = list(upkeep.named(session)), _Files(objects, digest_queries.of_all(session))
        leaving = upkeep.deleting(session)
        found = [*_rows(session), *_counters(session, objects)]
        found += _secrets(session, sealer) if sealer else []
    suspects = [one for one in names if _fault(one, files) is not None]
    if suspects:
        with snapshot() as session:
            still = {one.key: one for one in upkeep.named(session)}
            files = _Files(objects, digest_queries.of_all(session))
        suspects = [still[one.key] for one in suspects if one.key in still]
    found += [_lost(one, fault, files) for one in suspects if (fault := _fault(one, files)) is not None]
    return [*found, *_spoilt_spares(names, files), *_orphans(old, names, leaving, objects)]


def repair(findings: Iterable[Finding], *, write: Transaction) -> list[Finding]:
    """Repair what can be; returns what is left."""
    return [finding for finding in findings if finding.repair is None or not _repaired(finding.repair, write)]


def _repaired(repair: Repair, write: Transaction) -> bool:
    try:
        with write() as session:
            return repair(session)
    except NotFoundError:
        return True  # it went with its project


def _orphans(old: Iterable[str], names: Iterable[Named], leaving: set[str], objects: ObjectStore) -> Iterator[Finding]:
    known = {key for one in names for key in (*object_keys(one), *spare_keys(one))}
    for key in old:
        parts = key.split("/")
        owner = parts[1] if len(parts) >= _OWNED_PARTS else ""
        if key in known or owner in leaving:
            continue

        def remove(_session: Session, key: str = key) -> bool:
            objects.delete(key)
            return True

        yield Finding("orphan-object", owner, key, "No row names it.", remove)


def _spoilt_spares(names: Iterable[Named], files: _Files) -> Iterator[Finding]:
    for one in names:
        for key in spare_keys(one):
            if files.is_spoilt(key):

                def remove(session: Session, key: str = key) -> bool:
                    _delete_spoilt(session, [key], files.objects)
                    return True

                yield Finding("damaged-file", one.project_id, key, "Made again when somebody wants it.", remove)


def _delete_spoilt(session: Session, keys: Iterable[str], objects: ObjectStore) -> None:
    """Delete those that are not what was written, as the tables say by now: they may have been made again."""
    for key in keys:
        digest = digest_queries.find(session, key)
        if digest is not None and _Files(objects, {key: digest}).is_spoilt(key):
            objects.delete(key)


def _fault(one: Named, files: _Files) -> str | None:
    """What is wrong with the objects of a row."""
    objects, keys = files.objects, object_keys(one)
    if one.kind == "chunk" and one.row.retired is not None:
        return None  # about to be deleted
    if not all(objects.exists(key) for key in keys):
        return "missing"
    try:
        if any(map(files.is_spoilt, keys)):
            return "damaged"
        if one.kind == "chunk":
            chunk = chunk_of(one.row)
            open_dense(objects, chunk) if chunk.kind == "dense" else open_csr(objects, chunk)
        elif one.kind == "snapshot":
            unpack(objects.get(one.key), one.row.snapshot_rows)
    except (DamagedObjectError, ValueError):
        return "damaged"
    except ObjectNotFoundError:
        return "missing"
    return None


def _lost(one: Named, fault: str, files: _Files) -> Finding:
    kind = f"{fault}-{one.kind}"
    if one.kind == "chunk" and not is_record(one.row.array):

        def drop(session: Session) -> bool:
            _, pool = projects.lock(session, one.project_id)
            pool.chunk_generation += 1
            session.flush()
            arrays.retire(session, [one.key], generation=pool.chunk_generation)
            _delete_spoilt(session, object_keys(one), files.objects)  # what made it
            return True

        return Finding(kind, one.project_id, one.key, "Derived: dropped, jobs make it again.", drop)
    if one.kind == "snapshot":
        return Finding(
            kind, one.project_id, one.key, "Who may be picked is derived anew.", _rebuilds_candidates(one.project_id)
        )
    if one.kind == "errors":
        forget = _does(partial(upkeep.forget_error_list, list_id=one.row.id))
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
        remove = _does(partial(upkeep.remove_stray_lease, lease=lease))
        yield Finding("stray-lease", lease.project_id, name, "Its example or job is gone.", remove)
    for job in upkeep.stray_jobs(session):
        remove = _does(partial(upkeep.remove_stray_job, job_id=job.id))
        yield Finding("stray-job", job.project_id, job.id, "Its project is gone.", remove)
    for label in upkeep.stray_labels(session):
        yield Finding("stray-label", label.project_id, label.id, "Its example is gone.")
    for job in upkeep.unrung_jobs(session):
        post = _does(partial(upkeep.post, job_id=job.id, now=datetime.now(UTC)))
        yield Finding("unrung-job", job.project_id, job.id, "Nobody would ring it.", post)
    for table, count in upkeep.broken_references(session):
        yield Finding("broken-reference", "", table, f"{count} rows refer to rows that are not there.")


def _secrets(session: Session, sealer: Sealer) -> Iterator[Finding]:
    now = datetime.now(UTC)
    for webhook, annotator_id in webhook_queries.every(session):
        if not all(map(sealer.opens, signing_secrets(webhook, now=now))):
            remedy = (
                "Nothing is sent to it: bring back the secret key that sealed its secret, or rotate that; then switch "
                "it on again if failures switched it off."
            )
            yield Finding("sealed-secret", webhook.project_id or "", annotator_id or webhook.id, remedy)


def _does(change: Callable[[Session], None]) -> Repair:
    """A repair by a change that looks at its row again, which may be right or gone since."""

    def repair(session: Session) -> bool:
        change(session)
        return True

    return repair


def _counters(session: Session, objects: ObjectStore) -> Iterator[Finding]:
    for project, pool in upkeep.checkable_pools(session):
        overlap: int = project.annotation["overlap"]
        repairs = _recounts(project.id)
        if count := upkeep.miscounted(session, project.id):
            yield Finding("wrong-count", project.id, "examples", f"{count} examples miscount their labels.", repairs)
        for name, right in upkeep.recounted(session, project.id, overlap=overlap).items():
            told = getattr(pool, name)
            if told != right:
                yield Finding("wrong-count", project.id, name, f"{told}, and not {right}.", repairs)
        wrong = _candidates_fault(session, project, pool, objects)
        if wrong is not None:
            yield Finding("wrong-candidates", project.id, "candidates", wrong, _rebuilds_candidates(project.id))


def _recounts(project_id: str) -> Repair:
    def recount(session: Session) -> bool:
        project, pool = projects.lock(session, project_id)
        if pool.upload_id is not None:
            return False  # what it has put in is not counted before it is published
        upkeep.recount_examples(session, project_id)
        overlap: int = project.annotation["overlap"]
        for name, right in upkeep.recounted(session, project_id, overlap=overlap).items():
            setattr(pool, name, right)
        session.flush()
        return _rebuilds_candidates(project_id)(session)

    return recount


def _rebuilds_candidates(project_id: str) -> Repair:
    def rebuild(session: Session) -> bool:
        project, pool = projects.lock(session, project_id)
        upkeep.forget_candidates(session, project_id)
        pool.snapshot_key, pool.snapshot_rows = None, 0
        pool.snapshot_sequence = pool.change_sequence
        candidates.enter(session, pool, 0, _right_mask(session, project, pool))
        session.flush()
        return True

    return rebuild


def _right_mask(session: Session, project: Project, pool: Pool) -> NDArray[np.bool_]:
    overlap: int = project.annotation["overlap"]
    mask = np.zeros(pool.next_row, dtype=np.bool_)
    for row, split, labels, skips in upkeep.standings(session, project.id):
        mask[row] = is_candidate(split=split, label_count=labels, skip_count=skips, overlap=overlap)
    return mask


def _candidates_fault(session: Session, project: Project, pool: Pool, objects: ObjectStore) -> str | None:
    """How the mask differs from what the examples say; none when its snapshot cannot be read."""
    mask, kept = np.zeros(pool.next_row, dtype=np.bool_), np.zeros(0, dtype=np.bool_)
    try:
        if pool.snapshot_key is not None:
            kept = unpack(objects.get(pool.snapshot_key), pool.snapshot_rows)
    except (ObjectNotFoundError, ValueError):
        return None  # told as such, or replaced since
    since = candidate_queries.changes(session, project.id, after=pool.snapshot_sequence)
    try:
        mask[: len(kept)] = kept
        apply_changes(mask, (Change(*change) for change in since))
    except ValueError as error:
        return f"Who may be picked cannot be read: {error}."
    wrong = int(np.count_nonzero(mask != _right_mask(session, project, pool)))
    return f"{wrong} examples are offered that should not be, or are not and should." if wrong else None
