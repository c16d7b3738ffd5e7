"""The edge of a request with a bulk body, which is spooled before anything is done with it."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated

from fastapi import Depends, Request, Response
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service.actions import idempotency
from service.actions.bulk import BulkRequest, Mode, Transaction
from service.actions.idempotency import Answer, Reservation
from service.actions.labels import Submission, Submitted
from service.api.deps.callers import caller_of
from service.api.deps.edge import Edge, Made, replay, request_hash, respond
from service.api.deps.grouping import Groups
from service.api.deps.held import runtime_of
from service.api.deps.parameters import BulkMode, IdempotencyKey
from service.api.deps.runtime import Runtime, utc_now
from service.api.schemas.base import Schema
from service.codecs.arrival import Arrival
from service.codecs.limits import Limits
from service.codecs.media import CHUNK_BYTES, Media, parse_media
from service.errors import UnavailableError
from service.metrics import ApiMetrics

LOG = logging.getLogger(__name__)
_RENEWALS = 3  # within the time of a reservation


@dataclass(frozen=True, slots=True)
class BulkBody:
    """A bulk body on disk: its rows are read when it has come as a whole."""

    file: IO[bytes]
    media: Media
    mode: Mode
    size: int


class BulkEdge(Edge):
    """One changing request with a bulk body. Its action opens the transactions itself."""

    def __init__(self, held: Runtime, body: BulkBody, *, owner: str, key: str | None, request_hash: str) -> None:
        super().__init__(held, owner=owner, key=key, request_hash=request_hash)
        self.body = body
        self._reserved: Reservation | None = None

    def reserve(self) -> Reservation | Answer | None:
        """Reserve the request's Idempotency-Key, if it has one, for as long as `stay` runs."""
        reserved = super().reserve()
        self._reserved = reserved if isinstance(reserved, Reservation) else None
        return reserved

    async def stay(self) -> None:
        """Renew the reservation again and again: a large body is read for longer than one lasts."""
        while True:
            await asyncio.sleep(self.lease.total_seconds() / _RENEWALS)
            if self._reserved is not None:
                await asyncio.to_thread(self._renew, self._reserved)  # the threads of requests may all be taken

    def _renew(self, reserved: Reservation) -> None:
        try:
            with self.held.database.write() as session:
                idempotency.renew(session, reserved, until=utc_now() + self.lease)
        except (SQLAlchemyError, UnavailableError) as error:
            LOG.warning("the reservation of an Idempotency-Key was not renewed: %s", error)

    def submit(
        self,
        action: Callable[[BulkRequest, Callable[[Session, Made], None]], Made],
        project_id: str,
        *,
        finish: Callable[[BulkRequest], None],
        render: Callable[[Made], Schema],
    ) -> Response:
        """Do `action`, which keeps its result in the transaction of the effect, and answer with what `render` makes.

        `finish` comes before an answer that is given again, and does what a lost process had left after the effect.
        """
        reserved = self.reserve()
        if isinstance(reserved, Answer):
            finish(self._request(project_id, self.held.write))
            return replay(reserved)

        def keep(session: Session, made: Made) -> None:
            self.keep(session, reserved, Answer(200, {}, render(made).render()))

        @contextmanager
        def write() -> Iterator[Session]:
            with self.held.write() as session:
                if reserved is not None:  # a writer may be kept from renewing by those that store
                    idempotency.renew(session, reserved, until=utc_now() + self.lease)
                yield session

        try:
            made = action(self._request(project_id, write), keep)
        except BaseException:
            self.release(reserved)
            raise
        return respond(Answer(200, {}, render(made).render()))

    async def submit_labels(
        self, groups: Groups[Submission, Submitted], project_id: str, *, render: Callable[[Submitted], Schema]
    ) -> Response:
        """Record a body of labels together with those that come at the same time."""
        reserved = None if self.key is None else await run_in_threadpool(self.reserve)
        if isinstance(reserved, Answer):
            return replay(reserved)

        def keep(session: Session, made: Submitted) -> None:
            if reserved is not None:
                self.keep(session, reserved, Answer(200, {}, render(made).render()))

        try:
            submission = Submission(self._request(project_id, self.held.write), keep)
            made = await groups.submit(project_id, submission, size=self.body.size)
        except BaseException:
            if reserved is not None:
                await run_in_threadpool(self.release, reserved)
            raise
        return respond(Answer(200, {}, render(made).render()))

    def _request(self, project_id: str, write: Transaction) -> BulkRequest:
        return BulkRequest(
            project_id=project_id,
            body=self.body.file,
            media=self.body.media,
            mode=self.body.mode,
            look=self.held.database.look,
            read=self.held.database.read,
            write=write,
            objects=self.held.objects,
            settings=self.held.settings,
            clock=utc_now,
        )


class BulkEdges:
    """Makes the edge of a request with a bulk body, which is spooled: into a file without a name once not small.

    It takes from the request what other edges depend on: single labels come by thousands, and each dependency of one
    costs as much as a middleware.
    """

    def __init__(self, *, tables: bool) -> None:
        self._tables = tables

    async def __call__(
        self,
        request: Request,
        mode: BulkMode = "atomic",
        idempotency_key: IdempotencyKey = None,
    ) -> AsyncIterator[BulkEdge]:
        """Spool the body of a request, when it is in a form that is read."""
        held, header = runtime_of(request), request.headers.get
        media = parse_media(header("content-type"), header("content-encoding"), tables=self._tables)
        with SpooledTemporaryFile(max_size=CHUNK_BYTES, dir=str(held.settings.spool_dir)) as file:
            arrival = Arrival(media, Limits.of(held.settings), atomic=mode == "atomic")
            digest, size = await _spool(request, file, arrival, hashed=idempotency_key is not None)
            body = BulkBody(file, media, mode, size)
            hashed = request_hash(request, b"", digest=digest)
            edge = BulkEdge(held, body, owner=caller_of(request).owner, key=idempotency_key, request_hash=hashed)
            if idempotency_key is None:
                yield edge
                return
            staying = asyncio.create_task(edge.stay())
            try:
                yield edge
            finally:
                staying.cancel()


async def _spool(request: Request, file: IO[bytes], arrival: Arrival, *, hashed: bool) -> tuple[str, int]:
    """Write the body as it comes; returns its hash, if it is `hashed`, and its size.

    A thread writes one chunk while the next one comes. A body that fits into one chunk is not watched.
    """
    digest = hashlib.sha256()
    held = bytearray()
    writing: asyncio.Task[None] | None = None

    def write(chunk: bytearray) -> None:
        if hashed:
            digest.update(chunk)
        file.write(chunk)

    try:
        async for piece in request.stream():
            held += piece
            if len(held) < CHUNK_BYTES:
                continue
            arrival.take(held)
            if writing is not None:
                await writing
            writing = asyncio.create_task(run_in_threadpool(write, held))
            held = bytearray()
    finally:
        if writing is not None:  # whatever has happened, the file stays open for it
            await writing
    write(held)
    size = file.tell()
    file.seek(0)
    return digest.hexdigest(), size


BulkWriting = Annotated[BulkEdge, Depends(BulkEdges(tables=False), scope="function")]
TableWriting = Annotated[BulkEdge, Depends(BulkEdges(tables=True), scope="function")]


async def _label_groups(request: Request) -> Groups[Submission, Submitted]:
    groups: Groups[Submission, Submitted] = request.app.state.label_groups
    return groups


LabelGroups = Annotated[Groups[Submission, Submitted], Depends(_label_groups)]


async def _metrics(request: Request) -> ApiMetrics:
    metrics: ApiMetrics = request.app.state.metrics
    return metrics


Metrics = Annotated[ApiMetrics, Depends(_metrics)]
