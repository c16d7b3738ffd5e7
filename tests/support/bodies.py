"""Bulk bodies and what they did to a project."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from service.db.tables import CandidateChange, Chunk, LooseVector
from service.storage.bitmaps import Change, apply_changes
from service.storage.chunks import Chunk as ChunkFile
from service.storage.chunks import open_dense
from tests.support.runtime import Api

Response = Any  # of the test client
NDJSON = {"Content-Type": "application/x-ndjson"}


def lines(rows: list[dict[str, Any]]) -> bytes:
    """Rows as NDJSON."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def points(count: int, *, first: int = 0, **more: Any) -> list[dict[str, Any]]:
    """Examples e0, e1, ... whose vector says their number."""
    return [{"id": f"e{i}", "vector": [float(i), 1.0], **more} for i in range(first, first + count)]


def upload(api: Api, project_id: str, rows: list[dict[str, Any]], *, mode: str = "atomic") -> Response:
    """POST examples as NDJSON."""
    path = f"/v1/projects/{project_id}/examples?mode={mode}"
    answer: Response = api.http.post(path, content=lines(rows), headers=NDJSON)
    return answer


def label(api: Api, project_id: str, *rows: dict[str, Any], mode: str = "atomic") -> Response:
    """POST labels as JSON."""
    path = f"/v1/projects/{project_id}/labels?mode={mode}"
    answer: Response = api.http.post(path, json={"labels": list(rows)})
    return answer


def counts(api: Api, project_id: str) -> dict[str, Any]:
    """The counters of a project."""
    found: dict[str, Any] = api.http.get(f"/v1/projects/{project_id}").json()["counts"]
    return found


def examples(api: Api, project_id: str) -> dict[str, dict[str, Any]]:
    """The first thousand examples, by id."""
    page = api.http.get(f"/v1/projects/{project_id}/examples?page_size=1000").json()
    return {item["id"]: item for item in page["items"]}


def vectors(api: Api, project_id: str) -> dict[int, list[float]]:
    """Every vector by row, from chunks and blobs."""
    with api.runtime.database.read() as session:
        found = {
            row: np.frombuffer(vector, dtype="<f4").tolist()
            for row, vector in session.execute(
                select(LooseVector.row, LooseVector.vector).where(LooseVector.project_id == project_id)
            )
        }
        for chunk in session.scalars(select(Chunk).where(Chunk.project_id == project_id)):
            file = ChunkFile(chunk.array, chunk.start, chunk.stop, "dense", chunk.key, chunk.columns, chunk.dtype)
            found.update(enumerate(open_dense(api.runtime.objects, file).tolist(), start=chunk.start))
    return found


def candidates(api: Api, project_id: str, rows: int = 5000) -> list[int]:
    """The rows that may be picked."""
    mask: NDArray[np.bool_] = np.zeros(rows, dtype=np.bool_)
    query = select(CandidateChange).where(CandidateChange.project_id == project_id).order_by(CandidateChange.sequence)
    with api.runtime.database.read() as session:
        apply_changes(mask, [Change(c.start, c.stop, c.bits, c.value) for c in session.scalars(query)])
    return [int(row) for row in np.flatnonzero(mask)]
