"""The whole service as real processes on a temporary folder, and a client of its API."""

import base64
import re
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg
from numpy.typing import NDArray

from service.cli.supervisor import gleaner_command, start
from tests.support import processes
from tests.support.redis_server import PATIENCE_SECONDS, wait_until

CLASSES = 4
ENDLESS_ROWS = 6000
DIMENSIONS = 16
ENDED = {"succeeded", "failed", "cancelled"}
_READY = re.compile(rb"^Gleaner is ready at (\S+)$", re.MULTILINE)


class Stack:
    """`gleaner up` on one folder; it can be ended in any way and started again.

    Args:
        folder: The data folder.
        variables: Of the environment of its processes.
        settings: `GLEANER_*` variables by their names in lower case, without the prefix.
    """

    def __init__(self, folder: Path, *, variables: Mapping[str, str] | None = None, **settings: object) -> None:
        self.folder = folder
        self.log = folder / "up.log"
        self.process: subprocess.Popen[bytes]
        self._client: Client | None = None
        self._started: list[subprocess.Popen[bytes]] = []
        named = {f"GLEANER_{name.upper()}": str(value) for name, value in settings.items()}
        self._environment = {"PATH": "/usr/bin:/bin", "GLEANER_DATA_DIR": str(folder), **named, **(variables or {})}

    @property
    def client(self) -> "Client":
        """A client of the API as it was started last."""
        assert self._client is not None
        return self._client

    @property
    def key(self) -> str:
        """The admin key."""
        return (self.folder / "admin-key").read_text().strip()

    @property
    def socket(self) -> Path:
        """Of the private Redis-protocol server."""
        return self.folder / "redis.sock"

    def launch(self, *options: str) -> subprocess.Popen[bytes]:
        """Start `gleaner up`, and wait for nothing."""
        return self.add("up", "--data-dir", str(self.folder), "--port", "0", *options)

    def start(self, *options: str) -> None:
        """Start `gleaner up` and wait until it is ready."""
        size = self.log.stat().st_size if self.log.exists() else 0
        self.process = self.launch(*options)
        wait_until(lambda: self.process.poll() is not None or self._url(size) is not None, PATIENCE_SECONDS)
        url = self._url(size)
        assert url is not None, self.told()
        if self._client is not None:
            self._client.http.close()
        self._client = Client(url, self.key)

    def told(self) -> str:
        """What all processes wrote."""
        return self.log.read_text(errors="replace")

    def role(self, name: str) -> int:
        """The pid of the one process that runs `gleaner <name>`."""
        (pid,) = processes.role(self.folder, name)
        return pid

    def redis(self) -> int:
        """The pid of the Redis-protocol server."""
        (pid,) = (found.pid for found in processes.of_folder(self.folder) if str(self.socket) in " ".join(found.words))
        return pid

    def workers_and_horses(self) -> list[int]:
        """The pids of the workers and of their work-horses, these first."""
        return [*processes.horses(self.folder), *processes.workers(self.folder)]

    def freeze_workers(self) -> list[int]:
        """Stop the workers and their work-horses, at a moment when none of them writes; return their pids.

        One that is frozen within a write holds up all others on SQLite, and who needs the same rows on PostgreSQL.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            processes.freeze(pids := self.workers_and_horses())
            if set(pids) == set(self.workers_and_horses()) and self._may_write():
                return pids  # and none was forked in the meantime
            processes.send(pids, signal.SIGCONT)
            time.sleep(0.05)
        raise AssertionError("a worker holds the database whenever it is frozen")

    def _may_write(self) -> bool:
        if url := self._environment.get("GLEANER_DATABASE_URL"):
            return _is_at_rest(url)
        with closing(sqlite3.connect(self.folder / "gleaner.sqlite3", timeout=2, isolation_level=None)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            database.execute("ROLLBACK")
            return True

    def add(self, *words: str) -> subprocess.Popen[bytes]:
        """Start one more process of the service, which nobody supervises."""
        with self.log.open("ab") as log:
            self._started.append(start(gleaner_command(*words), self._environment, output=log))
        return self._started[-1]

    def terminate(self) -> float:
        """Ask `gleaner up` to stop; return the seconds that it took until nothing was left."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)
        wait_until(lambda: processes.of_folder(self.folder) == [])
        seconds = time.monotonic() - began
        assert self.process.returncode == 0, self.told()
        return seconds

    def clear(self) -> None:
        """Kill whatever is left."""
        if self._client is not None:
            self._client.http.close()
        while left := processes.of_folder(self.folder):
            processes.send((process.pid for process in left), signal.SIGKILL)
            for started in self._started:
                started.wait(PATIENCE_SECONDS)

    def _url(self, offset: int) -> str | None:
        found = _READY.search(self.log.read_bytes(), offset)
        return found[1].decode() if found else None


@contextmanager
def running(*options: str, variables: Mapping[str, str] | None = None, **settings: object) -> Iterator[Stack]:
    """A started stack, of which nothing is left afterwards."""
    # Not the folder of pytest, whose paths are too long for a socket.
    with tempfile.TemporaryDirectory(prefix="gleaner-") as folder:
        stack = Stack(Path(folder), variables=variables, **settings)
        try:
            stack.start(*options)
            yield stack
        finally:
            stack.clear()


class Client:
    """The calls of an annotation tool."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE_SECONDS, trust_env=False
        )

    def project(self, **fields: Any) -> str:
        """Make a project that trains when it is asked to; return its id."""
        body = {
            "name": "test",
            "task": {"type": "classification", "classes": [str(code) for code in range(CLASSES)]},
            "features": {"type": "vector", "dimensions": DIMENSIONS},
            "retraining": {"automatic": False},
            **fields,
        }
        made: str = self._sent("POST", "/v1/projects", 201, json=body)["id"]
        return made

    def upload(self, project_id: str, X: NDArray[np.float32]) -> httpx.Response:
        """Upload the rows as examples e0, e1, ..."""
        vectors = (base64.b64encode(row.astype("<f4").tobytes()).decode() for row in X)
        body = "\n".join(f'{{"id": "e{n}", "vector": "{vector}"}}' for n, vector in enumerate(vectors))
        headers = {"Content-Type": "application/x-ndjson"}
        return self.http.post(f"/v1/projects/{project_id}/examples", content=body, headers=headers)

    def label(self, project_id: str, labels: dict[str, str]) -> httpx.Response:
        """Label examples, by id."""
        rows = [{"example_id": example_id, "label": label} for example_id, label in labels.items()]
        return self.http.post(f"/v1/projects/{project_id}/labels", json={"labels": rows})

    def labels(self, project_id: str) -> dict[str, str]:
        """Every label, by example."""
        answer = self.http.get(f"/v1/projects/{project_id}/labels", headers={"Accept": "application/x-ndjson"})
        assert answer.status_code == 200, answer.text
        rows = httpx.Response(200, text=f"[{','.join(answer.text.splitlines())}]").json()
        return {row["example_id"]: row["label"] for row in rows}

    def query(self, project_id: str, **wish: Any) -> str:
        """Ask for a batch; return the job's id."""
        made: str = self._sent("POST", f"/v1/projects/{project_id}/queries", 202, json={"k": 5, **wish})["id"]
        return made

    def train(self, project_id: str) -> str:
        """Ask for a training; return the job's id."""
        made: str = self._sent("POST", f"/v1/projects/{project_id}/trainings", 202, json={})["id"]
        return made

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it is."""
        return self._sent("GET", f"/v1/jobs/{job_id}", 200)

    def ended(self, job_ids: Sequence[str], *, seconds: float = PATIENCE_SECONDS) -> list[dict[str, Any]]:
        """Wait until these jobs have ended."""
        wait_until(lambda: all(self.job(job_id)["state"] in ENDED for job_id in job_ids), seconds)
        return [self.job(job_id) for job_id in job_ids]

    def succeeded(self, *job_ids: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until these jobs have ended, every one well."""
        wrong = [job for job in self.ended(job_ids, seconds=seconds) if job["state"] != "succeeded"]
        assert wrong == []

    def batch(self, job_id: str) -> tuple[str, bytes]:
        """The batch of a query that succeeded: its ETag and its bytes."""
        answer = self.http.get(f"/v1/jobs/{job_id}/batch")
        assert answer.status_code == 200, answer.text
        return answer.headers["ETag"], answer.content

    def models(self, project_id: str) -> dict[int, str]:
        """The trainings that made the models, by version."""
        items = self._sent("GET", f"/v1/projects/{project_id}/models", 200)["items"]
        return {model["version"]: model["job_id"] for model in items}

    def _sent(self, method: str, path: str, status: int, **request: Any) -> dict[str, Any]:
        answer = self.http.request(method, path, **request)
        assert answer.status_code == status, answer.text
        body: dict[str, Any] = answer.json()
        return body


def points(count: int) -> tuple[NDArray[np.float32], dict[str, str]]:
    """Vectors, and the right label of each example."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(count, DIMENSIONS)).astype(np.float32)
    codes = (X @ rng.normal(size=(DIMENSIONS, CLASSES))).argmax(axis=1)
    return X, {f"e{n}": str(code) for n, code in enumerate(codes)}


def filled(client: Client, *, rows: int = 300, labelled: int = 100, **fields: Any) -> str:
    """Make a project with examples and labels; return its id."""
    project_id = client.project(**fields)
    X, truth = points(rows)
    assert client.upload(project_id, X).json()["created"] == rows
    answer = client.label(project_id, dict(list(truth.items())[:labelled]))
    assert answer.json()["created"] == labelled
    return project_id


def _is_at_rest(url: str) -> bool:
    """Whether no transaction is open on a database of PostgreSQL."""
    busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        found = connection.execute(f"{busy} AND pid <> pg_backend_pid()").fetchone()
    return found == (0,)


def slow_training(trees: int) -> dict[str, Any]:
    """The estimator of a project whose trainings take their time."""
    return {"estimator": {"name": "random_forest", "params": {"n_estimators": trees}}}


def endless(client: Client) -> str:
    """Make a project whose trainings take more than a minute on any machine, so that none ends unasked; its id."""
    return filled(client, rows=ENDLESS_ROWS, labelled=ENDLESS_ROWS, **slow_training(1000))
