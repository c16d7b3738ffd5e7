"""The queue in memory: for tests in one process, with the same contract as Redis."""

from collections import deque

from service.queue.messages import QUEUES, QueueUnavailableError, Ring


class MemoryQueue:
    """Keeps rings in order. `available = False` makes it behave like a server that is away."""

    def __init__(self) -> None:
        self.available = True
        self._queues: dict[str, deque[Ring]] = {name: deque() for name in QUEUES}

    def ring(self, rings: list[Ring]) -> None:
        """Put the jobs into their queues."""
        self._check()
        for ring in rings:
            self._queues[ring.queue].append(ring)

    def waiting(self) -> set[str]:
        """Return the `rq_id`s that wait in the queues now."""
        self._check()
        return {ring.rq_id for queue in self._queues.values() for ring in queue}

    def workers(self) -> dict[str, int]:
        """Nobody serves: `take` is called by tests."""
        self._check()
        return dict.fromkeys(QUEUES, 0)

    def ping(self) -> bool:
        """Say whether the queue answers."""
        return self.available

    def take(self, *queues: str) -> Ring | None:
        """Take the next ring as a worker of `queues` would, in that order; None when all are empty."""
        self._check()
        return next((self._queues[name].popleft() for name in queues or QUEUES if self._queues[name]), None)

    def _check(self) -> None:
        if not self.available:
            raise QueueUnavailableError("The queue is switched off.")
