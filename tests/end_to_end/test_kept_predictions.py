"""Predictions that were acknowledged are there, however often the API was killed between them."""

import signal
import threading
import time
from itertools import count

import httpx
import numpy as np
import pytest

from tests.support import processes
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.stack import Stack, points, running

pytestmark = pytest.mark.processes
ROWS, BODY, KILLS = 60, 15, 3


class Killer(threading.Thread):
    """Kills the API again and again, a moment after it came back."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.kills = 0
        self._stack = stack
        self._ended = threading.Event()
        self._rng = np.random.default_rng(1)

    def run(self) -> None:
        while self.kills < KILLS and not self._ended.wait(self._rng.uniform(0.1, 0.6)):
            if _answers(self._stack):
                pids = processes.role(self._stack.folder, "serve")
                processes.send(pids, signal.SIGKILL)
                self.kills += len(pids)

    def end(self) -> None:
        self._ended.set()
        self.join()


def _answers(stack: Stack) -> bool:
    try:
        return stack.client.http.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def _upload(stack: Stack, project_id: str, first: int, share: float) -> None:
    """Send predictions of some rows until they are acknowledged, as one request."""
    said = [{"id": f"e{n}", "probabilities": [share, 1 - share, 0, 0]} for n in range(first, first + BODY)]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            answer = stack.client.http.post(
                f"/v1/projects/{project_id}/predictions?model=mine",
                json={"predictions": said},
                headers={"Idempotency-Key": f"{first}-{share}"},
            )
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        if answer.status_code == 200:
            assert answer.json()["received"] == BODY
            return
        assert answer.status_code in {409, 503}, answer.text  # the killed one's reservation has not run out
        time.sleep(0.1)
    raise AssertionError("an upload was never acknowledged")


def test_acknowledged_predictions_outlive_the_kills_of_the_api() -> None:
    with running("--workers", "1", idempotency_lease_seconds=1) as stack:
        project_id = stack.client.project()
        assert stack.client.upload(project_id, points(ROWS)[0]).status_code == 200
        killer = Killer(stack)
        killer.start()
        kept: dict[int, float] = {}
        try:
            for number in count():  # each row again and again: the last one counts
                killed_enough = killer.kills >= KILLS  # asked before: the last kill may follow an upload's answer
                first, share = number * BODY % ROWS, number / 1000
                _upload(stack, project_id, first, share)
                kept |= dict.fromkeys(range(first, first + BODY), share)
                if len(kept) == ROWS and killed_enough:
                    break
        finally:
            killer.end()
        path = f"/v1/projects/{project_id}"
        assert stack.client.http.post(f"{path}/models/1/activate").json()["serving"]
        found = {
            n: stack.client.http.get(f"{path}/examples/e{n}").json()["prediction"]["probabilities"]["0"] for n in kept
        }
        assert found == pytest.approx(kept)
