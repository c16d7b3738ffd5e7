"""API keys."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from service.actions import keys
from service.api.deps.callers import Admin, Recent
from service.api.deps.edge import Writing
from service.api.deps.held import Reading
from service.api.deps.parameters import PageSize, PageToken
from service.api.problems import BODY, responses
from service.api.schemas.base import Page, decode_token
from service.api.schemas.keys import KeyIn, KeyOut, KeyWithSecret, RotationIn
from service.db.tables import Key
from service.errors import (
    ConflictError,
    IdempotencyMismatchError,
    MalformedRequestError,
    NotFoundError,
)

router = APIRouter(prefix="/v1/keys", tags=["keys"])

KeyId = Annotated[str, Path(description="Id of the key.", examples=["key_01jd5k3v7mq8z2x4c6b8n0m1aa"])]

_SECRET = frozenset({"key"})


def _with_secret(made: tuple[Key, str]) -> KeyWithSecret:
    key, secret = made
    return KeyWithSecret(**KeyOut.model_validate(key).model_dump(), key=secret)


def _location(made: tuple[Key, str]) -> dict[str, str]:
    return {"Location": f"/v1/keys/{made[0].id}"}


@router.post(
    "",
    operation_id="createKey",
    summary="Create a key",
    status_code=201,
    response_model=KeyWithSecret,
    responses=responses(*BODY, ConflictError, IdempotencyMismatchError),
)
def create_key(body: KeyIn, _: Admin, writing: Writing) -> Response:
    """The answer holds the key itself, which is never shown again; only its fingerprint is kept."""
    return writing.answer(
        lambda session: keys.create(session, **body.model_dump(), now=writing.now),
        render=_with_secret,
        status=201,
        headers=_location,
        secrets=_SECRET,
    )


@router.get("", operation_id="listKeys", summary="List keys", responses=responses(MalformedRequestError))
def list_keys(_: Admin, session: Reading, page_size: PageSize = 100, page_token: PageToken = None) -> Page[KeyOut]:
    """In order of creation, also those that were revoked or have expired."""
    tied = {"list": "keys"}
    found = keys.page(session, after=decode_token(page_token, **tied), size=page_size + 1)
    return Page.of(found, page_size, show=KeyOut.model_validate, position=lambda key: key.id, tied=tied)


@router.get("/{key_id}", operation_id="getKey", summary="Get a key", responses=responses(NotFoundError))
def get_key(key_id: KeyId, _: Admin, session: Reading) -> KeyOut:
    """Without the key itself. One that was revoked is told in the list alone."""
    return KeyOut.model_validate(keys.get(session, key_id))


@router.delete(
    "/{key_id}",
    operation_id="revokeKey",
    summary="Revoke a key",
    status_code=204,
    responses=responses(NotFoundError, ConflictError),
)
def revoke_key(key_id: KeyId, _: Admin, writing: Writing, recent: Recent) -> Response:
    """It ends at once. Revoking twice is no error. The last admin key cannot be revoked, only rotated."""
    answer = writing.answer(
        lambda session: keys.revoke(session, key_id, now=writing.now), render=lambda _: None, status=204
    )
    recent.forget()
    return answer


@router.post(
    "/{key_id}/rotate",
    operation_id="rotateKey",
    summary="Replace a key",
    status_code=201,
    response_model=KeyWithSecret,
    responses=responses(*BODY, NotFoundError, ConflictError, IdempotencyMismatchError),
)
def rotate_key(key_id: KeyId, _: Admin, writing: Writing, recent: Recent, body: RotationIn | None = None) -> Response:
    """A successor with the same rights; the old key lives on for `overlap_seconds`."""
    overlap = (body or RotationIn()).overlap_seconds
    answer = writing.answer(
        lambda session: keys.rotate(session, key_id, overlap_seconds=overlap, now=writing.now),
        render=_with_secret,
        status=201,
        headers=_location,
        secrets=_SECRET,
    )
    recent.forget()
    return answer
