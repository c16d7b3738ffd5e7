"""What a self-labelling writes, in short transactions: how the group is made, what it leaves to people, its labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.actions import classes, labels, projects
from service.actions.candidates import Moves
from service.actions.label_rows import Answer
from service.actions.recording import Part, Recorded
from service.db.queries import autolabels as queries
from service.db.queries import candidates as candidate_queries
from service.db.queries.candidates import Pick
from service.db.tables import Autolabel, Model, Pool, Project
from service.errors import GleanerError, ProjectPausedError
from workers.jobs.candidates import Availability
from workers.jobs.context import JobContext
from workers.jobs.holdout import Picked
from workers.jobs.pool import Layout
from workers.jobs.revocation import remove
from workers.learning.matrices import Rows


@dataclass(frozen=True)
class Loaded:
    """What a self-labelling needs, of one generation of chunk lists."""

    group: Autolabel
    project: Project
    model: Model
    layout: Layout
    availability: Availability
    answers: list[tuple[str, int, str, str, str]]
    drawn: Sequence[int]
    picked: Picked
    tested: Sequence[int]
    seen: int  # rows below it were before an earlier group
    learnt: Sequence[int]  # rows that the model may have learnt, as they may have been of another part then


def undo(context: JobContext, autolabel_id: str) -> None:
    """Take back what a lost run has left, and what it has told."""
    remove(context, autolabel_id)
    with context.fenced() as (session, _):
        projects.lock(session, context.project_id)
        group = queries.get(session, autolabel_id)
        if group is not None:
            group.state, group.outcome, group.labels = "queued", None, 0
        session.flush()


def _lock(session: Session, context: JobContext, loaded: Loaded) -> tuple[Project, Pool, Autolabel]:
    """The project behind the lock of its pool, and the group.

    Raises:
        ProjectPausedError: the project is paused now.
        GleanerError: the classes are other ones now.
    """
    project, pool = projects.lock(session, context.project_id)
    if project.paused:
        raise ProjectPausedError
    group = queries.get(session, loaded.group.id)
    kept = project.task == loaded.project.task and classes.are_kept(project, loaded.project)
    if group is None or not kept:
        raise GleanerError("The classes of the project were changed meanwhile. Revoke this group and ask again.")
    return project, pool, group


def begin(context: JobContext, loaded: Loaded, outcome: dict[str, Any]) -> None:
    """Write how the group is made."""
    with context.fenced() as (session, _):
        _, _, group = _lock(session, context, loaded)
        group.state, group.outcome, group.model_version = "labelling", outcome, loaded.model.version
        session.flush()


def mark_tested(context: JobContext, loaded: Loaded, tested: Sequence[tuple[str, int, int]]) -> None:
    """Note some examples that have told the precision."""
    with context.fenced() as (session, _):
        _, _, group = _lock(session, context, loaded)
        marks = [_mark(loaded, group, *one, kind="tested") for one in tested]
        queries.add_marks(session, marks)


def leave_some(context: JobContext, loaded: Loaded, rows: Rows, said: NDArray[np.int64]) -> None:
    """Leave those of some rows that nobody has labelled meanwhile to people."""
    with context.fenced() as (session, _):
        project, pool, group = _lock(session, context, loaded)
        picks = candidate_queries.picks(session, project.id, rows.tolist())
        marks = [
            _mark(loaded, group, picks[row].example_id, row, code, kind="audit")
            for row, code in zip(rows.tolist(), said.tolist(), strict=True)
            if row in picks and picks[row].split == "pool" and picks[row].label_count == 0
        ]
        queries.add_marks(session, marks)
        moves = Moves()
        for mark in marks:
            moves.add(mark["row"], value=True)  # so that prepared rankings are made anew
        moves.write(session, pool)


def _mark(loaded: Loaded, group: Autolabel, example_id: str, row: int, code: int, *, kind: str) -> dict[str, Any]:
    return {
        "autolabel_id": group.id,
        "project_id": group.project_id,
        "example_id": example_id,
        "row": row,
        "kind": kind,
        "value": loaded.model.classes[code],
    }


def label_some(context: JobContext, loaded: Loaded, rows: Rows, said: NDArray[np.int64]) -> None:
    """Label those of some rows that nobody has labelled, skipped, deleted or leased meanwhile."""
    with context.fenced() as (session, _):
        project, pool, group = _lock(session, context, loaded)
        listed = rows.tolist()
        picks = candidate_queries.picks(session, project.id, listed)
        held = {row for row, _ in candidate_queries.live_leases(session, project.id, context.now(), rows=listed)}
        answers = [
            _answer(group, picks[row].example_id, loaded.model.classes[code])
            for row, code in zip(listed, said.tolist(), strict=True)
            if row in picks and row not in held and _is_untouched(picks[row])
        ]
        part = Part(answers, Recorded())
        labels.record_waves(session, project, pool, [[part]], now=context.now(), share=context.share)
        group.labels += part.recorded.created
        session.flush()


def _is_untouched(pick: Pick) -> bool:
    """Whether an example is still one of the pool that nobody has answered."""
    return pick.split == "pool" and not (pick.label_count or pick.skip_count)


def _answer(group: Autolabel, example_id: str, value: str) -> Answer:
    return Answer(
        line=0,
        example_id=example_id,
        value=value,
        skip=False,
        annotator=group.id,
        source="automated",
        batch_id=None,
        labeled_at=None,
    )


def end(context: JobContext, loaded: Loaded, outcome: dict[str, Any], *, state: str) -> None:
    """Write what came of it, and end the job."""
    with context.fenced() as (session, _):
        _, _, group = _lock(session, context, loaded)
        group.state, group.outcome, group.finished_at = state, outcome, context.now()
        group.model_version = loaded.model.version
        session.flush()
        result = {"autolabel_id": group.id, "state": state, "labels": group.labels, **outcome}
        context.finish(session, result)
