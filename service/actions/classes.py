"""Classes renamed and merged: labels, models and queries follow, and nothing of what was said is lost.

A model's columns have no names of their own, so that a renamed class is a new name for the same column. A merge takes
columns away, or makes them mean more: models of before it that have one of its classes keep theirs and serve no more.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy.orm import Session

from service.actions import digests, goals, trainings
from service.actions.label_values import encode_classes
from service.actions.models import MERGED
from service.actions.versions import serve
from service.catalog.names import listed
from service.catalog.parameters import with_names
from service.catalog.strategies import STRATEGIES
from service.catalog.tasks import classes_of, task_of
from service.db.queries import autolabels, rankings
from service.db.queries import classes as queries
from service.db.queries import examples as example_queries
from service.db.tables import Pool, Project
from service.errors import ConflictError, FieldError, InvalidRequestError
from service.queue.messages import QueryMessage
from service.storage.artifacts import onnx_key


def change(
    session: Session,
    project: Project,
    pool: Pool,
    *,
    renamed: Mapping[str, str],
    merged: Mapping[str, str],
    now: datetime,
    share: int,
) -> None:
    """Give classes other names, or the name of another class, in the project, its labels and its models.

    Args:
        session: In a transaction that writes.
        project: Which is changed by this transaction only.
        pool: Its pool, which is locked.
        renamed: New names by old ones.
        merged: Classes that stay, as they are named now, by those that are merged into them.
        now: The time.
        share: How many jobs of a project may be rung.

    Raises:
        ConflictError: a large upload, whose labels were checked, is running.
        InvalidRequestError: a class is unknown, two would have one name, or too few are left.
    """
    if not renamed and not merged:
        return
    if pool.upload_id is not None:
        raise ConflictError("A large upload into the project is running.", headers={"Retry-After": "10"})
    old = classes_of(project.task)
    _check(old, renamed, merged)
    names = {**dict(zip(old, old, strict=True)), **renamed}
    names |= {gone: names[into] for gone, into in merged.items()}
    new = [names[name] for name in old if name not in merged]
    if len(new) < 2 and task_of(project.task) == "classification":  # noqa: PLR2004 - one class is no question
        _refuse("/merge_classes", "too_short", "At least two classes have to be left.")
    project.task = {**project.task, "classes": new}
    project.class_generation += 1
    _relabel(session, project, names, now=now)
    goals.renamed(project, names)
    autolabels.rename(session, project.id, names)
    rankings.forget(session, project.id)  # they name the classes of before
    rankings.take_back(session, project.id)
    _rename_questions(session, project, names)
    _rename_models(session, pool, old, names, mixed={*merged, *merged.values()}, now=now)
    trainings.classes_changed(session, project, pool, now=now, share=share)


def are_kept(project: Project, read: Project) -> bool:
    """Whether a project's classes mean what they meant when it was `read`: none was renamed or merged since.

    Names alone do not tell: what is left of a merge can be given the name of what went. Classes may have been added.
    """
    return project.class_generation == read.class_generation


def _check(old: Sequence[str], renamed: Mapping[str, str], merged: Mapping[str, str]) -> None:
    for field, mapping in (("/rename_classes", renamed), ("/merge_classes", merged)):
        if not mapping.keys() <= set(old):
            _refuse(field, "unknown_class", f"Name classes of the project: {listed(old)}.")
    if renamed.keys() & merged.keys():
        _refuse("/merge_classes", "renamed_too", "A class is renamed or merged, not both.")
    staying = [name for name in old if name not in merged]
    if not set(merged.values()) <= set(staying):
        _refuse("/merge_classes", "unknown_class", f"Merge into classes of the project that stay: {listed(staying)}.")
    left = [renamed.get(name, name) for name in old]
    if len(set(left)) < len(left):
        _refuse("/rename_classes", "duplicate_class", "Two classes would have one name. Merge them instead.")


def _refuse(pointer: str, code: str, detail: str) -> None:
    raise InvalidRequestError(f"{pointer}: {detail}", errors=[FieldError(pointer, code, detail)])


def _relabel(session: Session, project: Project, names: Mapping[str, str], *, now: datetime) -> None:
    """Say the same in the labels by the new names; what they were goes to their history."""
    several, classes = task_of(project.task) == "multi_label", classes_of(project.task)

    def renamed(value: str) -> str:
        return encode_classes({names[name] for name in orjson.loads(value)}, classes) if several else names[value]

    gold = example_queries.gold_answers(session, project.id)
    told = [{"example_id": example_id, "gold": renamed(answer)} for example_id, answer in gold.items()]
    example_queries.change(session, project.id, told)
    said = {value: renamed(value) for value in queries.values(session, project.id)}
    changed = {old: new for old, new in said.items() if new != old}
    if changed:
        queries.replace_values(session, project.id, changed, now=now)


def _rename_models(
    session: Session,
    pool: Pool,
    old: Sequence[str],
    names: Mapping[str, str],
    *,
    mixed: AbstractSet[str],
    now: datetime,
) -> None:
    """Rename the columns of models. Those that have a `mixed` class keep what they were, and serve no more."""
    for model in queries.models(session, pool.project_id):
        if not mixed.isdisjoint(model.classes):
            model.estimator, model.open = {**model.estimator, MERGED: True}, False
            if model.version == pool.model_version:
                pool.pin = None
                serve(session, pool, 0, now=now)
        elif not model.estimator.get(MERGED) and model.classes == old[: len(model.classes)]:
            new = [names[name] for name in model.classes]
            if new != model.classes and model.artifact_key:
                digests.forget(session, onnx_key(model.artifact_key, model.classes))
            model.classes = new
    session.flush()


def _rename_questions(session: Session, project: Project, names: Mapping[str, str]) -> None:
    """Let the project's query, and queries under way, go on asking for the same classes."""
    asked = project.query
    project.query = {**asked, "params": _renamed(asked["strategy"], asked["params"], names)}
    for job in queries.queries_under_way(session, project.id):
        message = QueryMessage.model_validate(job.payload)
        chosen = message.candidates
        if chosen is not None:
            chosen = chosen.model_copy(update={"params": _renamed(chosen.strategy, chosen.params, names)})
        params = _renamed(message.strategy, message.params, names)
        payload = message.model_copy(update={"params": params, "candidates": chosen}).model_dump(mode="json")
        if payload != job.payload:
            job.payload = payload
    session.flush()


def _renamed(strategy: str, params: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return with_names(STRATEGIES[strategy].parameters, params, names)
