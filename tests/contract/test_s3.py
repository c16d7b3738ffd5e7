"""What is S3's own: faults of the store, parts of uploads, and the copies on a host."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boto3.s3.transfer import TransferConfig
from moto.backends import get_backend
from structlog.testing import capture_logs

from service.errors import DamagedObjectError, UnavailableError
from service.settings import MIB, Settings
from service.storage import s3 as module
from service.storage.objects import ObjectNotFoundError
from service.storage.s3 import S3Objects
from tests.support.s3_server import BUCKET, SECRET_KEY, S3Server

Operation = Callable[[S3Objects], Any]
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def settings(s3: S3Server, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, **s3.settings())


@pytest.fixture
def objects(settings: Settings) -> S3Objects:
    return S3Objects(settings)


def name_of(settings: Settings, key: str) -> str:
    return f"{settings.bucket[1]}{key}"


def put_elsewhere(s3: S3Server, settings: Settings, key: str, data: bytes) -> None:
    """Put other bytes under a key, with all that is told of it."""
    name = name_of(settings, key)
    told = s3.client.head_object(Bucket=BUCKET, Key=name)["Metadata"]
    s3.client.put_object(Bucket=BUCKET, Key=name, Body=data, Metadata=told)


def other(settings: Settings, **changes: Any) -> S3Objects:
    return S3Objects(Settings(**{**settings.model_dump(), "s3_attempts": 1, **changes}))


OPERATIONS: dict[str, Operation] = {
    "get": lambda objects: objects.get("a"),
    "open": lambda objects: objects.open("a"),
    "exists": lambda objects: objects.exists("a"),
    "delete": lambda objects: objects.delete("a"),
    "delete_prefix": lambda objects: objects.delete_prefix("a/"),
    "list": lambda objects: list(objects.list()),
    "put_bytes": lambda objects: objects.put_bytes("a", b"x"),
    "clear_scratch": lambda objects: objects.clear_scratch(0),
}


@pytest.mark.parametrize("wrong", [{"s3_endpoint": NOWHERE}, {"objects_url": "s3://no-such-bucket"}])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_store_that_is_away_is_told_as_such(settings: Settings, operation: str, wrong: dict[str, str]) -> None:
    objects = other(settings, **wrong)
    with capture_logs() as logs, pytest.raises(UnavailableError, match="object store") as told:
        OPERATIONS[operation](objects)
    assert [line["fault"] for line in logs if line["event"] == "object_store_failed"] != []
    assert SECRET_KEY not in f"{logs}{told.value}{told.value.__cause__}"


def test_a_file_that_cannot_be_put_stays(settings: Settings) -> None:
    objects = other(settings, s3_endpoint=NOWHERE)
    source = objects.scratch()
    source.write_bytes(b"x")
    with pytest.raises(UnavailableError):
        objects.put("a", source)
    assert source.read_bytes() == b"x"


def test_a_large_file_is_put_in_parts(
    s3: S3Server, settings: Settings, objects: S3Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TRANSFER", TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB))
    data = np.random.default_rng(0).bytes(6 * MIB)
    source = objects.scratch()
    source.write_bytes(data)
    objects.put("large", source)
    assert s3.client.head_object(Bucket=BUCKET, Key=name_of(settings, "large"))["ETag"].endswith('-2"')
    assert objects.get("large") == data
    with objects.open("large") as file:
        assert file.read() == data


def test_parts_of_uploads_that_never_ended_are_removed(
    s3: S3Server, settings: Settings, objects: S3Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = s3.client.create_multipart_upload(Bucket=BUCKET, Key=name_of(settings, "a"))["UploadId"]

    def under_way() -> list[str]:
        found = s3.client.list_multipart_uploads(Bucket=BUCKET, Prefix=name_of(settings, "")).get("Uploads", [])
        return [one["UploadId"] for one in found]

    with monkeypatch.context() as patch:
        patch.setattr(module, "_LONGEST_UPLOAD", timedelta(days=36_500))  # the server says that all began in 2010
        assert objects.clear_scratch(0) == 0
        assert under_way() == [begun]
    assert objects.clear_scratch(0) == 1
    assert under_way() == []


def test_other_bytes_than_were_put_are_refused_and_not_kept(
    s3: S3Server, settings: Settings, objects: S3Objects
) -> None:
    objects.put_bytes("a", b"honest")
    put_elsewhere(s3, settings, "a", b"forged")
    for _ in range(2):
        with pytest.raises(DamagedObjectError, match="a is damaged"):
            objects.open("a")
    with pytest.raises(DamagedObjectError, match="not those that were stored"):
        objects.get("a")


def test_a_copy_is_read_and_the_store_not_asked(s3: S3Server, settings: Settings, objects: S3Objects) -> None:
    objects.put_bytes("a", b"data")
    objects.open("a").close()
    s3.client.delete_object(Bucket=BUCKET, Key=name_of(settings, "a"))
    again: S3Objects = pickle.loads(pickle.dumps(objects))  # noqa: S301 - as the processes of a job get it
    with again.open("a") as file:
        assert file.read() == b"data"
    with pytest.raises(ObjectNotFoundError):
        again.get("a")
    again.delete("a")
    with pytest.raises(ObjectNotFoundError):
        objects.open("a")


def test_all_pages_are_listed(settings: Settings, objects: S3Objects) -> None:
    bucket = get_backend("s3")["123456789012"]["aws"]
    keys = [f"many/{number:04d}" for number in range(1001)]
    for key in [*keys, "many/Not-A-Key", "many/"]:
        bucket.put_object(BUCKET, name_of(settings, key), b"")
    assert list(objects.list("many/")) == keys


@pytest.mark.skipif(not hasattr(os, "fork"), reason="horses are forked")
def test_no_connection_crosses_a_fork(settings: Settings) -> None:
    program = """
import os
from service.settings import Settings
from service.storage.s3 import S3Objects
objects = S3Objects(Settings())
objects.put_bytes("a", b"x")
child = os.fork()
for _ in range(10):
    assert objects.get("a") == b"x"
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    named = {f"GLEANER_{name.upper()}": str(getattr(settings, name)) for name in _NAMED}
    environment = {"PATH": "/usr/bin:/bin", **named, "GLEANER_S3_SECRET_KEY": SECRET_KEY}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)


_NAMED = ("data_dir", "objects_url", "s3_endpoint", "s3_region", "s3_access_key", "s3_path_style")


@pytest.mark.parametrize(
    "wrong",
    [
        {"objects_url": "https://bucket"},
        {"objects_url": "s3://b"},
        {"objects_url": "s3://bucket/../x y"},
        {"s3_endpoint": "http://user:password@host"},
        {"s3_endpoint": "host:9000"},
        {"s3_endpoint": "http://host:65536/"},
        {"metrics_address": "127.0.0.1:65536"},
    ],
)
def test_settings_that_name_no_place_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Settings(**wrong)  # type: ignore[arg-type]
