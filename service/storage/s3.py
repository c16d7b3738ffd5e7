"""Objects in a bucket of any store that speaks the protocol of S3. Needs the extra `s3`."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from service.errors import DamagedObjectError, UnavailableError
from service.settings import MIB, Settings
from service.storage.cache import Download, FileCache
from service.storage.objects import ObjectNotFoundError, checked_key, checked_prefix, is_key, latest_put
from service.storage.parts import BLOCK_BYTES, blocks, part_of
from service.storage.scratch import ScratchFolder
from service.telemetry import logger

PART_BYTES = 64 * MIB
_DIGEST = "sha256"  # in the metadata of an object, of its bytes
_MISSING = frozenset({"404", "NoSuchKey"})
_POOL_CONNECTIONS = 50  # an API process has 40 threads
_SCRATCH_SECONDS = 3600.0
_LONGEST_UPLOAD = timedelta(days=1)
_TRANSFER = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4)
_log = logger(__name__)


class S3Objects:
    """Objects below a prefix of a bucket, which are nobody else's; those that are opened are copied to this host.

    An object has its SHA-256 beside it. What was put is signed with it, so that the store refuses other bytes; what
    comes back is compared.

    Raises (every method that asks the store):
        UnavailableError: It does not answer, or refuses; the log says why.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bucket, self._root = settings.bucket
        settings.chunk_cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._cache = FileCache(settings.chunk_cache / "chunks", settings.cache_mib * MIB)
        self._scratch = ScratchFolder(settings.chunk_cache / "scratch")
        self._pid = os.getpid()
        with _told():
            self._connected = _connect(settings)

    def __reduce__(self) -> tuple[type["S3Objects"], tuple[Settings]]:
        return S3Objects, (self._settings,)

    @property
    def _client(self) -> Any:
        """The client, without connections that were opened before a fork."""
        if self._pid != os.getpid():
            self._connected.close()
            self._pid = os.getpid()
        return self._connected

    def scratch(self) -> Path:
        """A new path on the disk of this host, where nobody else tidies up."""
        self._scratch.clear(_SCRATCH_SECONDS)
        return self._scratch.new()

    def put(self, key: str, source: Path) -> None:
        """Upload the file, a large one in parts, which are an object once all are there."""
        name, part = self._name(key), part_of(blocks(source.open("rb")))
        with _told():
            self._client.upload_file(
                str(source), self._bucket, name, ExtraArgs={"Metadata": {_DIGEST: part.sha256}}, Config=_TRANSFER
            )
        self._cache.forget(name)
        source.unlink()

    def put_bytes(self, key: str, data: bytes) -> None:
        """Upload the bytes."""
        name, digest = self._name(key), hashlib.sha256(data).hexdigest()
        with _told():
            self._client.put_object(Bucket=self._bucket, Key=name, Body=data, Metadata={_DIGEST: digest})
        self._cache.forget(name)

    def get(self, key: str) -> bytes:
        """The object's bytes, from the store."""
        return b"".join(self.blocks(key))

    def blocks(self, key: str) -> Iterator[bytes]:
        """The object's bytes, from the store.

        Raises:
            ObjectNotFoundError: There is none.
            DamagedObjectError: Those that came are not those that were put; told after the last.
        """
        return self._download(key).blocks

    def open(self, key: str) -> BinaryIO:
        """The copy on this host."""
        return self._cache.open(self._name(key), lambda: self._download(key))

    def exists(self, key: str) -> bool:
        """Whether the bucket has it; one that is not there itself is a fault."""
        name = self._name(key)
        try:
            with _told(key):
                self._client.head_object(Bucket=self._bucket, Key=name)
        except ObjectNotFoundError:
            with _told():
                self._client.head_bucket(Bucket=self._bucket)
            return False
        return True

    def delete(self, key: str) -> None:
        """Delete it, and the copy."""
        name = self._name(key)
        with _told():
            self._client.delete_object(Bucket=self._bucket, Key=name)
        self._cache.forget(name)

    def delete_prefix(self, prefix: str) -> None:
        """Delete one after the other: not every store can do more at once."""
        for key in self.list(checked_prefix(prefix)):
            self.delete(key)

    def list(self, prefix: str = "", *, older_than_seconds: float | None = None) -> Iterator[str]:
        """The keys, as the store sorts them; what can be no key is not ours."""
        wanted = self._root + (checked_prefix(prefix) if prefix else "")
        limit = latest_put(older_than_seconds)
        for found in self._pages("list_objects_v2", "Contents", wanted):
            key = found["Key"].removeprefix(self._root)
            if is_key(key) and found["LastModified"].timestamp() <= limit:
                yield key

    def clear_scratch(self, older_than_seconds: float) -> int:
        """Remove scratch files of this host, and parts in the bucket of uploads that were never completed."""
        removed, limit = self._scratch.clear(older_than_seconds), datetime.now(UTC) - _LONGEST_UPLOAD
        for found in self._pages("list_multipart_uploads", "Uploads", self._root):
            if found["Initiated"] < limit:
                with _told():
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=found["Key"], UploadId=found["UploadId"]
                    )
                removed += 1
        return removed

    def _name(self, key: str) -> str:
        return self._root + checked_key(key)

    def _pages(self, operation: str, field: str, prefix: str) -> Iterator[dict[str, Any]]:
        with _told():
            for page in self._client.get_paginator(operation).paginate(Bucket=self._bucket, Prefix=prefix):
                yield from page.get(field, [])

    def _download(self, key: str) -> Download:
        with _told(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._name(key))
        return Download(answer["ContentLength"], _received(key, answer))


def _received(key: str, answer: dict[str, Any]) -> Iterator[bytes]:
    digest = hashlib.sha256()
    with _told(), closing(answer["Body"]) as body:
        for block in body.iter_chunks(BLOCK_BYTES):
            digest.update(block)
            yield block
    found = digest.hexdigest()
    if answer["Metadata"].get(_DIGEST, found) != found:
        raise DamagedObjectError(key, "its bytes are not those that were stored.")


@contextmanager
def _told(key: str = "") -> Iterator[None]:
    """Tell a missing object, when it is of one, from a store that is away or refuses."""
    try:
        yield
    except (BotoCoreError, ClientError, S3UploadFailedError) as error:
        fault = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        if key and fault in _MISSING:
            raise ObjectNotFoundError(key) from error
        _log.warning("object_store_failed", fault=fault)
        raise UnavailableError("The object store is busy or not reachable.") from error


@cache
def _session() -> Any:
    """What boto3 reads once: its models of services, and the environment."""
    return boto3.session.Session()


def _connect(settings: Settings) -> Any:
    secret = settings.s3_secret_key
    config = Config(
        connect_timeout=settings.s3_connect_timeout_seconds,
        read_timeout=settings.s3_read_timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": settings.s3_attempts},
        max_pool_connections=_POOL_CONNECTIONS,
        signature_version="s3v4",
        s3={"addressing_style": "path" if settings.s3_path_style else "auto", "payload_signing_enabled": True},
        # newer checksums are not known to every store; the signature covers the bytes
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return _session().client(
        "s3",
        endpoint_url=settings.s3_endpoint or None,
        region_name=settings.s3_region or None,
        aws_access_key_id=settings.s3_access_key or None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=config,
    )
