"""Merging loose vectors, and zeroing what was deleted."""

from datetime import timedelta

import numpy as np
import pytest

from service.actions import jobs as job_actions
from service.actions.predictions import chunk_of
from service.api.deps.runtime import Runtime, utc_now
from service.db.queries import arrays, jobs, projects
from service.queue.messages import Ring
from service.storage.chunks import open_csr, open_dense
from tests.support.own_models import predictions
from tests.support.pools import add_examples, ask, batch, vector_of
from tests.support.runtime import Api
from tests.support.working import run_job


def _merge(runtime: Runtime, project_id: str) -> None:
    """Run the merge that waits, at once."""
    with runtime.write() as session:
        job = jobs.find(session, project_id, kind="merge", state="queued")
        assert job is not None
        jobs.mark_rung(session, [job.id], utc_now())
        ring = Ring(job.id, job.queue, 0)
    run_job(runtime, ring.job_id)


def test_many_small_uploads_become_one_chunk(api: Api) -> None:
    project_id = api.project()
    for first in range(0, 2100, 300):
        add_examples(api, project_id, 300, first=first)
    before = batch(api, project_id, k=50, seed=3, lease_seconds=0)
    with api.runtime.database.read() as session:
        (chunk,) = arrays.live_chunks(session, project_id, arrays=["vectors"], generation=arrays.LATEST)
        assert (chunk.start, chunk.stop) == (0, 2100)
        assert projects.pool(session, project_id).loose_vectors == 0
        stored = open_dense(api.runtime.objects, chunk_of(chunk))
    assert np.array_equal(stored, np.array([vector_of(n) for n in range(2100)], dtype=np.float32))
    after = batch(api, project_id, k=50, seed=3, lease_seconds=0)
    assert before["items"] == after["items"]


@pytest.mark.parametrize("kind", ["vector", "text"])
def test_numbers_of_deleted_examples_are_zeroed(api: Api, kind: str) -> None:
    features = {"type": "vector", "dimensions": 2} if kind == "vector" else {"type": "text", "field": "text"}
    project_id = api.project(features=features)
    rows = [
        {"id": f"e{n}", "vector": vector_of(n)} if kind == "vector" else {"id": f"e{n}", "data": {"text": f"word {n}"}}
        for n in range(1200)
    ]
    assert api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows}).status_code == 200
    batch(api, project_id, k=1, lease_seconds=0)
    for n in (3, 700):
        assert api.http.delete(f"/v1/projects/{project_id}/examples/e{n}").status_code == 204
    _merge(api.runtime, project_id)
    with api.runtime.database.read() as session:
        array = "vectors" if kind == "vector" else "features:text-262144-2-1"
        (found,) = arrays.live_chunks(session, project_id, arrays=[array], generation=arrays.LATEST)
        chunk = chunk_of(found)
    if kind == "vector":
        empty = np.flatnonzero((open_dense(api.runtime.objects, chunk) == 0).all(axis=1))
    else:
        empty = np.flatnonzero(np.diff(open_csr(api.runtime.objects, chunk)[2]) == 0)
    assert empty.tolist() == [3, 700]


def test_uploaded_predictions_of_deleted_examples_are_zeroed(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 20)
    members = [{"a": 0.5, "b": 0.5}, {"a": 1, "b": 0}]
    rows = [{"id": f"e{n}", "members": members, "vector": [1, 2, 3]} for n in range(10)]
    assert predictions(api, project_id, rows).status_code == 200
    for n in (3, 7, 15):
        assert api.http.delete(f"/v1/projects/{project_id}/examples/e{n}").status_code == 204
    _merge(api.runtime, project_id)
    assert predictions(api, project_id, rows[:1]).json()["missing"] == 9
    names = ["external:1", "external-members:1", "external-vectors:1", "external-told:1"]
    with api.runtime.database.read() as session:
        found = arrays.live_chunks(session, project_id, arrays=names, generation=arrays.LATEST)
        chunks = {row.array: chunk_of(row) for row in found}
    assert sorted(chunks) == sorted(names)
    for chunk in chunks.values():
        X = open_dense(api.runtime.objects, chunk)
        assert np.flatnonzero((X == 0).all(axis=1)).tolist() == [3, 7]
    assert chunks["external-told:1"].dtype == "uint8"


def test_what_is_filled_during_a_merge_is_looked_at_again(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 20)
    assert api.http.delete(f"/v1/projects/{project_id}/examples/e3").status_code == 204
    job_id = ask(api, project_id, k=1)
    with api.runtime.database.write() as session:
        held = job_actions.claim(session, job_id, lease=timedelta(minutes=1), now=utc_now())
        assert held is not None
        assert arrays.take_build(session, project_id, "vectors", token=held.token)
    _merge(api.runtime, project_id)
    with api.runtime.database.read() as session:
        assert jobs.find(session, project_id, kind="merge", state="queued") is not None
