"""What a process of the API or a dispatcher holds, and its clock. No web framework: the dispatcher needs none."""

import hmac
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from service.actions import keys
from service.actions.keys import Caller
from service.actions.outdated import delete_outdated
from service.db.session import Database
from service.errors import UnauthenticatedError, UnavailableError
from service.queue.messages import Queue, timeouts
from service.queue.redis import RedisQueue
from service.queue.ringing import ring
from service.security.addresses import AddressGuard
from service.security.keys import is_well_formed
from service.security.sealing import Sealer, load_or_create
from service.settings import Settings
from service.storage.objects import ObjectStore
from service.storage.stores import open_objects

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """What one API process holds: settings and the doors to its stores."""

    settings: Settings
    database: Database
    queue: Queue
    objects: ObjectStore
    sealer: Sealer
    guard: AddressGuard
    _recording: Lock = field(default_factory=Lock, init=False, repr=False)  # one waits for the database, not each

    def __post_init__(self) -> None:
        """See that large bodies have their place."""
        self.settings.spool_dir.mkdir(parents=True, exist_ok=True)

    def authenticate(self, secret: str) -> Caller:
        """The caller of a key."""
        now = utc_now()
        if not is_well_formed(secret) and not self._is_admin_key(secret):
            raise UnauthenticatedError("The API key is malformed: a character is missing or wrong.")
        with self.database.look() as session:
            caller = keys.authenticate(session, secret, now=now)
        if not caller.use_recorded and self._recording.acquire(blocking=False):
            try:
                self._record_use(caller, now)
            finally:
                self._recording.release()
        return caller

    def _record_use(self, caller: Caller, now: datetime) -> None:
        """Note that the key was used; a request that only reads is answered though nothing can be written."""
        try:
            with self.database.write() as session:
                keys.record_use(session, caller, now=now)
        except (OperationalError, UnavailableError) as error:
            LOG.warning("the use of key %s was not recorded: %s", caller.key_id, error)

    def _is_admin_key(self, secret: str) -> bool:
        admin = self.settings.admin_key
        return admin is not None and hmac.compare_digest(admin.get_secret_value().encode(), secret.encode())

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A write transaction whose jobs are rung, and whose outdated objects are deleted, once it is committed."""
        with self.database.write() as session:
            yield session
        ring(self.queue, session.info.get("rings", []))
        delete_outdated(session, self.objects)


def open_runtime(settings: Settings, *, connections: int) -> Runtime:
    """Open the stores that the settings name, the database with so many connections at most."""
    secret = settings.secret_key
    sealing_key = secret.get_secret_value() if secret else load_or_create(settings.data_dir / "secret-key")
    return Runtime(
        settings=settings,
        database=Database(settings.sql_url, connections=connections),
        queue=RedisQueue(settings.queue_url, timeouts=timeouts(settings)),
        objects=open_objects(settings),
        sealer=Sealer(sealing_key, settings.earlier_secrets),
        guard=AddressGuard(settings.webhook_allow),
    )


def utc_now() -> datetime:
    """The clock of the API."""
    return datetime.now(UTC)
