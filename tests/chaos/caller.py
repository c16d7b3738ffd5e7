"""How a tool calls: each change with an Idempotency-Key until it is answered, and everything is written down."""

import json
import random
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.chaos.evidence import SKIP
from tests.chaos.history import History

ATTEMPT_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 1.0
_RETRIED = {429, 500, 502, 503, 507}


class StoppedError(Exception):
    """The run is over before a call was answered."""


@dataclass(frozen=True)
class Scene:
    """What all clients of a project share.

    Attributes:
        stop: Begin nothing new.
        give_up: Wait not even for an answer.
        offered: Examples that were in batches of late.
        uploads: The ids of the last large uploads, also of those that are under way.
        versions: Of a model elsewhere, in the order of being told of them.
    """

    urls: list[str]
    key: str
    project_id: str
    history: History
    stop: threading.Event
    give_up: threading.Event
    offered: deque[str] = field(default_factory=lambda: deque(maxlen=60))
    uploads: deque[list[str]] = field(default_factory=lambda: deque(maxlen=4))
    versions: list[int] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Of the project."""
        return f"/v1/projects/{self.project_id}"

    def note(self, what: str, **fields: Any) -> None:
        """Write down what concerns the project."""
        self.history.add(what, project=self.project_id, **fields)


class Caller:
    """The calls of one client, which follow each other.

    Args:
        name: Its keys begin with it.
        scene: Whom to call, and where to write.
        rng: Whom to call, and which answered call is sent again.
    """

    def __init__(self, name: str, scene: Scene, rng: random.Random) -> None:
        self._name = name
        self._scene = scene
        self._rng = rng
        self._calls = 0
        self._sent: deque[tuple[str, Any, str]] = deque(maxlen=50)
        headers = {"Authorization": f"Bearer {scene.key}"}
        self._http = httpx.Client(headers=headers, timeout=ATTEMPT_SECONDS, trust_env=False)

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def change(self, op: str, path: str, body: Any, *, noted: Any = None) -> httpx.Response:
        """POST until there is an answer; `noted` stands for a body that is too long to be written down."""
        key = self._begin(op, path, body if noted is None else noted)
        return self._until_answered(op, path, body, key=key)

    def try_once(self, op: str, path: str, body: Any, *, patience: float, noted: Any = None) -> httpx.Response | None:
        """POST once, as a tool that dies over it; nothing when there is no answer within `patience` seconds."""
        key = self._begin(op, path, body if noted is None else noted)
        answer = self._attempt(op, path, body, key=key, patience=patience)
        if isinstance(answer, httpx.Response):
            return answer
        self._scene.note("given_up", key=key)
        return None

    def replay(self) -> None:
        """Send an answered request again under its old key."""
        if self._sent:
            path, body, key = self._rng.choice(self._sent)
            self._until_answered("replay", path, body, key=key)

    def read(self, path: str, *, absent: bool = False, **headers: str) -> httpx.Response | None:
        """What a GET brings, if need be that there is no such thing; nothing when it cannot be had now."""
        try:
            answer = self._http.get(self._rng.choice(self._scene.urls) + path, headers=headers)
        except httpx.TransportError:
            return None
        if answer.is_success or (absent and answer.status_code == 404):
            return answer
        self._scene.note(
            "attempt", client=self._name, path=path, status=answer.status_code, retry="Retry-After" in answer.headers
        )
        return None

    def _begin(self, op: str, path: str, body: Any) -> str:
        self._calls += 1
        key = f"{self._name}-{self._calls}"
        self._scene.note("call", client=self._name, op=op, key=key, path=path, body=body)
        return key

    def _until_answered(self, op: str, path: str, body: Any, *, key: str) -> httpx.Response:
        """To one API process after the other."""
        attempt = 1
        while not isinstance(answer := self._attempt(op, path, body, key=key), httpx.Response):
            if self._scene.give_up.wait(min(0.1 * attempt if answer is None else answer, _LONGEST_PAUSE_SECONDS)):
                raise StoppedError
            attempt += 1
        return answer

    def _attempt(
        self, op: str, path: str, body: Any, *, key: str, patience: float = ATTEMPT_SECONDS
    ) -> httpx.Response | float | None:
        """The answer, or after how many seconds to ask again, if that is told."""
        note, url = self._scene.note, self._rng.choice(self._scene.urls) + path
        try:
            answer = self._http.post(url, json=body, headers={"Idempotency-Key": key}, timeout=patience)
        except httpx.TransportError as error:
            note("attempt", client=self._name, key=key, error=type(error).__name__)
            return None
        status, told = answer.status_code, answer.headers.get("Retry-After")
        if status in _RETRIED or (status == 409 and told is not None):
            note("attempt", client=self._name, key=key, status=status, retry=told is not None)
            return float(told or 1)
        replayed = "Idempotent-Replayed" in answer.headers
        shared = {"client": self._name, "op": op, "key": key, "status": status}
        note("answer", **shared, answer=answer.json(), replayed=replayed)
        if op != "replay" and answer.is_success:
            self._sent.append((path, body, key))
        return answer


def note_job(scene: Scene, job: dict[str, Any]) -> None:
    """Write down a job that has ended."""
    told = {name: job[name] for name in ("state", "finished_at", "attempts", "error", "result")}
    scene.note("job", id=job["id"], kind=job["kind"], created_at=job["created_at"], told=told)


def note_batch(scene: Scene, job_id: str, answer: httpx.Response) -> None:
    """Write down a batch."""
    scene.note("batch", job_id=job_id, etag=answer.headers["ETag"], body=answer.text)


def note_export(scene: Scene, rows: Sequence[dict[str, Any]], *, begun: float, final: bool = False) -> None:
    """Write down an export: example, annotator, answer and time of each row."""
    labels = [
        [row["example_id"], row["annotator"], SKIP if row["skip"] else row["label"], row["labeled_at"]] for row in rows
    ]
    scene.note("export", begun=begun, labels=labels, final=final)


def parse(lines: httpx.Response) -> list[dict[str, Any]]:
    """The rows of NDJSON."""
    return [json.loads(line) for line in lines.text.splitlines()]
