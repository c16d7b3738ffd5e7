from datetime import UTC, datetime, timedelta

import pytest

from service.actions.keys import Caller
from service.api.deps.recent_callers import RecentCallers
from service.errors import UnauthenticatedError

SECRET = "gln_not_a_real_one"  # noqa: S105 - it opens nothing


class Keys:
    """Looks callers up, and counts how often."""

    def __init__(self, expires_at: datetime | None = None) -> None:
        self.caller = Caller("key_1", "key_1", frozenset({"read"}), None, expires_at, use_recorded=True)
        self.asked = 0
        self.now = 0.0
        self.revoked = False

    def look_up(self, secret: str) -> Caller:
        assert secret == SECRET
        self.asked += 1
        if self.revoked:
            raise UnauthenticatedError("The API key is unknown, expired or revoked.")
        return self.caller

    def recent(self) -> RecentCallers:
        return RecentCallers(self.look_up, clock=lambda: self.now)


def test_a_caller_is_known_for_two_seconds() -> None:
    keys = Keys()
    recent = keys.recent()
    assert recent.find(SECRET) is None
    assert recent.authenticate(SECRET) is keys.caller
    keys.now = 1.9
    assert recent.find(SECRET) is keys.caller
    keys.now = 2.0
    assert recent.find(SECRET) is None
    assert keys.asked == 1


def test_an_expired_key_is_not_found() -> None:
    recent = Keys(expires_at=datetime.now(UTC) - timedelta(seconds=1)).recent()
    recent.authenticate(SECRET)
    assert recent.find(SECRET) is None


def test_a_key_that_was_refused_is_not_kept() -> None:
    keys = Keys()
    keys.revoked = True
    recent = keys.recent()
    with pytest.raises(UnauthenticatedError):
        recent.authenticate(SECRET)
    assert recent.find(SECRET) is None


def test_what_was_looked_up_before_a_revocation_is_forgotten_too() -> None:
    keys = Keys()
    recent = keys.recent()
    recent.authenticate(SECRET)
    recent.forget()
    assert recent.find(SECRET) is None

    def revoked_meanwhile(secret: str) -> Caller:
        caller = keys.look_up(secret)
        recent.forget()
        return caller

    recent = RecentCallers(revoked_meanwhile, clock=lambda: keys.now)
    recent.authenticate(SECRET)
    assert recent.find(SECRET) is None
