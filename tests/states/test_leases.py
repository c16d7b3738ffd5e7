"""Leases of many annotators as a state machine, and fifty annotators at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import select, update

from service.api.deps.runtime import utc_now
from service.db.tables import Lease
from tests.states.clock import quick_runtime
from tests.support.bodies import label
from tests.support.databases import OpenTransactions, default_kind
from tests.support.pools import add_examples, ask, batch
from tests.support.runtime import Api, make_api
from tests.support.working import run_job

K = 3
ANNOTATORS = st.sampled_from(["ann", "bob", "cyd", "dan"])


def live(api: Api) -> set[tuple[str, str]]:
    """Example and annotator of the leases that have not run out."""
    with api.runtime.database.read() as session:
        query = select(Lease.example_id, Lease.annotator).where(Lease.expires_at > utc_now())
        return {(example_id, annotator or "") for example_id, annotator in session.execute(query)}


class Leases(RuleBasedStateMachine):
    """Annotators who ask, label, skip, give back, or go home."""

    OVERLAP = 1
    EXAMPLES = 14

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.api = make_api(self.open.enter_context(quick_runtime()))
        self.open.enter_context(self.api.http)
        self.project_id = self.api.project(
            annotation={"overlap": self.OVERLAP, "lease_seconds": 600}, retraining={"automatic": False}
        )
        add_examples(self.api, self.project_id, self.EXAMPLES)
        self.answered: set[tuple[str, str]] = set()
        self.jobs: dict[str, str] = {}

    def teardown(self) -> None:
        self.open.close()

    def group_of(self, example_id: str) -> str:
        return example_id

    def held_by(self, name: str) -> set[str]:
        return {example_id for example_id, annotator in live(self.api) if annotator == name}

    @rule(name=ANNOTATORS)
    def ask(self, name: str) -> None:
        own, others = self.held_by(name), {pair for pair in live(self.api) if pair[1] != name}
        got = batch(self.api, self.project_id, k=K, annotator=name, strategy="random")
        self.jobs[name] = got["job_id"]
        examples = [item["example_id"] for item in got["items"]]
        assert len(set(examples)) == len(examples)
        assert set(examples[: len(own)]) <= own or own <= set(examples), "own leases are given first"
        assert not {(example_id, name) for example_id in examples} & self.answered
        assert others == {pair for pair in live(self.api) if pair[1] != name}, "others keep what they have"
        groups = [self.group_of(example_id) for example_id in {*examples} - own]
        assert len({*groups, *map(self.group_of, own)}) == len(groups) + len(set(map(self.group_of, own)))
        pinned = [item["reason"]["pinned"] for item in got["items"] if item["example_id"] not in own]
        assert pinned == sorted(pinned, reverse=True), "what is pinned comes first"

    @rule(name=ANNOTATORS, skip=st.booleans())
    def answer(self, name: str, *, skip: bool) -> None:
        for example_id in sorted(self.held_by(name))[:1]:
            given = {"skip": True} if skip else {"label": "a"}
            answer = label(self.api, self.project_id, {"example_id": example_id, "annotator": name, **given})
            assert answer.status_code == 200, answer.text
            self.answered.add((example_id, name))
            assert example_id not in self.held_by(name)

    @rule(name=ANNOTATORS)
    def release(self, name: str) -> None:
        job_id = self.jobs.get(name)
        if job_id is not None:
            answer = self.api.http.post(f"/v1/jobs/{job_id}/batch/release", json={})
            assert answer.status_code == 200, answer.text

    @rule(name=ANNOTATORS)
    def go_home(self, name: str) -> None:
        gone = update(Lease).where(Lease.annotator == name).values(expires_at=utc_now() - timedelta(seconds=1))
        with self.api.runtime.database.write() as session:
            session.execute(gone)

    @invariant()
    def nobody_is_promised_what_others_do(self) -> None:
        held = live(self.api)
        done = Counter(example_id for example_id, _ in self.answered)
        promised = Counter(example_id for example_id, _ in held)
        assert all(promised[example_id] <= self.OVERLAP for example_id in promised)
        assert not held & self.answered, "an answer ends its lease"
        if self.OVERLAP == 1:
            assert not set(promised) & set(done)


class GroupedLeases(Leases):
    """Examples in groups of three, and some that are pinned."""

    def __init__(self) -> None:
        super().__init__()
        for number in range(self.EXAMPLES):
            self.change(number, group=self.group_of(f"e{number}"))

    def group_of(self, example_id: str) -> str:
        return f"group {int(example_id[1:]) // 3}"

    def change(self, number: int, **changes: Any) -> None:
        answer = self.api.http.patch(f"/v1/projects/{self.project_id}/examples/e{number}", json=changes)
        assert answer.status_code == 200, answer.text

    @rule(number=st.integers(0, Leases.EXAMPLES - 1), pinned=st.booleans())
    def pin(self, number: int, *, pinned: bool) -> None:
        self.change(number, pinned=pinned)


class SharedLeases(Leases):
    """Three answers for each example."""

    OVERLAP = 3


QUICK = settings(max_examples=6, stateful_step_count=20, deadline=None, derandomize=True)
TestLeases = Leases.TestCase
TestLeases.settings = QUICK
TestGroupedLeases = GroupedLeases.TestCase
TestGroupedLeases.settings = QUICK
TestSharedLeases = SharedLeases.TestCase
TestSharedLeases.settings = QUICK


@pytest.mark.parametrize(("overlap", "examples"), [(1, 400), (3, 150)])
def test_fifty_annotators_at_once_share_nothing_beyond_overlap(overlap: int, examples: int) -> None:
    with quick_runtime() as runtime, (api := make_api(runtime)).http:
        project_id = api.project(annotation={"overlap": overlap, "lease_seconds": 600})
        add_examples(api, project_id, examples)
        names = [f"annotator {number}" for number in range(50)]
        with ThreadPoolExecutor(50) as pool:
            made = list(
                pool.map(lambda name: ask(api, project_id, k=10, annotator=name, strategy="random", seed=1), names)
            )
        transactions = OpenTransactions(runtime.database.engine)
        with ThreadPoolExecutor(50) as pool:
            list(pool.map(lambda job_id: run_job(runtime, job_id), made))
        assert transactions.most > 1 or default_kind() == "sqlite", "they took turns"
        batches = [api.http.get(f"/v1/jobs/{job_id}/batch").json() for job_id in made]
        given = Counter(item["example_id"] for found in batches for item in found["items"])
        assert max(given.values()) <= overlap
        assert sum(given.values()) == min(50 * 10, overlap * examples)
        assert len(live(api)) == sum(given.values())
