"""The receiver of the webhooks, which sometimes refuses the first attempt."""

import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.chaos.history import History

_REFUSED = 0.1


class Receiver:
    """Writes every delivery into the history, also those that it answers with 500.

    Args:
        history: Where to write.
        rng: Which ids are refused once.
    """

    def __init__(self, history: History, rng: random.Random) -> None:
        self._seen: set[str] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the interface of http.server
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                webhook_id = self.headers["webhook-id"]
                refused = webhook_id not in receiver._seen and rng.random() < _REFUSED  # its own class
                receiver._seen.add(webhook_id)  # its own class
                status = 500 if refused else 204
                history.add(
                    "delivery",
                    project=body["data"]["project_id"],
                    id=webhook_id,
                    type=body["type"],
                    sequence=body["sequence"],
                    job_id=body["data"]["job_id"],
                    status=status,
                )
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the interface of http.server
                """Say nothing: the history tells it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
