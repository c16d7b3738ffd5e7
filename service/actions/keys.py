"""API keys: who may do what."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service.db.queries import keys as queries
from service.db.queries import projects
from service.db.tables import Key
from service.db.types import new_id
from service.errors import (
    ConflictError,
    FieldError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    UnauthenticatedError,
)
from service.security import keys as security

SCOPES = ("admin", "project:write", "pool:write", "label:write", "query:run", "read")
_USE_RECORDED_EVERY = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a live key."""

    key_id: str
    owner: str
    scopes: frozenset[str]
    project_id: str | None  # the only project that the key may see
    expires_at: datetime | None
    use_recorded: bool

    def may(self, *scopes: str) -> bool:
        """Whether the key has one of the scopes; admin has all."""
        return "admin" in self.scopes or not self.scopes.isdisjoint(scopes)

    def check_unrestricted(self) -> None:
        """Refuse a key that is bound to one project."""
        if self.project_id is not None:
            raise ForbiddenError("This key is bound to one project.")


def authenticate(session: Session, secret: str, *, now: datetime) -> Caller:
    """The caller of a key.

    Raises:
        UnauthenticatedError: unknown, revoked or expired; the answer is the same for all.
    """
    key = queries.by_fingerprint(session, security.fingerprint(secret))
    if key is None or not _is_live(key, now):
        raise UnauthenticatedError("The API key is unknown, expired or revoked.")
    recorded = key.last_used_at is not None and now - key.last_used_at < _USE_RECORDED_EVERY
    return Caller(key.id, key.owner, frozenset(key.scopes), key.project_id, key.expires_at, recorded)


def check_live(session: Session, key_id: str, *, now: datetime) -> None:
    """Look at the key again, for a request that lasts.

    Raises:
        UnauthenticatedError: it was revoked or has expired meanwhile.
    """
    key = queries.get(session, key_id)
    if key is None or not _is_live(key, now):
        raise UnauthenticatedError("The API key has expired or was revoked.")


def _is_live(key: Key, now: datetime) -> bool:
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > now)


def record_use(session: Session, caller: Caller, *, now: datetime) -> None:
    """Note that the key was used, about once a minute."""
    queries.used(session, caller.key_id, now)


def create(
    session: Session,
    *,
    name: str,
    scopes: list[str],
    project_id: str | None,
    expires_at: datetime | None,
    now: datetime,
    owner: str | None = None,
) -> tuple[Key, str]:
    """A new key and its secret, which is not kept."""
    if project_id is not None and projects.get(session, project_id) is None:
        raise InvalidRequestError(
            "There is no such project.", errors=[FieldError("/project_id", "unknown_project", "No such project.")]
        )
    if expires_at is not None and expires_at <= now:
        raise InvalidRequestError(
            "The key would be expired.", errors=[FieldError("/expires_at", "in_the_past", "A time to come is needed.")]
        )
    secret = security.generate()
    key = _new(secret, name=name, scopes=scopes, project_id=project_id, expires_at=expires_at, now=now, owner=owner)
    session.add(key)
    session.flush()
    return key, secret


def _new(
    secret: str,
    *,
    name: str,
    scopes: list[str],
    now: datetime,
    project_id: str | None = None,
    expires_at: datetime | None = None,
    owner: str | None = None,
) -> Key:
    key_id = new_id("key")
    return Key(
        id=key_id,
        name=name,
        fingerprint=security.fingerprint(secret),
        hint=security.hint(secret),
        owner=owner or key_id,
        scopes=scopes,
        project_id=project_id,
        created_at=now,
        expires_at=expires_at,
    )


def ensure_admin(session: Session, secret: str, *, now: datetime) -> None:
    """Make `secret` a live admin key, unless it was one before and is dead: what was revoked stays so.

    Raises:
        ConflictError: it is dead, and nobody holds another admin key.
    """
    key = queries.by_fingerprint(session, security.fingerprint(secret))
    if key is None:
        queries.add(session, _new(secret, name="admin", scopes=["admin"], now=now))
    elif not _is_admin(key, now) and not any(_is_admin(other, now) for other in queries.unbound(session)):
        raise ConflictError("The admin key was revoked or has expired, and there is no other.")


def _is_admin(key: Key, now: datetime) -> bool:
    return "admin" in key.scopes and key.project_id is None and _is_live(key, now)


def get(session: Session, key_id: str) -> Key:
    """The key, unless it was revoked.

    Raises:
        NotFoundError: it was revoked, or there is no such key.
    """
    key = _known(session, key_id)
    if key.revoked_at is not None:
        raise NotFoundError("The key was revoked. The list of keys still tells of it.")
    return key


def _known(session: Session, key_id: str) -> Key:
    key = queries.get(session, key_id)
    if key is None:
        raise NotFoundError("There is no such key.")
    return key


def page(session: Session, *, after: str | None, size: int) -> Sequence[Key]:
    """Keys in order of creation."""
    return queries.page(session, after=after, size=size)


def revoke(session: Session, key_id: str, *, now: datetime) -> None:
    """End a key at once; revoking twice is no error.

    Raises:
        ConflictError: no other admin key lives as long as this one would have.
    """
    key = _known(session, key_id)
    if _is_admin(key, now) and not any(
        _is_admin(other, now) and _outlives(other, key) for other in queries.unbound(session) if other.id != key_id
    ):
        raise ConflictError("This is the last admin key. Make another one first, or replace this one by rotating it.")
    key.revoked_at = key.revoked_at or now
    session.flush()


def _outlives(key: Key, other: Key) -> bool:
    if key.expires_at is None or other.expires_at is None:
        return key.expires_at is None
    return key.expires_at >= other.expires_at


def rotate(session: Session, key_id: str, *, overlap_seconds: int, now: datetime) -> tuple[Key, str]:
    """A successor with the same rights; the old key lives on for `overlap_seconds`.

    Raises:
        NotFoundError: it was revoked or has expired, or there is no such key.
    """
    old = get(session, key_id)
    if old.expires_at is not None and old.expires_at <= now:
        raise NotFoundError("The key has expired.")
    successor = create(
        session,
        name=old.name,
        scopes=old.scopes,
        project_id=old.project_id,
        expires_at=old.expires_at,
        now=now,
        owner=old.owner,
    )
    end = now + timedelta(seconds=overlap_seconds)
    old.expires_at = end if old.expires_at is None else min(old.expires_at, end)
    session.flush()
    return successor
