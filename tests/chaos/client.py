"""One annotator's tool: it sends every change with an Idempotency-Key until that is answered, and writes down all."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.chaos.history import History
from tests.chaos.points import CLASSES, truth, vector

ATTEMPT_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 1.0
_RETRIED = {429, 500, 502, 503, 507}
_LEASE_SECONDS = 6
ENDED = {"succeeded", "failed", "cancelled"}


class StoppedError(Exception):
    """The run is over before a call was answered."""


@dataclass(frozen=True)
class Scene:
    """What all clients of a run share."""

    urls: list[str]
    key: str
    project_id: str
    history: History
    stop: threading.Event  # begin nothing new
    give_up: threading.Event  # not even for an answer


@dataclass
class Client:
    """An annotator with a name of its own: its calls follow each other, so that the last value is known.

    Args:
        name: Its name as an annotator.
        scene: Whom to call, and where to write.
        rng: What it does.
    """

    name: str
    scene: Scene
    rng: random.Random
    examples: list[str] = field(default_factory=list)
    labelled: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    _calls: int = 0

    def run(self) -> None:
        """Work until the run is over."""
        acts: list[tuple[Callable[[], None], int]] = [
            (self.label_one, 10),
            (self.label_many, 3),
            (self.change_one, 5),
            (self.query, 4),
            (self.upload, 2),
            (self.train, 1),
            (self.look_again, 4),
            (self.replay, 2),
            (self.export, 1),
        ]
        with httpx.Client(
            headers={"Authorization": f"Bearer {self.scene.key}"}, timeout=ATTEMPT_SECONDS, trust_env=False
        ) as self._http:
            try:
                self.upload()
                while not self.scene.stop.is_set():
                    (act,) = self.rng.choices([act for act, _ in acts], [weight for _, weight in acts])
                    act()
                    self.scene.stop.wait(self.rng.uniform(0.0, 0.1))
            except StoppedError:
                return

    def upload(self) -> None:
        """Add examples of its own."""
        ids = [f"{self.name}-{len(self.examples) + n:05d}" for n in range(self.rng.randint(5, 40))]
        rows = [{"id": example_id, "vector": vector(example_id)} for example_id in ids]
        self._change("upload", f"{self._project}/examples", {"examples": rows})
        self.examples += ids

    def label_one(self) -> None:
        """Answer for any of its examples."""
        self._label([self.rng.choice(self.examples)])

    def label_many(self) -> None:
        """Answer for ten at once."""
        self._label(self.rng.sample(self.examples, min(10, len(self.examples))))

    def change_one(self) -> None:
        """Think again about one that it labelled."""
        if self.labelled:
            self._label([self.rng.choice(self.labelled)])

    def query(self) -> None:
        """Ask for a batch, wait for it, and answer for a part of it."""
        k = self.rng.randint(1, 8)
        body = {"k": k, "annotator": self.name, "lease_seconds": _LEASE_SECONDS, "seed": self.rng.randrange(1000)}
        job = self._change("query", f"{self._project}/queries", body)
        self.jobs.append(job["id"])
        until = time.monotonic() + 3
        while time.monotonic() < until and not self.scene.stop.is_set():
            batch = self._look_at_batch(job["id"])
            if batch is not None:
                ids = [item["example_id"] for item in batch["items"]]
                self._label(ids[: self.rng.randint(0, len(ids))])
                return
            self.scene.stop.wait(0.1)

    def train(self) -> None:
        """Ask for a training."""
        self.jobs.append(self._change("training", f"{self._project}/trainings", {})["id"])

    def look_again(self) -> None:
        """Read a job of its own again, and its batch: what has ended must never change."""
        if not self.jobs:
            return
        job_id = self.rng.choice(self.jobs[-20:])
        answer = self._read(f"/v1/jobs/{job_id}")
        if answer is not None and answer.json()["state"] in ENDED:
            note_job(self.scene.history, answer.json())
            if answer.json()["kind"] == "query":
                self._look_at_batch(job_id)

    def replay(self) -> None:
        """Send an answered request again under its old key."""
        if self.sent:
            call = self.rng.choice(self.sent[-50:])
            self._until_answered("replay", call["path"], call["body"], key=call["key"])

    def export(self) -> None:
        """Export all labels."""
        begun = time.time()
        answer = self._read(f"{self._project}/labels", Accept="application/x-ndjson")
        if answer is not None:
            note_export(self.scene.history, answer, begun=begun)

    @property
    def _project(self) -> str:
        return f"/v1/projects/{self.scene.project_id}"

    def _label(self, ids: list[str]) -> None:
        if not ids:
            return
        rows = [{"example_id": each, "label": self._answer(each), "annotator": self.name} for each in ids]
        self._change("label", f"{self._project}/labels", {"labels": rows})
        self.labelled += [each for each in ids if each not in self.labelled]

    def _answer(self, example_id: str) -> str:
        return truth(example_id) if self.rng.random() < 0.8 else self.rng.choice(CLASSES)

    def _change(self, op: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._calls += 1
        key = f"{self.name}-{self._calls}"
        answer = self._until_answered(op, path, body, key=key)
        self.sent.append({"path": path, "body": body, "key": key})
        return answer

    def _until_answered(self, op: str, path: str, body: dict[str, Any], *, key: str) -> dict[str, Any]:
        """POST again and again with the same key, to one API process after the other."""
        history, begun, attempt = self.scene.history, time.time(), 0
        history.add("call", client=self.name, op=op, key=key, path=path, body=body)
        while True:
            attempt += 1
            url = self.rng.choice(self.scene.urls)
            try:
                answer = self._http.post(url + path, json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError as error:
                history.add("attempt", client=self.name, key=key, error=type(error).__name__)
                self._pause(0.1 * attempt)
                continue
            status = answer.status_code
            if status in _RETRIED or (status == 409 and "Retry-After" in answer.headers):
                history.add("attempt", client=self.name, key=key, status=status, retry="Retry-After" in answer.headers)
                self._pause(float(answer.headers.get("Retry-After", 1)))
                continue
            shared = {"client": self.name, "op": op, "key": key, "status": status, "attempts": attempt}
            replayed = "Idempotent-Replayed" in answer.headers
            history.add("answer", **shared, begun=begun, path=path, body=body, answer=answer.json(), replayed=replayed)
            found: dict[str, Any] = answer.json()
            return found

    def _pause(self, seconds: float) -> None:
        if self.scene.give_up.wait(min(seconds, _LONGEST_PAUSE_SECONDS)):
            raise StoppedError

    def _look_at_batch(self, job_id: str) -> dict[str, Any] | None:
        answer = self._read(f"/v1/jobs/{job_id}/batch")
        if answer is None or answer.status_code != 200:
            return None
        note_batch(self.scene.history, job_id, answer)
        batch: dict[str, Any] = answer.json()
        return batch

    def _read(self, path: str, **headers: str) -> httpx.Response | None:
        """What a GET brings; nothing when it cannot be had now."""
        try:
            answer = self._http.get(self.rng.choice(self.scene.urls) + path, headers=headers)
        except httpx.TransportError:
            return None
        if not answer.is_success:
            shared = {"status": answer.status_code, "retry": "Retry-After" in answer.headers}
            self.scene.history.add("attempt", client=self.name, path=path, **shared)
            return None
        return answer


def note_job(history: History, job: dict[str, Any]) -> None:
    """Write down a job that has ended."""
    told = {name: job[name] for name in ("state", "finished_at", "attempts", "error", "result")}
    history.add("job", id=job["id"], kind=job["kind"], created_at=job["created_at"], told=told)


def note_batch(history: History, job_id: str, answer: httpx.Response) -> None:
    """Write down a batch."""
    history.add("batch", job_id=job_id, etag=answer.headers["ETag"], body=answer.text)


def note_export(history: History, answer: httpx.Response, *, begun: float, final: bool = False) -> None:
    """Write down an export: example, annotator, value of each row."""
    rows = [row for line in answer.text.splitlines() if (row := httpx.Response(200, text=line).json())]
    labels = [[row["example_id"], row["annotator"], row["label"], row["labeled_at"]] for row in rows]
    history.add("export", begun=begun, labels=labels, final=final)
