"""Workers are counted by what is unfinished in the tables, whatever is in Redis."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import kubernetes_validate
import pytest
from redis import Redis
from sqlalchemy import text

from service.api.deps.runtime import Runtime, utc_now
from service.db.session import Database
from service.db.tables import Job
from service.queue.messages import QUEUE_OF_KIND, timeouts
from service.queue.redis import RedisQueue
from tests.deploy.manifests import DEPLOY, FOLDER, Manifest, component, containers, of_kind, one
from tests.support.redis_server import running_redis
from tests.support.runtime import make_api, make_runtime

STATES = ("queued", "running", "succeeded", "failed", "cancelled")
POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
ROLE = (FOLDER / "autoscaling/role.sql").read_text()


def scaled() -> dict[str, Manifest]:
    return {component(found): found["spec"] for found in of_kind("ScaledObject")}


@pytest.fixture
def runtime(tmp_path: Path, database_url: str) -> Iterator[Runtime]:
    made = make_runtime(tmp_path, database_url=database_url)
    yield made
    made.database.close()


def counted(database: Database) -> dict[str, int]:
    """What the queries tell a role that may do no more than count."""
    found: dict[str, int] = {}
    with database.engine.connect() as connection:  # never committed: roles are the server's
        for statement in (*filter(str.strip, ROLE.split(";")), "SET LOCAL ROLE gleaner_autoscaling"):
            connection.execute(text(statement))
        for name, spec in scaled().items():
            found[name] = connection.execute(text(one(spec["triggers"])["metadata"]["query"])).scalar_one()
    return found


def test_each_kind_of_worker_is_scaled_and_none_to_zero() -> None:
    deployments = {found["metadata"]["name"]: found["spec"] for found in of_kind("Deployment")}
    workers = {name for name, container in containers().items() if container["args"][0] == "worker"}
    assert set(scaled()) == workers
    for name, spec in scaled().items():
        target = spec["scaleTargetRef"]["name"]
        assert target == f"gleaner-{name}"
        assert "replicas" not in deployments[target]  # to apply it again would undo what was scaled
        assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
        assert "idleReplicaCount" not in spec


def test_kubernetes_knows_every_field_of_how_it_scales() -> None:
    for name, spec in scaled().items():
        autoscaler = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", **spec["scaleTargetRef"]},
                "minReplicas": spec["minReplicaCount"],
                "maxReplicas": spec["maxReplicaCount"],
                "behavior": spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
            },
        }
        kubernetes_validate.validate(autoscaler, kubernetes_validate.latest_version(), strict=True)


def test_keda_is_told_where_to_look_as_itself() -> None:
    told = one(of_kind("TriggerAuthentication"))
    parameters = {item["parameter"]: item["key"] for item in told["spec"]["secretTargetRef"]}
    assert set(parameters) == {"host", "port", "dbName", "userName", "password", "sslmode"}
    readme = (DEPLOY / "README.md").read_text()
    assert [key for key in parameters.values() if f"`{key}`" not in readme] == []
    assert {item["name"] for item in told["spec"]["secretTargetRef"]} == {told["metadata"]["name"]}
    for spec in scaled().values():
        trigger = one(spec["triggers"])
        assert (trigger["type"], trigger["authenticationRef"]) == ("postgresql", {"name": told["metadata"]["name"]})
        assert set(trigger["metadata"]) == {"query", "targetQueryValue"}
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        assert float(trigger["metadata"]["targetQueryValue"]) >= 1


@POSTGRESQL
def test_what_is_queued_or_runs_is_counted_and_nothing_else(runtime: Runtime) -> None:
    with runtime.database.write() as session:
        session.add_all(
            Job(
                id=f"job_{kind}_{state}_{n}",
                project_id=f"prj_{kind}_{n}",
                kind=kind,
                queue=queue,
                state=state,
                payload={},
                created_at=utc_now(),
            )
            for kind, queue in QUEUE_OF_KIND.items()
            for state in STATES
            for n in range(2)
        )
    interactive = [queue for queue in QUEUE_OF_KIND.values() if queue == "interactive"]
    assert counted(runtime.database) == {
        "worker-interactive": 4 * len(interactive),
        "worker": 4 * (len(QUEUE_OF_KIND) - len(interactive)),
    }


@POSTGRESQL
def test_an_emptied_redis_changes_nothing(runtime: Runtime) -> None:
    with running_redis() as server, Redis.from_url(server.url) as connection:
        queue = RedisQueue(server.url, timeouts=timeouts(runtime.settings))
        api = make_api(replace(runtime, queue=queue))
        project_id = api.project()
        assert counted(runtime.database) == {"worker-interactive": 0, "worker": 0}
        for asked, body in (("queries", {"k": 1}), ("trainings", {})):
            assert api.http.post(f"/v1/projects/{project_id}/{asked}", json=body).status_code == 202
        assert connection.dbsize() > 0
        connection.flushall()
        assert counted(runtime.database) == {"worker-interactive": 1, "worker": 1}
        queue.close()
