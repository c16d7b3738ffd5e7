"""What somebody has put in the place of a model's file is refused, however well it is formed."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import skops.io
from fastapi.responses import StreamingResponse
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sqlalchemy import delete, select

from service.actions import checks, digests
from service.api.deps.downloads import download
from service.db.tables import Chunk, Model, ObjectDigest
from service.storage.artifacts import committee_key, encoder_key, model_encoder_key, onnx_key
from tests.support.places import Place, Service, service_at
from tests.support.pools import add_examples, add_labels, ask
from tests.support.tables import add_rows, row_of, tabular, train
from tests.support.working import drain
from workers.learning.featurizers.tabular import TabularEncoder

ROWS = 40
Response = Any  # of the test client
COMMITTEE = {"committee": 2, "committee_of": "bootstrap"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service_at(Place(tmp_path_factory.mktemp("service"))) as made:
        yield made


def vectors(service: Service, *, first: int = 0) -> str:
    """A project with a model, and with rows that nobody has asked it about."""
    made = service.api.project(
        estimator={"name": "logistic_regression", "params": COMMITTEE}, retraining={"automatic": False}
    )
    add_examples(service.api, made, ROWS)
    add_labels(service.api, made, range(first, first + 20))
    service.train(made)
    return made


def table(service: Service, *, rows: int = ROWS) -> str:
    """The same of a table."""
    made = tabular(service.api)
    add_rows(service.api, made, rows)
    train(service.api, made, 20)
    return made


def model_of(service: Service, project_id: str) -> Model:
    """Its model."""
    with service.runtime.database.read() as session:
        return session.scalars(select(Model).where(Model.project_id == project_id)).one()


def kept_encoder(service: Service, project_id: str) -> str:
    """The key of what makes the features of its rows."""
    with service.runtime.database.read() as session:
        array = session.scalars(select(Chunk.array).where(Chunk.project_id == project_id)).first()
    assert array is not None
    return encoder_key(project_id, array)


def file_of(service: Service, project_id: str, name: Callable[[str], str]) -> str:
    """The key of a file of its model."""
    return name(model_of(service, project_id).artifact_key)


def plant(service: Service, key: str, data: bytes) -> None:
    """Put these bytes in the place of an object."""
    assert service.runtime.objects.get(key) != data
    service.runtime.objects.put_bytes(key, data)


def forget(service: Service, project_id: str) -> None:
    """Let an earlier release have made the project's files."""
    with service.runtime.database.write() as session:
        session.execute(delete(ObjectDigest).where(ObjectDigest.project_id == project_id))


def query(service: Service, project_id: str, strategy: str = "margin") -> str:
    """Ask for a batch; the job."""
    return ask(service.api, project_id, k=3, lease_seconds=0, strategy=strategy)


def predict(service: Service, project_id: str, **example: Any) -> str:
    """Ask for a prediction; the job."""
    path = f"/v1/projects/{project_id}/models/1/predict"
    answer = service.api.http.post(path, json={"examples": [example]}, headers={"Prefer": "wait=0"})
    job_id: str = answer.json()["id"]
    return job_id


def ended(service: Service, job_id: str) -> dict[str, Any]:
    """The job, once it is run."""
    drain(service.runtime)
    job: dict[str, Any] = service.api.http.get(f"/v1/jobs/{job_id}").json()
    return job


def fails(service: Service, job_id: str, key: str) -> None:
    """The job fails at once and names the object."""
    job = ended(service, job_id)
    assert (job["state"], job["attempts"]) == ("failed", 1), job
    assert job["error"]["type"].endswith("/problems/damaged-object"), job
    assert f"{key} is damaged: it is not the file that was written there" in job["error"]["detail"]


def artifact(service: Service, project_id: str, form: str) -> Response:
    """Ask for a file of its model."""
    path = f"/v1/projects/{project_id}/models/1/artifact?format={form}"
    return service.api.http.get(path, headers={"Prefer": "wait=0"})


def is_refused(answer: Response, key: str) -> None:
    """Nothing is sent, and the object is named."""
    assert answer.status_code == 500
    assert answer.json()["type"].endswith("/problems/damaged-object")
    assert key in answer.json()["detail"]


def check(service: Service, *options: str) -> tuple[int, str]:
    """What `gleaner check` says."""
    told = service.place.invoke("check", *options)
    return told.exit_code, told.output


def other_estimator() -> bytes:
    """A model of trusted types that is fitted to such rows."""
    fitted = Pipeline([("estimator", LogisticRegression())]).fit([[0.0, 1.0], [1.0, 0.0]], [0, 1])
    data: bytes = skops.io.dumps(fitted)
    return data


def turned_around(honest: bytes) -> bytes:
    """A model that says the contrary."""
    model = skops.io.loads(honest, trusted=skops.io.get_untrusted_types(data=honest))
    model[-1].coef_ *= -1
    data: bytes = skops.io.dumps(model)
    return data


def test_another_model_in_the_place_of_a_model_is_neither_loaded_nor_sent(service: Service) -> None:
    project_id, other = vectors(service), vectors(service, first=10)
    key = file_of(service, project_id, str)
    honest = service.runtime.objects.get(key)
    assert artifact(service, project_id, "skops").content == honest
    for planted in (
        service.runtime.objects.get(file_of(service, other, str)),
        turned_around(honest),
        other_estimator(),
    ):
        plant(service, key, planted)
        fails(service, query(service, project_id), key)
        fails(service, predict(service, project_id, vector=[0.0, 1.0]), key)
        is_refused(artifact(service, project_id, "skops"), key)
    fails(service, artifact(service, project_id, "onnx").json()["id"], key)
    code, told = check(service, "--repair")
    assert (code, f"{key}: A model's file: from a backup, or train again." in told) == (1, True)
    service.train(project_id)  # makes another file
    assert ended(service, query(service, project_id))["state"] == "succeeded"


def test_a_file_that_is_changed_while_it_is_sent_is_sent_as_it_was_checked(service: Service) -> None:
    project_id = vectors(service)
    key = file_of(service, project_id, str)
    runtime, file = service.runtime, service.place.settings.objects_dir / key
    honest = file.read_bytes()
    answer = download(runtime, key, media_type="", digest=digests.sha256_of(honest))
    with file.open("r+b") as planted:  # the very file, and not only its name
        planted.write(b"forged")
    assert asyncio.run(sent(answer)) == honest
    is_refused(artifact(service, project_id, "skops"), key)


async def sent(answer: StreamingResponse) -> bytes:
    """The body of an answer."""
    parts = [part async for part in answer.body_iterator]
    return b"".join(bytes(part) for part in parts if not isinstance(part, str))


def test_another_committee_is_not_loaded(service: Service) -> None:
    project_id, other = vectors(service), vectors(service, first=10)
    key = file_of(service, project_id, committee_key)
    plant(service, key, service.runtime.objects.get(file_of(service, other, committee_key)))
    fails(service, query(service, project_id, "vote_entropy"), key)


def test_another_onnx_file_is_not_sent_and_made_again(service: Service) -> None:
    project_id = vectors(service)
    key = file_of(service, project_id, partial(onnx_key, classes=["a", "b"]))
    service.runtime.objects.put_bytes(key, b"planted before it was ever made")
    job = artifact(service, project_id, "onnx").json()
    assert ended(service, job["id"])["state"] == "succeeded"
    honest = artifact(service, project_id, "onnx").content
    assert honest == service.runtime.objects.get(key)
    plant(service, key, honest[::-1])
    is_refused(artifact(service, project_id, "onnx"), key)
    assert "damaged-file" in check(service, "--repair")[1]
    assert ended(service, artifact(service, project_id, "onnx").json()["id"])["state"] == "succeeded"
    assert artifact(service, project_id, "onnx").content == honest


def test_a_file_that_was_made_again_before_the_repair_is_kept(service: Service) -> None:
    project_id = vectors(service)
    key = file_of(service, project_id, partial(onnx_key, classes=["a", "b"]))
    ended(service, artifact(service, project_id, "onnx").json()["id"])
    plant(service, key, b"another")
    runtime = service.runtime
    found = checks.look(
        snapshot=runtime.database.snapshot, objects=runtime.objects, sealer=runtime.sealer, grace_seconds=0
    )
    (damaged,) = (one for one in found if one.name == key)
    with runtime.database.write() as session:
        digests.record(session, project_id, {key: digests.sha256_of(b"made again")})
    runtime.objects.put_bytes(key, b"made again")
    assert checks.repair([damaged], write=runtime.database.write) == []
    assert runtime.objects.get(key) == b"made again"


def test_another_encoder_of_a_model_is_neither_loaded_nor_sent(service: Service) -> None:
    project_id, other = table(service), table(service, rows=ROWS - 9)
    key = file_of(service, project_id, model_encoder_key)
    plant(service, key, service.runtime.objects.get(file_of(service, other, model_encoder_key)))
    fails(service, predict(service, project_id, data=row_of(3)), key)
    is_refused(artifact(service, project_id, "encoder"), key)


def test_another_encoder_of_a_pool_is_not_loaded_and_made_again(service: Service) -> None:
    other = table(service, rows=ROWS - 9)
    planted = service.runtime.objects.get(file_of(service, other, model_encoder_key))
    project_id = table(service)
    key = kept_encoder(service, project_id)
    honest = service.runtime.objects.get(key)
    plant(service, key, planted)
    add_rows(service.api, project_id, 5, first=ROWS)
    fails(service, query(service, project_id), key)
    assert "damaged-chunk" in check(service, "--repair")[1]
    assert ended(service, query(service, project_id))["state"] == "succeeded"
    again = TabularEncoder.load(service.runtime.objects.get(key))  # the model has a copy
    rows = [row_of(n) for n in range(30)]
    np.testing.assert_array_equal(again.encode(rows), TabularEncoder.load(honest).encode(rows))


def test_files_of_earlier_releases_are_loaded_and_sent_as_before(service: Service) -> None:
    project_id = vectors(service)
    forget(service, project_id)
    planted = service.runtime.objects.get(file_of(service, vectors(service, first=10), str))
    plant(service, file_of(service, project_id, str), planted)
    assert ended(service, query(service, project_id))["state"] == "succeeded"
    assert artifact(service, project_id, "skops").content == planted
    pool = table(service)
    forget(service, pool)
    add_rows(service.api, pool, 5, first=ROWS)
    assert ended(service, query(service, pool))["state"] == "succeeded"


def test_the_digests_go_with_their_files(service: Service) -> None:
    project_id = vectors(service)
    ended(service, artifact(service, project_id, "onnx").json()["id"])
    rename = {"rename_classes": {"a": "c"}}
    answer = service.api.http.patch(f"/v1/projects/{project_id}", json=rename, headers={"If-Match": "*"})
    assert answer.status_code == 200
    files = {*service.runtime.objects.list(f"models/{project_id}/")}
    with service.runtime.database.read() as session:
        mine = select(ObjectDigest.key).where(ObjectDigest.project_id == project_id)
        assert {*session.scalars(mine)} == files
    assert service.api.http.delete(f"/v1/projects/{project_id}").status_code == 202
    drain(service.runtime)
    with service.runtime.database.read() as session:
        assert session.scalars(mine).all() == []
