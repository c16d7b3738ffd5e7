"""`gleaner ready`: asks a running API whether requests can be served, for health checks of containers."""

import http.client
import json
from urllib.parse import urlsplit

import click

PATIENCE_SECONDS = 3.0


def answers(url: str, *, seconds: float = PATIENCE_SECONDS) -> bool:
    """Say whether the API at `url` answers that it is ready, within `seconds` for each step."""
    return readiness(url, seconds=seconds) is not None


def readiness(url: str, *, seconds: float = PATIENCE_SECONDS) -> str | None:
    """The status that the API at `url` tells when it is ready: `ok`, or `degraded` without Redis."""
    address = urlsplit(url)
    secure = address.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=seconds)
    try:
        connection.request("GET", f"{address.path.rstrip('/')}/readyz")
        answer = connection.getresponse()
        return str(json.load(answer)["status"]) if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


@click.command()
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Where the API is.")
def ready(url: str) -> None:
    """Ask a running API whether it can serve requests; the exit code is 1 when it cannot."""
    if not answers(url):
        raise click.ClickException(f"The API at {url} is not ready.")
