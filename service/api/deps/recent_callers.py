"""Who called a moment ago: a key is not looked up for each of the many requests that a client sends at once."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from service.actions.keys import Caller
from service.security.keys import fingerprint

_SECONDS = 2.0  # a key that another process revoked is known here for so long
_MOST = 10_000


class RecentCallers:
    """The callers of the last two seconds, over what looks a caller up.

    `find` never waits; `authenticate` does. `forget` makes what this process revokes end at once.
    """

    def __init__(self, look_up: Callable[[str], Caller], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._look_up = look_up
        self._clock = clock
        self._known: dict[str, tuple[float, Caller]] = {}

    def find(self, secret: str) -> Caller | None:
        """The caller of a key, if it was looked up a moment ago and has not expired since."""
        until, caller = self._known.get(fingerprint(secret), (0.0, None))
        if caller is None or self._clock() >= until:
            return None
        if caller.expires_at is not None and caller.expires_at <= datetime.now(UTC):
            return None
        return caller

    def authenticate(self, secret: str) -> Caller:
        """Look a caller up.

        Raises:
            UnauthenticatedError: the key is unknown, malformed, revoked or expired.
        """
        known = self._known
        until = self._clock() + _SECONDS
        caller = self._look_up(secret)
        if len(known) >= _MOST:
            known.clear()
        known[fingerprint(secret)] = until, caller  # if all were forgotten meanwhile, nobody reads this one
        return caller

    def forget(self) -> None:
        """Forget all callers."""
        self._known = {}
