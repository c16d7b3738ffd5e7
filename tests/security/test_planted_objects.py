"""What somebody planted in the object storage fails the job that reads it, by name; nothing of it is run."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from numpy.lib import format as npy
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sqlalchemy import delete, select

from service.db.queries import projects
from service.db.tables import Chunk, Model, ObjectDigest, Pool
from service.errors import DamagedObjectError
from service.storage.artifacts import committee_key
from service.storage.bitmaps import pack
from service.storage.chunks import open_csr, write_csr
from service.storage.local import LocalObjects
from tests.support.memory import growth
from tests.support.places import Place, Service, service_at
from tests.support.pools import add_examples, add_labels, ask
from tests.support.working import drain

ROWS = 1200


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._target),)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A folder that must not be made."""
    target = tmp_path / "made"
    yield target
    assert not target.exists()


@dataclass
class Planted:
    """A service whose objects somebody can write."""

    service: Service
    project_id: str
    honest: dict[str, bytes] = field(default_factory=dict)

    def vectors(self) -> str:
        """The file of the vectors."""
        return f"{next(key for key in self._keys(Chunk.key, Chunk.project_id) if '/vectors/' in key)}.npy"

    def predictions(self) -> str:
        """The file of the last model's predictions."""
        array = f"/predictions-{self.model()[0]}/"
        return f"{next(key for key in self._keys(Chunk.key, Chunk.project_id) if array in key)}.npy"

    def model(self) -> tuple[int, str]:
        """The last version of the model, and its file."""
        keys = self._keys(Model.artifact_key, Model.project_id, Model.version)
        return len(keys), keys[-1]

    def _keys(self, column: Any, project_id: Any, *order: Any) -> list[str]:
        with self.service.runtime.database.read() as session:
            return [*session.scalars(select(column).where(project_id == self.project_id).order_by(*order))]

    def forget_digests(self) -> None:
        """Let an earlier release have made the files of models, of which nothing tells what was written there."""
        with self.service.runtime.database.write() as session:
            session.execute(delete(ObjectDigest))

    def plant(self, key: str, data: bytes) -> None:
        """Put these bytes in the place of an object, until the test ends."""
        self.honest.setdefault(key, self.service.runtime.objects.get(key))
        self.service.runtime.objects.put_bytes(key, data)

    def fails(self, job_id: str, key: str) -> None:
        """Run a job, which names the object; nothing is tried again, and this process has not grown."""
        with growth(os.getpid()) as grown:
            drain(self.service.runtime)
        job = self.service.api.http.get(f"/v1/jobs/{job_id}").json()
        assert (job["state"], job["attempts"]) == ("failed", 1), job
        assert job["error"]["type"].endswith("/problems/damaged-object"), job
        assert key in job["error"]["detail"]
        assert grown.mebibytes < 64

    def query(self, **wish: Any) -> str:
        """Ask for a batch."""
        return ask(self.service.api, self.project_id, k=3, lease_seconds=0, **wish)

    def train(self) -> str:
        """Ask for a training."""
        answer = self.service.api.http.post(f"/v1/projects/{self.project_id}/trainings", json={})
        job_id: str = answer.json()["id"]
        return job_id

    def predict(self) -> str:
        """Ask for predictions of the last model."""
        path = f"/v1/projects/{self.project_id}/models/{self.model()[0]}/predict"
        body = {"examples": [{"vector": [0.0, 1.0]}]}
        answer = self.service.api.http.post(path, json=body, headers={"Prefer": "wait=0"})
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    with service_at(Place(tmp_path_factory.mktemp("service"))) as service:
        params = {"committee": 2, "committee_of": "bootstrap"}
        project_id = service.api.project(
            estimator={"name": "logistic_regression", "params": params}, retraining={"automatic": False}
        )
        add_examples(service.api, project_id, ROWS)
        add_labels(service.api, project_id, range(20))
        service.train(project_id)
        yield Planted(service, project_id)


@pytest.fixture
def planted(trained: Planted) -> Iterator[Planted]:
    yield trained
    for key, data in trained.honest.items():
        trained.service.runtime.objects.put_bytes(key, data)
    trained.honest.clear()


def saved(array: Any, *, pickled: bool = False) -> bytes:
    """A `.npy` file."""
    out = io.BytesIO()
    npy.write_array(out, array, allow_pickle=pickled)
    return out.getvalue()


def headed(fields: str, body: bytes = b"", version: bytes = b"\1\0") -> bytes:
    """A `.npy` file with a header of one's own."""
    header = fields.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + body


def shaped(shape: str, dtype: str = "<f4", body: bytes = b"") -> bytes:
    """A `.npy` file that declares this shape."""
    return headed(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}", body)


def bomb(target: Path) -> bytes:
    """A small archive of much."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        with packed.open("schema.json", "w") as member:
            for _ in range(256):
                member.write(bytes(1 << 20))
        packed.writestr("data.pkl", pickle.dumps(Canary(target)))
    return out.getvalue()


CHUNKS: dict[str, Callable[[Path], bytes]] = {
    "nothing": lambda _: b"",
    "rubbish": lambda _: b"\xff\0" * 5000,
    "a pickle": lambda target: pickle.dumps(Canary(target)),
    "pickled numbers": lambda target: saved(np.array([Canary(target)]), pickled=True),
    "an archive": bomb,
    "half of it": lambda _: saved(np.zeros((ROWS, 2), dtype=np.float32))[: ROWS * 4],
    "more than it": lambda _: saved(np.zeros((ROWS, 2), dtype=np.float32)) + b"\0",
    "another type": lambda _: saved(np.zeros((ROWS, 2), dtype=np.float64)),
    "another shape": lambda _: saved(np.zeros((2, ROWS), dtype=np.float32)),
    "the order of Fortran": lambda _: saved(np.asfortranarray(np.zeros((ROWS, 2), dtype=np.float32))),
    "a huge shape": lambda _: shaped(f"({10**17}, 2)", body=bytes(ROWS * 8)),
    "a shape beyond 64 bits": lambda _: shaped(f"({2**62}, 4)"),
    "a negative shape": lambda _: shaped(f"(-{ROWS}, -2)", body=bytes(ROWS * 8)),
    "a shape that is code": lambda _: shaped("(__import__('os').getpid(), 2)"),
    "a header within many": lambda _: shaped("(" * 80),
    "another version": lambda _: headed("{}", version=b"\3\0"),
}


@pytest.mark.parametrize("kind", list(CHUNKS))
def test_planted_vectors_fail_the_jobs_that_read_them(planted: Planted, canary: Path, kind: str) -> None:
    key = planted.vectors()
    planted.plant(key, CHUNKS[kind](canary))
    planted.fails(planted.query(strategy="k_center"), key)
    planted.fails(planted.train(), key)


def test_planted_predictions_fail_a_query_until_they_are_made_again(planted: Planted, canary: Path) -> None:
    drain_ok(planted, planted.query(strategy="margin"))
    key = planted.predictions()
    planted.plant(key, saved(np.array([Canary(canary)]), pickled=True))
    planted.fails(planted.query(strategy="margin"), key)
    told = planted.service.place.invoke("check", "--repair", "--grace", "0")
    assert "damaged-chunk" in told.output
    assert told.exit_code == 0
    drain_ok(planted, planted.query(strategy="margin"))


def drain_ok(planted: Planted, job_id: str) -> None:
    """Run a job, which succeeds."""
    drain(planted.service.runtime)
    job = planted.service.api.http.get(f"/v1/jobs/{job_id}").json()
    assert job["state"] == "succeeded", job


MODELS: dict[str, Callable[[Path], bytes]] = {
    "nothing": lambda _: b"",
    "a pickle": lambda target: pickle.dumps(Canary(target)),
    "an archive of much": bomb,
    "a pickle in an archive": lambda target: skops_of({"__class__": "x"}, **{"x.pkl": pickle.dumps(Canary(target))}),
    "another object": lambda _: skops.io.dumps(np.zeros(3)),
    "another estimator": lambda _: skops.io.dumps([LogisticRegression(), {"a": 1}]),
    "an untrusted type": lambda _: skops.io.dumps({"call": np.testing.assert_equal}),
    "a call": lambda target: skops_of(
        {"__class__": "mkdir", "__module__": os.__name__, "__loader__": "FunctionNode", "content": str(target)}
    ),
    "pickled numbers": lambda target: skops_of(
        {
            "__class__": "ndarray",
            "__module__": "numpy",
            "__loader__": "NdArrayNode",
            "type": "numpy",
            "file": "a.npy",
            "__id__": 1,
        },
        **{"a.npy": saved(np.array([Canary(target)]), pickled=True)},
    ),
    "calls within many": lambda _: skops_of(nested(300)),
    "a pipeline that is not fitted": lambda _: skops.io.dumps(Pipeline([("estimator", LogisticRegression())])),
    "two that are not fitted": lambda _: skops.io.dumps([Pipeline([("estimator", LogisticRegression())])] * 2),
    "two of other columns": lambda _: skops.io.dumps([fitted(columns=3, classes=2)] * 2),
    "one of other columns": lambda _: skops.io.dumps(fitted(columns=3, classes=2)),
    "one of other classes": lambda _: skops.io.dumps(fitted(columns=2, classes=3)),
    "two of other classes": lambda _: skops.io.dumps([fitted(columns=2, classes=3)] * 2),
    "three members": lambda _: skops.io.dumps([fitted(columns=2, classes=2)] * 3),
    "a tree that leads outside": lambda _: skops.io.dumps(crooked()),
}


def fitted(*, columns: int, classes: int) -> Pipeline:
    """A pipeline of rows of so many columns."""
    y = np.arange(6) % classes
    X = np.arange(6 * columns, dtype=np.float32).reshape(6, columns)
    return Pipeline([("estimator", LogisticRegression())]).fit(X, y)


def crooked() -> Pipeline:
    """A forest whose compiled code would leave its memory."""
    forest = RandomForestClassifier(3, bootstrap=False).fit([[0, 0], [4, 4]], [0, 1])
    forest.estimators_[0].tree_.children_left[0] = 10**9
    return Pipeline([("estimator", forest)])


def skops_of(node: dict[str, Any], **files: bytes) -> bytes:
    """A file in the form of skops, with this as its object."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("schema.json", json.dumps({**node, "protocol": 2, "_skops_version": skops.__version__}))
        for name, data in files.items():
            packed.writestr(name, data)
    return out.getvalue()


def nested(depth: int) -> dict[str, Any]:
    """Lists in lists, in the form of skops."""
    node: dict[str, Any] = {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": []}
    for number in range(depth):
        node = {**node, "content": [node], "__id__": number}
    return node


@pytest.mark.parametrize("kind", list(MODELS))
def test_a_planted_model_fails_the_jobs_that_read_it(planted: Planted, canary: Path, kind: str) -> None:
    _, key = planted.model()
    planted.forget_digests()
    planted.plant(committee_key(key), MODELS[kind](canary))
    planted.fails(planted.query(strategy="vote_entropy"), committee_key(key))
    planted.plant(key, MODELS[kind](canary))
    planted.fails(planted.predict(), key)
    drain_ok(planted, planted.train())  # makes another file


@pytest.mark.parametrize(
    "data", [b"", b"[[1, 2], [3]]", b'{"a": 1}', b"[[1e999, 2]", b'[["x", "y"]]', b"[" * 5000, b"7"]
)
def test_planted_inputs_fail_their_prediction(planted: Planted, data: bytes) -> None:
    prefix = f"inputs/{planted.project_id}/"
    others = {*planted.service.runtime.objects.list(prefix)}
    job_id = planted.predict()
    (key,) = {*planted.service.runtime.objects.list(prefix)} - others
    planted.plant(key, data)
    planted.fails(job_id, key)


@pytest.mark.parametrize("size", [0, 1, ROWS // 8 - 1, ROWS // 8 + 1, 1 << 20])
def test_a_planted_bitmap_fails_a_query_until_it_is_made_again(planted: Planted, size: int) -> None:
    key = snapshot(planted)
    drain_ok(planted, planted.query(strategy="random"))
    planted.plant(key, b"\xff" * size)
    planted.fails(planted.query(strategy="random"), key)
    assert planted.service.place.invoke("check", "--repair", "--grace", "0").exit_code == 0
    drain_ok(planted, planted.query(strategy="random"))


def snapshot(planted: Planted) -> str:
    """Keep who may be picked as a query does after many changes; returns the key."""
    key = f"candidates/{planted.project_id}/planted"
    mask: NDArray[np.bool_] = np.ones(ROWS, dtype=np.bool_)
    mask[:20] = False
    planted.service.runtime.objects.put_bytes(key, pack(mask))
    with planted.service.runtime.database.write() as session:
        pool: Pool = projects.lock_pool(session, planted.project_id)
        pool.snapshot_key, pool.snapshot_rows, pool.snapshot_sequence = key, ROWS, pool.change_sequence
    return key


@pytest.mark.parametrize("planted_index", [-1, 5, 2**31 - 1])
def test_sparse_rows_that_reach_outside_are_refused(tmp_path: Path, planted_index: int) -> None:
    """Code that adds or multiplies them would read and write outside of its arrays."""
    objects = LocalObjects(tmp_path)
    parts = (np.ones(3, dtype=np.float32), np.array([0, 1, 4], dtype=np.int32), np.array([0, 2, 3], dtype=np.int32))
    chunk = write_csr(objects, "x", parts, array="a", start=0, columns=5)
    assert len(open_csr(objects, chunk)) == 3
    objects.put_bytes("x.indices.npy", saved(np.array([0, planted_index, 4], dtype=np.int32)))
    with pytest.raises(DamagedObjectError, match="x is damaged"):
        open_csr(objects, chunk)
