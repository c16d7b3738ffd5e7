"""Idempotency keys as a state machine, and fifty requests at once."""

import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, consumes, multiple, rule
from sqlalchemy import select

from service.actions import idempotency
from service.actions.idempotency import Answer, Reservation
from service.api.deps.runtime import Runtime
from service.codecs import blocks, bodies
from service.db.tables import IdempotentAnswer
from service.errors import ConflictError, IdempotencyInProgressError, IdempotencyMismatchError
from tests.states.clock import Clock, quick_runtime
from tests.support.databases import OpenTransactions, default_kind
from tests.support.pools import add_examples
from tests.support.redis_server import PATIENCE_SECONDS, wait_until
from tests.support.runtime import Api, make_api

LEASE = timedelta(seconds=120)
KEPT_HOURS = 24
AT_ONCE = 50


class OneKey(RuleBasedStateMachine):
    """Requests with one key and two bodies, which end, fail or crash at any time."""

    held: Bundle[Reservation] = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.runtime = self.open.enter_context(quick_runtime())
        self.clock = Clock()
        self.body: str | None = None
        self.created = self.until = self.clock.now
        self.token: str | None = None
        self.answer: Answer | None = None

    def teardown(self) -> None:
        self.open.close()

    @rule(seconds=st.sampled_from([1.0, 121.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @rule(target=held, body=st.sampled_from(["a", "b"]))
    def ask(self, body: str) -> Reservation | MultipleResults[Reservation]:
        try:
            with self.runtime.database.write() as session:
                got = idempotency.reserve(
                    session, owner="o", key="k", request_hash=body, lease=LEASE, now=self.clock.now
                )
        except IdempotencyMismatchError:
            assert self.body not in {None, body}
            return multiple()
        except IdempotencyInProgressError as error:
            assert self.body == body
            assert self.answer is None
            assert self.until > self.clock.now
            told, left = error.detail, math.ceil((self.until - self.clock.now).total_seconds())
            assert f"the key is free again in {left} s." in told
            return multiple()
        assert self.body in {None, body}
        if isinstance(got, Answer):
            assert got == self.answer
            return multiple()
        assert self.answer is None, "the effect would happen twice"
        assert self.token is None or self.until <= self.clock.now
        if self.body is None:
            self.body, self.created = body, self.clock.now
        self.token, self.until = got.token, self.clock.now + LEASE
        return got

    @rule(held=consumes(held))
    def complete(self, held: Reservation) -> None:
        answer = Answer(201, {"Location": "/x"}, held.token.encode())
        mine = held.token == self.token and self.answer is None
        try:
            with self.runtime.database.write() as session:
                idempotency.complete(session, held, answer)
        except ConflictError:
            assert not mine
        else:
            assert mine, "the effect happened twice"
            self.answer = answer

    @rule(held=consumes(held))
    def fail(self, held: Reservation) -> None:
        with self.runtime.database.write() as session:
            idempotency.release(session, held)
        if held.token == self.token and self.answer is None:
            self.body = self.token = None

    @rule(held=consumes(held))
    def crash(self, held: Reservation) -> None:
        del held  # nothing is written; the reservation runs out

    @rule()
    def forget(self) -> None:
        before = self.clock.now - timedelta(hours=KEPT_HOURS)
        with self.runtime.database.write() as session:
            count = idempotency.forget(session, before=before)
        assert count == (self.body is not None and self.created < before)
        if count:
            self.body = self.token = self.answer = None


TestOneKey = OneKey.TestCase
TestOneKey.settings = settings(max_examples=25, stateful_step_count=25, deadline=None, derandomize=True)


def test_fifty_posts_at_once_with_one_key_make_one_job(api: Api) -> None:
    project_id = api.project()

    def post(_: int) -> tuple[int, str | None]:
        path, headers = f"/v1/projects/{project_id}/queries", {"Idempotency-Key": "one"}
        answer = api.http.post(path, json={"k": 1}, headers=headers)
        return answer.status_code, answer.json().get("id")

    transactions = OpenTransactions(api.runtime.database.engine)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(post, range(AT_ONCE)))
    assert transactions.most > 1 or default_kind() == "sqlite", "they took turns"
    made = {job_id for status, job_id in answers if status == 202}
    assert len(made) == 1
    assert {status for status, _ in answers} <= {202, 409}
    assert len(api.http.get(f"/v1/projects/{project_id}/jobs").json()["items"]) == 1
    assert post(0) == (202, *made)


def lease_until(api: Api) -> datetime:
    """Until when the only key that is reserved is held."""
    with api.runtime.database.read() as session:
        until = session.scalars(select(IdempotentAnswer.lease_until)).one()
    assert until is not None
    return until


@pytest.mark.parametrize(
    ("of", "row"),
    [
        ("predictions?model=mine", {"id": "e0", "probabilities": [0.5, 0.5]}),
        ("examples", {"id": "e1", "vector": [0.0, 0.0]}),
        ("labels", {"example_id": "e0", "label": "a"}),
    ],
)
def test_a_key_is_held_for_as_long_as_its_body_is_read(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, of: str, row: dict[str, Any]
) -> None:
    hasty = runtime.settings.model_copy(update={"idempotency_lease_seconds": 6.0})
    patient, aside = make_api(replace(runtime, settings=hasty)), ThreadPoolExecutor(1)
    headers = {"Idempotency-Key": "once"}
    with patient.http as http:
        project_id = patient.project()
        add_examples(patient, project_id, 1)
        path, body = f"/v1/projects/{project_id}/{of}", {of.partition("?")[0]: [row]}
        again: list[int] = []
        group = blocks.group

        def slow(*arguments: Any) -> Any:
            if not again:
                again.append(0)
                begun = lease_until(patient)
                wait_until(lambda: lease_until(patient) > begun)
                posted = aside.submit(http.post, path, json=body, headers=headers)
                again[0] = posted.result(PATIENCE_SECONDS).status_code
            return group(*arguments)

        monkeypatch.setattr(bodies, "group", slow)
        assert http.post(path, json=body, headers=headers).status_code == 200
        assert again == [409]
    aside.shutdown()
