from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import select

from service.actions import events
from service.api.deps.runtime import utc_now
from service.catalog.events import EVENTS, REQUEST
from service.db.tables import Delivery, Job
from tests.support.programs import answered, labels_for, labels_of, next_parcel, project_with_program
from tests.support.runtime import Api

pytestmark = pytest.mark.any_database

OURS = ("WebhookIn", "WebhookPatch", "KeyIn", "RotationIn")


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get("/openapi.json").json()
    return found


def faults(document: dict[str, Any], schema: dict[str, Any], instance: object) -> list[str]:
    validator = Draft202012Validator({**schema, "components": document["components"]})
    return [error.message for error in validator.iter_errors(instance)]


def content(document: dict[str, Any], event: str) -> dict[str, Any]:
    operation = document["webhooks"][event]["post"]
    assert operation["summary"]
    described: dict[str, Any] = operation["requestBody"]["content"]["application/json"]
    return described


def test_every_event_is_described_with_an_example_that_validates(document: dict[str, Any]) -> None:
    assert list(document["webhooks"]) == [*EVENTS, REQUEST]
    for event in EVENTS:
        described = content(document, event)
        assert faults(document, described["schema"], described["example"]) == []
        assert faults(document, described["schema"], {**described["example"], "type": "other"})


def test_what_is_sent_is_what_is_described(api: Api, document: dict[str, Any]) -> None:
    project_id = api.project()
    new = {"url": "https://93.184.215.14/", "events": list(EVENTS)}
    webhook_id = api.http.post("/v1/webhooks", json=new).json()["id"]
    api.http.post(f"/v1/webhooks/{webhook_id}/test")
    model = {"version": 1, "labels_used": 9, "metrics": {}}
    now = utc_now()
    with api.runtime.database.write() as session:
        for kind in ("query", "training"):
            job = Job(id="job_1", project_id=project_id, kind=kind)
            events.job_failed(session, job, error={"name": "worker-lost", "detail": "x" * 30_000}, now=now)
        events.training_succeeded(session, job, model=None, now=now)
        events.query_succeeded(session, job, model=model, size=3, exhausted=True, now=now)
    with api.runtime.database.read() as session:
        bodies = list(session.scalars(select(Delivery.body)))
    assert len(bodies) == 6
    for text in bodies:
        body = orjson.loads(text)
        assert len(text) < 20_000
        assert faults(document, content(document, body["type"])["schema"], body) == []


@pytest.mark.parametrize("name", OURS)
def test_examples_of_request_bodies_validate(document: dict[str, Any], name: str) -> None:
    examples = document["components"]["schemas"][name]["examples"]
    assert examples
    for example in examples:
        assert faults(document, {"$ref": f"#/components/schemas/{name}"}, example) == []


def test_what_a_program_is_sent_and_answers_is_what_is_described(api: Api, document: dict[str, Any]) -> None:
    project_id, _ = project_with_program(api)
    parcel = next_parcel(api)
    assert faults(document, content(document, REQUEST)["schema"], orjson.loads(parcel.body)) == []
    described = document["webhooks"][REQUEST]["post"]["responses"]["200"]["content"]["application/json"]
    assert faults(document, described["schema"], described["example"]) == []
    answer = labels_for(parcel, cost=1)
    assert faults(document, described["schema"], orjson.loads(answer)) == []
    answered(api, parcel, answer)
    assert len(labels_of(api, project_id)) == 5
