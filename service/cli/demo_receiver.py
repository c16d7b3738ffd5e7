"""Where the demo's webhooks arrive: a receiver as an annotation tool would have one."""

import json
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError

_PATH = "/gleaner"


class DeliveryError(Exception):
    """A webhook did not come, was not signed as it should be, or told of a failure."""


class Receiver:
    """Listens on a free port of this machine, verifies what comes, and keeps it until it is asked for."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._ended: dict[str, dict[str, Any]] = {}
        self._seen: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where to send webhooks."""
        return f"http://127.0.0.1:{self._server.server_port}{_PATH}"

    @property
    def verified(self) -> int:
        """How many webhooks came, each with a good signature; a repeated one counts once."""
        return len(self._seen)

    def trust(self, secret: str) -> None:
        """Verify with this secret from now on."""
        self._server.verifier = Webhook(secret)

    def wait(self, job_id: str, seconds: float) -> dict[str, Any]:
        """Wait for the news of a job; return the webhook's `data`.

        Raises:
            DeliveryError: It did not come in time, the job failed, or a signature was wrong meanwhile.
        """
        deadline = time.monotonic() + seconds
        while job_id not in self._ended:
            try:
                arrived = self._server.arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty as error:
                raise DeliveryError(f"No webhook told of the end of {job_id} within {seconds:.0f} seconds.") from error
            self._take(arrived)
        return self._ended.pop(job_id)

    def _take(self, arrived: "tuple[str, dict[str, Any]] | WebhookVerificationError") -> None:
        if isinstance(arrived, WebhookVerificationError):
            raise DeliveryError(f"A webhook's signature is wrong: {arrived}.") from arrived
        message_id, event = arrived
        if event["type"] != "training.succeeded":
            raise DeliveryError(f"A webhook told of {event['type']}: {event['data'].get('error')}.")
        if message_id not in self._seen:
            self._seen.add(message_id)
            self._ended[event["data"]["job_id"]] = event["data"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    verifier: Webhook | None = None

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.arrived: SimpleQueue[tuple[str, dict[str, Any]] | WebhookVerificationError] = SimpleQueue()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10.0

    def do_POST(self) -> None:
        """Take a delivery."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path != _PATH or self.server.verifier is None:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        try:
            self.server.verifier.verify(body, dict(self.headers))
        except WebhookVerificationError as error:
            self._answer(HTTPStatus.BAD_REQUEST)
            self.server.arrived.put(error)
            return
        self._answer(HTTPStatus.NO_CONTENT)
        self.server.arrived.put((self.headers["webhook-id"], json.loads(body)))

    def _answer(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the interface of http.server
        """Say nothing: the progress bar has the terminal."""
