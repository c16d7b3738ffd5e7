"""Programs that label: what they are sent, what they answer, and the steps of the dispatcher without its clock."""

from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import select

from service.actions import calls, deliveries, program_answers
from service.actions.deliveries import Outcome, Parcel
from service.api.deps.runtime import utc_now
from service.db.tables import Annotator, AnnotatorCall, Delivery, Lease
from tests.support.pools import add_examples
from tests.support.runtime import Api
from tests.support.working import drain

URL = "https://93.184.215.14/label"
NAME = "rules"
_LEASE = timedelta(seconds=60)
_ENDS: tuple[Any, ...] = (
    Lease.expires_at,
    Annotator.due_at,
    Annotator.rests_until,
    AnnotatorCall.expires_at,
    AnnotatorCall.created_at,
    Delivery.next_attempt_at,
)


def project_with_program(api: Api, *, examples: int = 12, project: dict[str, Any] | None = None, **program: Any) -> Any:
    """The project's id and the program as it was made; examples of even numbers are `a`, the others `b`."""
    settings = {"annotation": {"automatic": True}, "retraining": {"automatic": False}, **(project or {})}
    project_id = api.project(**settings)
    add_examples(api, project_id, examples)
    return project_id, create(api, project_id, **program)


def create(api: Api, project_id: str, **program: Any) -> dict[str, Any]:
    """A new program."""
    body = {"name": NAME, "url": URL, "batch_size": 5, **program}
    answer = api.http.post(f"/v1/projects/{project_id}/annotators", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def shown(api: Api, made: dict[str, Any]) -> dict[str, Any]:
    """The program as it is now."""
    found: dict[str, Any] = api.http.get(path_of(made)).raise_for_status().json()
    return found


def path_of(made: dict[str, Any]) -> str:
    """Where the program is."""
    return f"/v1/projects/{made['project_id']}/annotators/{made['id']}"


def calls_of(api: Api, made: dict[str, Any]) -> list[dict[str, Any]]:
    """Its calls, the newest first."""
    items: list[dict[str, Any]] = api.http.get(f"{path_of(made)}/calls").raise_for_status().json()["items"]
    return items


def step(api: Api) -> None:
    """What the dispatcher and the workers do until they have nothing to do, with no pause in between."""
    for _ in range(3):  # ask, rank, send
        more = True
        while more:
            with api.runtime.write() as session:
                more = calls.advance(session, settings=api.runtime.settings, now=utc_now())
        drain(api.runtime)
        wait(api, 0.5)


def wait(api: Api, seconds: float) -> None:
    """Let so much time pass for what has an end."""
    with api.runtime.database.write() as session:
        for column in _ENDS:
            table = column.class_
            for row in session.scalars(select(table).where(column.is_not(None))):
                setattr(row, column.key, getattr(row, column.key) - timedelta(seconds=seconds))


def sent(api: Api) -> list[Parcel]:
    """Claim what is to be sent now."""
    with api.runtime.database.write() as session:
        return deliveries.claim(session, busy={}, per_endpoint=4, limit=10, lease=_LEASE, now=utc_now())


def next_parcel(api: Api) -> Parcel:
    """The next batch that a program is sent."""
    step(api)
    (parcel,) = sent(api)
    return parcel


def batch_in(parcel: Parcel) -> dict[str, Any]:
    """The batch that a parcel holds."""
    batch: dict[str, Any] = orjson.loads(parcel.body)["data"]["batch"]
    return batch


def ids_in(parcel: Parcel) -> list[str]:
    """The examples that a parcel asks about."""
    return [item["example_id"] for item in batch_in(parcel)["items"]]


def right(example_id: str) -> dict[str, Any]:
    """The right label of an example."""
    return {"example_id": example_id, "label": "b" if int(example_id[1:]) % 2 else "a"}


def labels_for(parcel: Parcel, **more: Any) -> bytes:
    """A good answer to all of it."""
    return orjson.dumps({"labels": [right(one) for one in ids_in(parcel)], **more})


def answered(api: Api, parcel: Parcel, body: bytes | None, *, status: int = 200) -> None:
    """What follows from an answer."""
    now = utc_now()
    outcome = Outcome(at=now, duration_ms=1, status=status, body=body)
    with api.runtime.write() as session:
        program_answers.record(session, parcel, outcome, now=now, share=16)


def labels_of(api: Api, project_id: str) -> list[dict[str, Any]]:
    """All labels of the project."""
    items: list[dict[str, Any]] = api.http.get(f"/v1/projects/{project_id}/labels").raise_for_status().json()["items"]
    return items
