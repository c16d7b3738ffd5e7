"""Leading: several dispatchers may run, one works."""

import asyncio
import secrets
import socket
import time
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from service.actions import leaders
from service.api.deps.runtime import utc_now
from service.db.session import Database
from service.dispatcher.timers import pause
from service.errors import UnavailableError
from service.telemetry import logger

_log = logger(__name__)


class Leadership:
    """The leader lease of this process.

    Args:
        database: Where the lease is kept.
        lease_seconds: How long it lasts; it is renewed at a third of that.
    """

    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        self.holder = f"{socket.gethostname()}-{secrets.token_hex(8)}"
        self.renew_seconds = lease_seconds / 3
        self._database = database
        self._lease_seconds = lease_seconds
        self._until = 0.0  # of the monotonic clock

    async def take(self) -> bool:
        """Lead from now on, or go on leading; false while another leads, or the database does not answer."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._lease_seconds):
                leads = await asyncio.to_thread(self._take)
        except (SQLAlchemyError, UnavailableError, TimeoutError) as error:
            _log.warning("lease_not_renewed", error=str(error))
            return time.monotonic() + self.renew_seconds < self._until
        self._until = started + self._lease_seconds if leads else 0.0
        return leads

    async def keep(self, stop: asyncio.Event) -> None:
        """Renew the lease until `stop`, or until it is lost."""
        while not stop.is_set():
            await pause(stop, self.renew_seconds)
            if not stop.is_set() and not await self.take():
                _log.warning("leadership_lost", holder=self.holder)
                return

    async def resign(self) -> None:
        """Give the lease up, so that another dispatcher need not wait for its end."""
        try:
            await asyncio.to_thread(self._resign)
        except (SQLAlchemyError, UnavailableError) as error:
            _log.warning("lease_not_given_up", error=str(error))

    def _take(self) -> bool:
        now = utc_now()
        until = now + timedelta(seconds=self._lease_seconds)
        with self._database.write() as session:
            return leaders.lead(session, leaders.DISPATCHER, holder=self.holder, until=until, now=now)

    def _resign(self) -> None:
        with self._database.write() as session:
            leaders.resign(session, leaders.DISPATCHER, holder=self.holder)
