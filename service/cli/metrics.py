"""Metrics on a listener of their own, for whoever watches the service."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from prometheus_client import start_http_server

from service.api.deps.exposition import Processes, Service, exposition, hasty
from service.api.deps.runtime import open_runtime
from service.settings import Settings


@contextmanager
def listening(settings: Settings, folder: Path) -> Iterator[None]:
    """Answer on `GLEANER_METRICS_ADDRESS` during the block, in which the API processes count in files in `folder`.

    Without a key, which cannot be looked up while SQL is away: so not on the API's own address, where strangers need
    one.

    Raises:
        click.ClickException: The address cannot be listened on.
    """
    host, _, port = settings.metrics_address.rpartition(":")
    runtime = open_runtime(hasty(settings), connections=1)  # scrapes take turns
    registry = exposition(Processes(folder), Service(runtime))
    try:
        server, _ = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise click.ClickException(f"Cannot listen on GLEANER_METRICS_ADDRESS: {reason}.") from error
    try:
        yield
    finally:
        server.shutdown()
