"""The clients of a run: annotators who answer, skip, renew and give back, and tools that upload by the thousand."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import points
from tests.chaos.caller import Caller, Scene, StoppedError, note_batch, note_export, note_job, parse
from tests.chaos.points import CLASSES, truth

ENDED = {"succeeded", "failed", "cancelled"}
LEASE_SECONDS = (1, 2, 3)
LARGE = 1000  # rows, from which on an upload is staged
_GIVEN_UP = 0.2  # the share of calls that are not repeated, where both outcomes can be told apart afterwards

Act = Callable[[Any], None]  # of the sort of client that has the habit


@dataclass(frozen=True)
class Habits:
    """What a client does: first, then by the weights of acts, and when the run is over."""

    first: tuple[Act, ...]
    weights: dict[Act, int]
    last: tuple[Act, ...] = ()


@dataclass
class Client:
    """An annotator with a name of its own: its calls follow each other, so that the last value is known.

    Args:
        name: Its name as an annotator.
        scene: Where it works.
        rng: What it does.
        editions: Its examples, each with the edition that it uploaded last.
    """

    name: str
    scene: Scene
    rng: random.Random
    editions: dict[str, int] = field(default_factory=dict)
    labelled: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    batches: list[tuple[str, list[str]]] = field(default_factory=list)
    _made: int = 0

    def __post_init__(self) -> None:
        """Pick up the receiver."""
        self._caller = Caller(self.name, self.scene, self.rng)

    def close(self) -> None:
        """Hang up."""
        self._caller.close()

    def run(self, habits: Habits) -> None:
        """Work by its habits until the run is over."""
        acts, weights = list(habits.weights), list(habits.weights.values())
        try:
            for act in habits.first:
                act(self)
            while not self.scene.stop.is_set():
                (act,) = self.rng.choices(acts, weights)
                act(self)
                self.scene.stop.wait(self.rng.uniform(0.0, 0.1))
            for act in habits.last:
                act(self)
        except StoppedError:
            return
        finally:
            self.close()

    def upload(self) -> None:
        """Add some examples, and change some."""
        self._upload(self._old(self.rng.randint(0, 10)) | self._new(self.rng.randint(5, 40)))

    def upload_many(self) -> None:
        """Add and change examples by the thousand, some of them labelled; now and then without waiting for the end."""
        old = self._old(self.rng.randint(0, 1500))
        editions = old | self._new(max(LARGE - len(old), self.rng.randint(50, 500)))
        labelled = frozenset(self.rng.sample(list(editions), 20))
        self._upload(editions, labelled=labelled, once=self.rng.random() < _GIVEN_UP)

    def upload_last(self) -> None:
        """Upload once more by the thousand: large uploads take turns, so that all of before have ended then."""
        self._upload(self._new(LARGE))

    def rest(self) -> None:
        """Leave the service to the others for a moment."""
        self.scene.stop.wait(self.rng.uniform(0.5, 1.5))

    def label_one(self) -> None:
        """Answer for any of its examples."""
        self._answer(self._some(1))

    def label_many(self) -> None:
        """Answer for ten at once."""
        self._answer(self._some(10))

    def label_offered(self) -> None:
        """Answer for what may be promised to another."""
        if self.scene.offered:
            self._answer([self.rng.choice(self.scene.offered)])

    def change_one(self) -> None:
        """Think again about one that it answered for."""
        if self.labelled:
            self._answer([self.rng.choice(self.labelled)])

    def query(self) -> None:
        """Ask for a batch, wait for it, and do something with it."""
        lease = {"annotator": self.name, "lease_seconds": self.rng.choice(LEASE_SECONDS)}
        job_id = self._ask({"k": self.rng.randint(1, 8), **lease, "seed": self.rng.randrange(1000)})
        ids = self._wait_for_batch(job_id)
        if ids is None:
            return
        if self.rng.random() < 0.5:
            self._renew(job_id)
        self._answer(ids[: self.rng.randint(0, len(ids))], batch_id=job_id)
        if self.rng.random() < 0.5:
            self._release(job_id, ids)

    def ask_for_all(self) -> str:
        """Ask what is open, and promise nothing; the job."""
        return self._ask({"k": 1000, "strategy": "random", "lease_seconds": 0, "include_data": False})

    def renew(self) -> None:
        """Prolong the leases of a batch of late."""
        if self.batches:
            self._renew(self.rng.choice(self.batches)[0])

    def release(self) -> None:
        """Give a batch of late back, or a part of it."""
        if self.batches:
            self._release(*self.rng.choice(self.batches))

    def train(self) -> None:
        """Ask for a training."""
        self.jobs.append(self._caller.change("training", f"{self.scene.path}/trainings", {}).json()["id"])

    def look_again(self) -> None:
        """Read a job of its own again, and its batch: what has ended must never change."""
        if not self.jobs:
            return
        job_id = self.rng.choice(self.jobs[-20:])
        answer = self._caller.read(f"/v1/jobs/{job_id}")
        if answer is not None and answer.json()["state"] in ENDED:
            note_job(self.scene, answer.json())
            if answer.json()["kind"] == "query":
                self._look_at_batch(job_id)

    def look_at_upload(self) -> None:
        """Read some examples of a large upload, which may be under way."""
        seen = []
        if self.scene.uploads:
            ids = self.rng.choice(self.scene.uploads)
            for example_id in self.rng.sample(ids, 4):
                asked = time.time()
                answer = self._caller.read(f"{self.scene.path}/examples/{example_id}", absent=True)
                if answer is not None:
                    edition = answer.json()["data"]["edition"] if answer.is_success else None
                    seen.append([example_id, asked, time.time(), edition])
        self.scene.note("look", seen=seen)

    def replay(self) -> None:
        """Send an answered request again under its old key."""
        self._caller.replay()

    def export(self) -> None:
        """Export all labels."""
        begun = time.time()
        answer = self._caller.read(f"{self.scene.path}/labels", Accept="application/x-ndjson")
        if answer is not None:
            note_export(self.scene, parse(answer), begun=begun)

    def _some(self, count: int) -> list[str]:
        """Some of its examples, if it has so many."""
        return self.rng.sample(list(self.editions), min(count, len(self.editions)))

    def _old(self, count: int) -> dict[str, int]:
        """The next editions of some."""
        return {each: self.editions[each] + 1 for each in self._some(count)}

    def _new(self, count: int) -> dict[str, int]:
        self._made += count
        return {f"{self.name}-{number:05d}": 0 for number in range(self._made - count, self._made)}

    def _upload(self, editions: dict[str, int], *, labelled: frozenset[str] = frozenset(), once: bool = False) -> None:
        labels = {each: {"label": self._choose(each), "annotator": self.name} for each in editions if each in labelled}
        rows = [{**points.row(each, edition), **labels.get(each, {})} for each, edition in editions.items()]
        noted = [{"id": each, "edition": edition, **labels.get(each, {})} for each, edition in editions.items()]
        call = ("upload", f"{self.scene.path}/examples", {"examples": rows})
        if len(rows) >= LARGE:
            self.scene.uploads.append(list(editions))
        if once:
            answer = self._caller.try_once(*call, patience=self.rng.uniform(0.05, 1.0), noted={"examples": noted})
        else:
            answer = self._caller.change(*call, noted={"examples": noted})
        if answer is not None:
            self.editions |= editions
            self._remember(list(labels))
        else:  # nobody knows which editions these are, so that they are left alone
            self.editions = {each: edition for each, edition in self.editions.items() if each not in editions}

    def _ask(self, body: dict[str, Any]) -> str:
        job_id: str = self._caller.change("query", f"{self.scene.path}/queries", body).json()["id"]
        self.jobs.append(job_id)
        return job_id

    def _wait_for_batch(self, job_id: str) -> list[str] | None:
        until = time.monotonic() + 2
        while time.monotonic() < until and not self.scene.stop.is_set():
            ids = self._look_at_batch(job_id)
            if ids is not None:
                return ids
            self.scene.stop.wait(0.1)
        return None

    def _look_at_batch(self, job_id: str) -> list[str] | None:
        answer = self._caller.read(f"/v1/jobs/{job_id}/batch")
        if answer is None or answer.status_code != 200:
            return None
        note_batch(self.scene, job_id, answer)
        ids = [item["example_id"] for item in answer.json()["items"]]
        if job_id not in dict(self.batches):
            self.batches = [*self.batches[-4:], (job_id, ids)]
            self.scene.offered.extend(ids)
        return ids

    def _renew(self, job_id: str) -> None:
        self._lease_call("renew", job_id, {"lease_seconds": self.rng.choice(LEASE_SECONDS)})

    def _release(self, job_id: str, ids: list[str]) -> None:
        some = {"example_ids": self.rng.sample(ids, self.rng.randint(0, len(ids)))}
        self._lease_call("release", job_id, some if self.rng.random() < 0.5 else {})

    def _lease_call(self, op: str, job_id: str, body: dict[str, Any]) -> None:
        call = (op, f"/v1/jobs/{job_id}/batch/{op}", body)
        if self.rng.random() < _GIVEN_UP:
            self._caller.try_once(*call, patience=self.rng.uniform(0.01, 0.2), noted={**body, "job_id": job_id})
        else:
            self._caller.change(*call, noted={**body, "job_id": job_id})

    def _answer(self, ids: list[str], **more: str) -> None:
        """Label examples, and skip some."""
        if not ids:
            return
        values = [{"skip": True} if self.rng.random() < 0.15 else {"label": self._choose(each)} for each in ids]
        rows = [{"example_id": i, "annotator": self.name, **more, **v} for i, v in zip(ids, values, strict=True)]
        self._caller.change("label", f"{self.scene.path}/labels", {"labels": rows})
        self._remember(ids)

    def _remember(self, ids: list[str]) -> None:
        self.labelled += [each for each in ids if each not in self.labelled]

    def _choose(self, example_id: str) -> str:
        return truth(example_id) if self.rng.random() < 0.8 else self.rng.choice(CLASSES)


ANNOTATOR = Habits(
    (Client.upload, Client.query),
    {
        Client.label_one: 6,
        Client.label_many: 2,
        Client.label_offered: 3,
        Client.change_one: 3,
        Client.query: 8,
        Client.renew: 4,
        Client.release: 4,
        Client.upload: 2,
        Client.train: 1,
        Client.look_again: 3,
        Client.look_at_upload: 2,
        Client.replay: 2,
        Client.export: 1,
    },
    last=(Client.renew, Client.release, Client.label_many),  # at least then, on a machine on which little was done
)
UPLOADER = Habits(
    (Client.upload_many,),
    {Client.upload_many: 4, Client.upload: 1, Client.label_one: 1, Client.replay: 1, Client.rest: 4},
    last=(Client.upload_last,),
)
