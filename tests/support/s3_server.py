"""A server with the protocol of S3, in this process."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from service.settings import Settings
from service.storage.objects import ObjectStore
from service.storage.stores import open_objects

BUCKET = "gleaner-tests"
REGION = "us-east-1"
ACCESS_KEY, SECRET_KEY = "access-of-tests", "secret-of-tests"


@dataclass(frozen=True)
class S3Server:
    """Where it listens, and a client of it that is not ours."""

    endpoint: str
    client: Any

    def settings(self) -> dict[str, Any]:
        """Settings that name a new, empty place on it."""
        return {
            "objects_url": f"s3://{BUCKET}/tests/{secrets.token_hex(8)}",
            "s3_endpoint": self.endpoint,
            "s3_region": REGION,
            "s3_access_key": ACCESS_KEY,
            "s3_secret_key": SECRET_KEY,
            "s3_path_style": True,
        }


def store_away(folder: Path) -> ObjectStore:
    """A store at which nobody answers."""
    settings = {"objects_url": "s3://bucket", "s3_endpoint": "http://127.0.0.1:1", "s3_attempts": 1}
    keys = {"s3_access_key": ACCESS_KEY, "s3_secret_key": SECRET_KEY}
    return open_objects(Settings(data_dir=folder, **settings, **keys))  # type: ignore[arg-type]


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """Run a server with one bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
        client.create_bucket(Bucket=BUCKET)
        yield S3Server(endpoint, client)
        client.close()
    finally:
        server.stop()
