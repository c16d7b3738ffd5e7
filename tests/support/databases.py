"""On which database the tests run, and how many transactions are open on it at the same time."""

import os
from threading import Lock

from sqlalchemy import Engine, event


def default_kind() -> str:
    """`sqlite` or `postgresql`, as `GLEANER_TEST_DATABASE` says."""
    kind = os.environ.get("GLEANER_TEST_DATABASE", "sqlite")
    assert kind in {"sqlite", "postgresql"}, f"GLEANER_TEST_DATABASE is sqlite or postgresql, not {kind}"
    return kind


class OpenTransactions:
    """Counts the transactions of an engine that are open, each on a connection of its own.

    Attributes:
        most: That were open at the same time.
    """

    def __init__(self, engine: Engine) -> None:
        self.most = 0
        self._open = 0
        self._turn = Lock()
        event.listen(engine, "begin", self._begun)
        event.listen(engine, "commit", self._ended)
        event.listen(engine, "rollback", self._ended)

    def _begun(self, _connection: object) -> None:
        with self._turn:
            self._open += 1
            self.most = max(self.most, self._open)

    def _ended(self, _connection: object) -> None:
        with self._turn:
            self._open -= 1
