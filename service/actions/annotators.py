"""Programs that label for a project, as a resource."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from service.actions import calls, projects, webhooks
from service.db.queries import annotators as queries
from service.db.queries import webhooks as webhook_queries
from service.db.tables import Annotator, AnnotatorCall, Webhook
from service.db.types import new_id
from service.errors import ConflictError, NotFoundError
from service.security.sealing import Sealer

_MOST = 100


@dataclass(frozen=True, slots=True)
class AnnotatorView:
    """A program, where its batches go, and the call that has not ended."""

    annotator: Annotator
    url: str
    call: AnnotatorCall | None


def create(
    session: Session, project_id: str, config: dict[str, Any], *, url: str, sealer: Sealer, now: datetime
) -> tuple[AnnotatorView, str]:
    """A new program and the secret that signs what it is sent.

    Raises:
        ConflictError: the name is taken, or the project has as many as it may.
    """
    project, pool = projects.lock(session, project_id)
    known = queries.named(session, project.id)
    if config["name"] in known:
        raise ConflictError("The project has an annotator of this name.")
    if len(known) >= _MOST:
        raise ConflictError(f"A project has at most {_MOST} annotators.")
    webhook, secret = webhooks.add(
        session, url=url, event_names=[], project_id=project.id, sealer=sealer, now=now, program=True
    )
    annotator = Annotator(
        id=new_id("ann"),
        project_id=project.id,
        webhook_id=webhook.id,
        labels_used=0,
        cost_used=0.0,
        failures=0,
        state="active",
        due_at=now,
        created_at=now,
        updated_at=now,
        **config,
    )
    session.add(annotator)
    pool.programs += 1
    session.flush()
    return AnnotatorView(annotator, url, None), secret


def get(session: Session, project_id: str, annotator_id: str) -> AnnotatorView:
    """A program of the project."""
    project = projects.get(session, project_id)
    return _view(session, _found(session, project.id, annotator_id))


def page(session: Session, project_id: str, *, after: str | None, size: int) -> list[AnnotatorView]:
    """The programs of the project, in order of creation."""
    project = projects.get(session, project_id)
    return [_view(session, one) for one in queries.page(session, project.id, after=after, size=size)]


def call_page(
    session: Session, project_id: str, annotator_id: str, *, before: str | None, size: int
) -> Sequence[AnnotatorCall]:
    """The calls of a program, the newest first."""
    project = projects.get(session, project_id)
    return queries.calls(session, _found(session, project.id, annotator_id).id, before=before, size=size)


def change(
    session: Session, project_id: str, annotator_id: str, changes: dict[str, Any], *, now: datetime
) -> AnnotatorView:
    """Change a program, stop it, or let it go on.

    Raises:
        ConflictError: it is to go on although its budget is used up.
    """
    project, _ = projects.lock(session, project_id)
    annotator = _found(session, project.id, annotator_id)
    state = changes.pop("state", annotator.state)
    url = changes.pop("url", None)
    for name, value in changes.items():
        setattr(annotator, name, value)
    annotator.updated_at = now
    if state == "active" and annotator.state == "stopped":
        _resume(annotator, now=now)
    session.flush()
    if state == "stopped" and annotator.state == "active":
        calls.stop(session, project, annotator, reason="by_hand", now=now)
    if url is not None:
        webhook_queries.change_url(session, annotator.webhook_id, url, now=now)
    return _view(session, annotator)


def _resume(annotator: Annotator, *, now: datetime) -> None:
    if annotator.labels_used >= annotator.max_labels:
        raise ConflictError("Its labels are used up: raise `max_labels` as well.")
    if annotator.max_cost is not None and annotator.cost_used >= annotator.max_cost:
        raise ConflictError("Its cost is used up: raise `max_cost` as well.")
    annotator.state, annotator.stopped_reason, annotator.failures = "active", None, 0
    annotator.rests_since, annotator.rests_until, annotator.due_at = None, None, now


def rotate_secret(
    session: Session, project_id: str, annotator_id: str, *, sealer: Sealer, now: datetime
) -> tuple[AnnotatorView, str]:
    """A new secret; the old one signs along for a day, so that the program can change over in between."""
    project, _ = projects.lock(session, project_id)
    annotator = _found(session, project.id, annotator_id)
    secret = webhooks.renew_secret(session, _endpoint(session, annotator), sealer=sealer, now=now)
    return _view(session, annotator), secret


def delete(session: Session, project_id: str, annotator_id: str, *, now: datetime) -> None:
    """Remove a program with its calls, and take its open batch back; its labels stay."""
    project, pool = projects.lock(session, project_id)
    annotator = _found(session, project.id, annotator_id)
    if annotator.state == "active":
        calls.stop(session, project, annotator, reason="by_hand", now=now)
    pool.programs -= 1
    session.flush()
    webhook_queries.remove(session, annotator.webhook_id)


def _found(session: Session, project_id: str, annotator_id: str) -> Annotator:
    annotator = queries.get(session, annotator_id)
    if annotator is None or annotator.project_id != project_id:
        raise NotFoundError("There is no such annotator.")
    return annotator


def _view(session: Session, annotator: Annotator) -> AnnotatorView:
    url = _endpoint(session, annotator).url
    return AnnotatorView(annotator, url, queries.open_call(session, annotator.id))


def _endpoint(session: Session, annotator: Annotator) -> Webhook:
    webhook = webhook_queries.get(session, annotator.webhook_id)
    if webhook is None:
        raise NotFoundError("There is no such annotator.")
    return webhook
