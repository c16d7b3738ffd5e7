"""The HTTP API as any client sees it, for the demo and the benchmark."""

import base64
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

_NDJSON = "application/x-ndjson"
_WAIT = {"Prefer": "wait=30"}
_TIMEOUT_SECONDS = 120.0

Body = bytes | Iterable[bytes]


class CallError(Exception):
    """A call was not answered as it should have been."""


class Client:
    """Calls with a key; any answer that is no success is a `CallError`."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,  # a proxy does not know this machine's loopback
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.http.close()

    def create_project(self, **fields: Any) -> str:
        """Make a project; return its id."""
        project_id: str = self.call("POST", "/v1/projects", json=fields)["id"]
        return project_id

    def change_project(self, project_id: str, **sections: Any) -> None:
        """Replace sections of a project."""
        path = f"/v1/projects/{project_id}"
        etag = self._send("GET", path).headers["ETag"]
        self.call("PATCH", path, json=sections, headers={"If-Match": etag})

    def upload(self, project_id: str, body: Body, media_type: str = _NDJSON) -> dict[str, Any]:
        """Upload examples, as NDJSON unless another form is named."""
        headers = {"Content-Type": media_type}
        return self.call("POST", f"/v1/projects/{project_id}/examples", content=body, headers=headers)

    def label(self, project_id: str, labels: list[dict[str, Any]]) -> dict[str, Any]:
        """Send labels."""
        return self.call("POST", f"/v1/projects/{project_id}/labels", json={"labels": labels})

    def query(self, project_id: str, **wish: Any) -> dict[str, Any]:
        """Ask for a batch and wait for it."""
        job = self.call("POST", f"/v1/projects/{project_id}/queries", json=wish, headers=_WAIT)
        return self.call("GET", f"/v1/jobs/{job['id']}/batch", headers=_WAIT)

    def train(self, project_id: str) -> str:
        """Ask for a training; return the id of its job."""
        job_id: str = self.call("POST", f"/v1/projects/{project_id}/trainings", json={})["id"]
        return job_id

    def finished(self, job_id: str) -> dict[str, Any]:
        """Wait for the end of a job; return it.

        Raises:
            CallError: It failed or was cancelled.
        """
        job: dict[str, Any] = {"state": "queued"}
        while job["state"] in {"queued", "running"}:
            job = self.call("GET", f"/v1/jobs/{job_id}", headers=_WAIT)
        if job["state"] != "succeeded":
            raise CallError(f"The {job['kind']} {job_id} ended as {job['state']}: {job['error']}")
        return job

    def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Send a request; return the answer's JSON.

        Raises:
            CallError: The service did not answer, or not with a success.
        """
        answer: dict[str, Any] = self._send(method, path, **request).json()
        return answer

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            response = self.http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise CallError(f"{method} {path} was not answered ({type(error).__name__}: {error}).") from error
        if not response.is_success:
            raise CallError(f"{method} {path} was answered {response.status_code}: {response.text[:1000]}")
        return response


def ndjson(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as the lines of a body."""
    return b"\n".join(orjson.dumps(row) for row in rows)


def base64_vector(vector: NDArray[np.float32]) -> str:
    """A vector in its fast text form."""
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
