"""Work over chunks on a Dask cluster: two real processes, which read the chunks from a folder that they share."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster

from service.api.deps.runtime import Runtime
from service.db.tables import Job
from service.storage.chunks import Chunk, chunk_key, write_dense
from service.storage.local import LocalObjects
from tests.support.fatal_reader import FatalReader
from tests.support.pools import add_examples, add_labels, ask
from tests.support.redis_server import wait_until
from tests.support.runtime import Api, make_api
from tests.support.working import drain, run_job
from workers.jobs import filling, pool
from workers.jobs.cluster import DaskCluster
from workers.jobs.limits import JobOverdueError, limited_time
from workers.jobs.rehearsal import rehearse
from workers.learning import matrices
from workers.learning.parallel import ClusterError

STRATEGIES = ["margin", "k_center"]
ROWS = 1_100  # a chunk, and not loose vectors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the cluster shares with the service."""
    made = tmp_path_factory.mktemp("shared")
    (made / "objects").mkdir()
    return made


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Any]:
    """Two workers, and a scheduler in this process."""
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        worker_dashboard_address=None,
        local_directory=str(folder),
        env={"GLEANER_DATA_DIR": str(folder)},
    ) as made:
        yield made


@pytest.fixture
def api(runtime: Runtime, folder: Path) -> Iterator[Api]:
    settings = runtime.settings.model_copy(update={"objects_url": ""})  # what the workers of the cluster are told
    made = make_api(replace(runtime, settings=settings, objects=LocalObjects(folder / "objects")))
    with made.http:
        yield made


def on(api: Api, scheduler: str) -> Runtime:
    """The runtime of a job whose chunk work goes to a cluster."""
    settings = api.runtime.settings.model_copy(update={"parallel": "dask", "dask_scheduler": scheduler})
    return replace(api.runtime, settings=settings)


def filled(api: Api, worker: Runtime) -> str:
    """A project with a model, trained by the worker."""
    project_id = api.project(retraining={"automatic": False}, seed=7)
    add_examples(api, project_id, ROWS)
    add_labels(api, project_id, range(20))
    assert api.http.post(f"/v1/projects/{project_id}/trainings").status_code == 202
    drain(worker)
    return project_id


def items(api: Api, worker: Runtime, project_id: str, **query: Any) -> Any:
    job_id = ask(api, project_id, k=10, seed=3, lease_seconds=0, **query)
    drain(worker)
    answer = api.http.get(f"/v1/jobs/{job_id}/batch")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tasks for each work over this small pool."""
    monkeypatch.setattr(matrices, "GRID", 256)
    monkeypatch.setattr(filling, "_CLUSTER_ROWS", 256)


@pytest.mark.usefixtures("small_blocks")
def test_a_cluster_gives_the_batches_of_one_machine(api: Api, cluster: Any) -> None:
    expected: dict[str, Any] = {}
    for worker in (api.runtime, on(api, cluster.scheduler_address)):
        project_id = filled(api, worker)
        for strategy in STRATEGIES:
            found = items(api, worker, project_id, strategy=strategy, class_balanced=strategy == "margin")
            assert len(found) == 10
            assert found == expected.setdefault(strategy, found)


@pytest.mark.usefixtures("small_blocks")
def test_a_killed_dask_worker_changes_no_batch(
    api: Api, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = filled(api, api.runtime)
    expected = items(api, api.runtime, project_id, strategy="margin")

    monkeypatch.setattr(pool, "DenseReader", partial(FatalReader, killed=tmp_path / "killed"))
    assert items(api, on(api, cluster.scheduler_address), project_id, strategy="margin") == expected
    assert (tmp_path / "killed").exists()


def test_a_job_whose_time_is_over_leaves_nothing_in_the_cluster(cluster: Any) -> None:
    mine = DaskCluster(cluster.scheduler_address)
    with pytest.raises(JobOverdueError), limited_time(3):
        list(mine.map(time.sleep, [0.0, *[2.0] * 200]))
    mine.close()
    wait_until(lambda: not cluster.scheduler.tasks)


def test_a_cluster_of_other_versions_is_no_passing_fault(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.jobs.cluster.build", lambda: "another")
    mine = DaskCluster(cluster.scheduler_address)
    with pytest.raises(ClusterError, match="in place of another") as raised:
        list(mine.map(str, [1]))
    mine.close()
    assert not raised.value.passing


def test_a_work_that_fails_half_way_leaves_no_chunks(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)

    def made() -> Iterator[Chunk]:
        block = np.zeros((2, 3), dtype=np.float32)
        yield write_dense(objects, chunk_key("prj_1", "vectors", 0), [block], array="vectors", start=0)
        raise ClusterError("the connection to the Dask cluster was lost")

    with pytest.raises(ClusterError):
        filling._all_or_none(objects, made())  # noqa: SLF001 - no cluster can be made to fail at this point
    assert list(objects.list()) == []


def test_a_worker_starts_without_the_cluster(api: Api) -> None:
    rehearse(api.runtime.database.write, on(api, "tcp://127.0.0.1:9").settings)


def test_a_cluster_that_is_away_is_a_passing_fault(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = filled(api, api.runtime)
    monkeypatch.setattr("workers.jobs.cluster._CONNECT_SECONDS", 0.2)
    monkeypatch.setattr("service.actions.jobs._MOST_PASSING_FAULTS", 1)
    job_id = ask(api, project_id, k=1, strategy="margin")
    for state in ("queued", "failed"):
        run_job(on(api, "tcp://127.0.0.1:9"), job_id)
        with api.runtime.database.read() as session:
            found = session.get_one(Job, job_id)
        assert found.state == state
    assert found.error == {
        "name": "unavailable",
        "detail": "Given up after 2 attempts: in the last, the Dask cluster did not answer.",
    }
