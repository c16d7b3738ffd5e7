"""Events: written as deliveries in the transaction of what they tell of."""

from datetime import datetime
from typing import Any

import orjson
from sqlalchemy.orm import Session

from service.db.queries import webhooks as queries
from service.db.tables import Delivery, Job
from service.db.types import new_id
from service.tracing.context import current

MAX_BODY_BYTES = 20_000
_MAX_DETAIL_CHARS = 1000


def emit(session: Session, *names: str, project_id: str | None, data: dict[str, Any], now: datetime) -> None:
    """Write deliveries for every enabled webhook, of the project or of the whole service, that subscribes to events.

    It locks webhooks in the order of their ids, so a transaction tells all of its events at once.

    Args:
        session: The transaction of the change that the event tells of; a rolled back change tells nothing.
        names: The events, of `service.catalog.events`.
        project_id: Whose events they are; none: only webhooks of the whole service hear of them.
        data: The `data` of the bodies; large metrics of a model are left out of it.
        now: When it happened.
    """
    for webhook in queries.enabled(session, project_id):
        for event in names:
            if event in webhook.events:
                deliver(session, webhook_id=webhook.id, event=event, data=data, now=now)


def deliver(session: Session, *, webhook_id: str, event: str, data: dict[str, Any], now: datetime) -> Delivery | None:
    """Write the delivery of an event for one webhook; none when it was disabled or removed meanwhile."""
    sequence = queries.take_sequence(session, webhook_id)
    if sequence is None:
        return None
    delivery = Delivery(
        id=new_id("dlv"),
        webhook_id=webhook_id,
        event=event,
        sequence=sequence,
        body=_body(event, data, sequence=sequence, now=now),
        state="pending",
        attempt=0,
        next_attempt_at=now,
        created_at=now,
        traceparent=current(),
    )
    session.add(delivery)
    session.flush()
    return delivery


def training_succeeded(
    session: Session, job: Job, *, model: dict[str, Any] | None, stopping: bool = False, now: datetime
) -> None:
    """A training ended.

    Args:
        session: The transaction that ends the job.
        job: The training.
        model: `version`, `labels_used` and `metrics`; none when no model could be trained.
        stopping: whether a stopping rule is met that was not met before.
        now: When it ended.
    """
    names = ("training.succeeded", "stopping.suggested") if stopping else ("training.succeeded",)
    emit(session, *names, project_id=job.project_id, data=_data(job, model=model), now=now)


def query_succeeded(
    session: Session, job: Job, *, model: dict[str, Any] | None, size: int, exhausted: bool, now: datetime
) -> None:
    """A batch of `size` examples is ready; `exhausted` when the whole pool held fewer than were asked for."""
    data = _data(job, model=model, batch={"url": f"/v1/jobs/{job.id}/batch", "size": size})
    names = ("query.succeeded", "pool.exhausted") if exhausted else ("query.succeeded",)
    emit(session, *names, project_id=job.project_id, data=data, now=now)


def job_failed(session: Session, job: Job, *, error: dict[str, Any], now: datetime) -> None:
    """A training or a query failed; other kinds of job tell nobody.

    Args:
        session: The transaction that fails the job.
        job: What failed.
        error: `name` and `detail` of the problem.
        now: When it failed.
    """
    if job.kind not in {"training", "query"}:
        return
    told = {"name": error["name"], "detail": error["detail"][:_MAX_DETAIL_CHARS]}
    emit(session, f"{job.kind}.failed", project_id=job.project_id, data=_data(job, error=told), now=now)


def _data(job: Job, *, model: dict[str, Any] | None = None, **more: dict[str, Any]) -> dict[str, Any]:
    return {"project_id": job.project_id, "job_id": job.id, "model": model, **more}


def _body(event: str, data: dict[str, Any], *, sequence: int, now: datetime) -> str:
    """The bytes that are signed and sent, in every attempt the same."""
    document = {"type": event, "timestamp": now, "sequence": sequence, "data": data}
    body = orjson.dumps(document, option=orjson.OPT_UTC_Z)
    if len(body) >= MAX_BODY_BYTES and data.get("model") is not None:  # the metrics of very many classes
        document["data"] = {**data, "model": {**data["model"], "metrics": {}}}
        body = orjson.dumps(document, option=orjson.OPT_UTC_Z)
    return body.decode()
