"""What routes are given: the runtime, the caller, a transaction to read, an edge to write."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any, TypeVar

from fastapi import Depends, Header, Path, Query, Request, Response, Security
from fastapi.security import HTTPBearer, SecurityScopes
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service.actions import idempotency, jobs, keys
from service.actions.bulk import BulkRequest, Mode
from service.actions.idempotency import Answer, Reservation
from service.actions.keys import Caller
from service.api.problems import base_url
from service.api.schemas.base import Schema
from service.api.schemas.jobs import JobOut
from service.codecs.media import CHUNK_BYTES, Media, parse_media
from service.db.session import Database
from service.db.tables import Job
from service.errors import (
    ForbiddenError,
    NotFoundError,
    PreconditionFailedError,
    PreconditionRequiredError,
    UnauthenticatedError,
    UnsupportedMediaTypeError,
)
from service.queue.messages import Queue
from service.queue.redis import RedisQueue
from service.queue.ringing import ring
from service.security.addresses import AddressGuard
from service.security.keys import is_well_formed
from service.security.sealing import Sealer, load_or_create
from service.settings import Settings
from service.storage.local import LocalObjects
from service.storage.objects import ObjectStore

Made = TypeVar("Made")
MOST_WAIT_SECONDS = 30
_SHORTEST_POLL_SECONDS = 0.006
_LONGEST_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Runtime:
    """What one API process holds: settings and the doors to its stores."""

    settings: Settings
    database: Database
    queue: Queue
    objects: ObjectStore
    sealer: Sealer
    guard: AddressGuard

    def authenticate(self, secret: str) -> Caller:
        """The caller of a key."""
        now = utc_now()
        if not is_well_formed(secret) and not self._is_admin_key(secret):
            raise UnauthenticatedError("The API key is malformed.")
        with self.database.read() as session:
            caller = keys.authenticate(session, secret, now=now)
        if not caller.use_recorded:
            with self.database.write() as session:
                keys.record_use(session, caller, now=now)
        return caller

    def _is_admin_key(self, secret: str) -> bool:
        admin = self.settings.admin_key
        return admin is not None and admin.get_secret_value() == secret

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A write transaction whose jobs are rung once it is committed."""
        with self.database.write() as session:
            yield session
        ring(self.queue, session.info.get("rings", []))


def open_runtime(settings: Settings) -> Runtime:
    """Open the stores that the settings name."""
    secret = settings.secret_key
    sealing_key = secret.get_secret_value() if secret else load_or_create(settings.data_dir / "secret-key")
    return Runtime(
        settings=settings,
        database=Database(settings.sql_url),
        queue=RedisQueue(settings.queue_url, job_timeout_seconds=settings.job_timeout_seconds),
        objects=LocalObjects(settings.objects_dir),
        sealer=Sealer(sealing_key),
        guard=AddressGuard(settings.webhook_allow),
    )


def utc_now() -> datetime:
    """The clock of the API."""
    return datetime.now(UTC)


def runtime(request: Request) -> Runtime:
    """The runtime of this process."""
    held: Runtime = request.app.state.runtime
    return held


Held = Annotated[Runtime, Depends(runtime)]

_bearer = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="An API key, `gln_...`.")


def caller(request: Request, scopes: SecurityScopes, _: Annotated[object, Depends(_bearer)]) -> Caller:
    """The caller, who must have one of the scopes and may see the project of the path."""
    who: Caller = request.state.caller
    project_id = request.path_params.get("project_id")
    if who.project_id is not None and project_id not in {None, who.project_id}:
        raise NotFoundError("There is no such project.")
    if scopes.scopes and not who.may(*scopes.scopes):
        raise ForbiddenError(f"The key needs the scope {' or '.join(scopes.scopes)}.")
    return who


def _needs(*scopes: str) -> Any:
    return Security(caller, scopes=list(scopes))


AnyCaller = Annotated[Caller, _needs()]
Reader = Annotated[Caller, _needs("read")]
ResultReader = Annotated[Caller, _needs("read", "query:run")]
ProjectWriter = Annotated[Caller, _needs("project:write")]
PoolWriter = Annotated[Caller, _needs("pool:write")]
BulkReader = Annotated[Caller, _needs("read", "pool:write", "label:write")]
LabelWriter = Annotated[Caller, _needs("label:write")]
QueryRunner = Annotated[Caller, _needs("query:run")]
Operator = Annotated[Caller, _needs("query:run", "project:write")]
Admin = Annotated[Caller, _needs("admin")]

ProjectId = Annotated[str, Path(description="Id of the project.", examples=["prj_01jd5k3v7mq8z2x4c6b8n0m1aa"])]
JobId = Annotated[str, Path(description="Id of the job.", examples=["job_01jd5k3v7mq8z2x4c6b8n0m1aa"])]
PageSize = Annotated[int, Query(ge=1, le=1000, description="Items on a page.")]
PageToken = Annotated[str | None, Query(max_length=2000, description="`next_page_token` of the page before.")]
BulkMode = Annotated[
    Mode, Query(description="`atomic`: a bad row and nothing is stored. `partial`: the good rows are.")
]
IfMatch = Annotated[str | None, Header(description="The ETag that the change is based on.")]
Prefer = Annotated[
    str | None, Header(max_length=200, description="`wait=N` waits for the job, N seconds at most (30 at most).")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key with the same body replays the first answer for at least 24 hours.",
    ),
]


def version_of(if_match: str | None) -> int | None:
    """The version that `If-Match` names; none for `*`.

    Raises:
        PreconditionRequiredError: the header is missing.
        PreconditionFailedError: it is no ETag of ours.
    """
    if if_match is None:
        raise PreconditionRequiredError("Send `If-Match` with the ETag of the version that you read, or `*`.")
    if if_match.strip() == "*":
        return None
    number = if_match.strip().removeprefix("W/").strip('"')
    if not number.isdigit():
        raise PreconditionFailedError("`If-Match` is no ETag of this resource.")
    return int(number)


def parse_wait(prefer: str | None) -> float | None:
    """The seconds of `Prefer: wait=N`, 30 at most; none when it is not asked for. Other preferences are ignored."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        seconds = value.strip().strip('"')
        if name.strip().lower() == "wait" and seconds.isdigit():
            return float(min(int(seconds[:4]), MOST_WAIT_SECONDS))
    return None


async def wait_for_job(
    request: Request, job_id: str, *, project_id: str | None, prefer: str | None
) -> tuple[Job, dict[str, str]]:
    """The job as soon as it has ended, or as it is after the time of `Prefer`, and `Preference-Applied`.

    A server that is told to stop waits no longer.
    """
    held, stopping = runtime(request), request.app.state.stopping
    wait = parse_wait(prefer)
    headers = {} if wait is None else {"Preference-Applied": f"wait={wait:g}"}
    began = time.monotonic()
    until = began + (wait or 0.0)
    while True:
        job = await run_in_threadpool(_read_job, held, job_id, project_id)
        now = time.monotonic()
        left = until - now
        if job.finished_at is not None or left <= 0 or stopping.is_set():
            return job, headers
        # Look again after a tenth of the time waited so far: a short job is not answered late, a long one costs little.
        await asyncio.sleep(min(max((now - began) / 10, _SHORTEST_POLL_SECONDS), _LONGEST_POLL_SECONDS, left))


def _read_job(held: Runtime, job_id: str, project_id: str | None) -> Job:
    with held.database.read() as session:
        return jobs.get(session, job_id, project_id=project_id)


def read_session(held: Held) -> Iterator[Session]:
    """A transaction that only reads."""
    with held.database.read() as session:
        yield session


Reading = Annotated[Session, Depends(read_session, scope="function")]


class Edge:
    """One changing request: its Idempotency-Key, its transaction and its answer.

    The answer is kept in the transaction of the effect, and sent after the commit.
    """

    def __init__(self, held: Runtime, *, owner: str, key: str | None, request_hash: str) -> None:
        self.held = held
        self.now = utc_now()
        self.owner = owner
        self.key = key
        self.request_hash = request_hash

    def answer(
        self,
        action: Callable[[Session], Made],
        *,
        render: Callable[[Made], Schema | None],
        status: int = 200,
        headers: Callable[[Made], dict[str, str]] = lambda _: {},
        secrets: frozenset[str] = frozenset(),
    ) -> Response:
        """Do `action` in a transaction and answer with what `render` makes of its result.

        `secrets` names fields that a replayed answer leaves out.
        """
        reserved = self.reserve()
        if isinstance(reserved, Answer):
            return _replay(reserved)
        try:
            with self.held.write() as session:
                made = action(session)
                body = render(made)
                answer = Answer(status, headers(made), b"" if body is None else body.render())
                self.keep(session, reserved, answer, body=body, secrets=secrets)
        except BaseException:
            self.release(reserved)
            raise
        return respond(answer)

    def reserve(self) -> Reservation | Answer | None:
        """Reserve the request's Idempotency-Key, if it has one, in a transaction of its own."""
        if self.key is None:
            return None
        with self.held.database.write() as session:
            return idempotency.reserve(
                session, owner=self.owner, key=self.key, request_hash=self.request_hash, now=self.now
            )

    def keep(
        self,
        session: Session,
        reserved: Reservation | None,
        answer: Answer,
        *,
        body: Schema | None = None,
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        """Complete the reservation in the transaction of the effect."""
        if reserved is None:
            return
        if body is not None and secrets:
            shown = body.model_copy(update=dict.fromkeys(secrets))
            answer = Answer(answer.status, answer.headers, shown.render())
        idempotency.complete(session, reserved, answer)

    def release(self, reserved: Reservation | None) -> None:
        """Let the key be used again after a failure."""
        if reserved is not None:
            with self.held.database.write() as session:
                idempotency.release(session, reserved)


@dataclass(frozen=True, slots=True)
class BulkBody:
    """A bulk body on disk: its rows are read when it has come as a whole."""

    file: IO[bytes]
    media: Media
    mode: Mode


class BulkEdge(Edge):
    """One changing request with a bulk body. Its action opens the transactions itself."""

    def __init__(self, held: Runtime, body: BulkBody, *, owner: str, key: str | None, request_hash: str) -> None:
        super().__init__(held, owner=owner, key=key, request_hash=request_hash)
        self.body = body

    def submit(
        self,
        action: Callable[[BulkRequest, Callable[[Session, Made], None]], Made],
        project_id: str,
        *,
        render: Callable[[Made], Schema],
    ) -> Response:
        """Do `action`, which keeps its result in the transaction of the effect, and answer with what `render` makes."""
        reserved = self.reserve()
        if isinstance(reserved, Answer):
            return _replay(reserved)

        def keep(session: Session, made: Made) -> None:
            self.keep(session, reserved, Answer(200, {}, render(made).render()))

        try:
            made = action(self._request(project_id, reserved), keep)
        except BaseException:
            self.release(reserved)
            raise
        return respond(Answer(200, {}, render(made).render()))

    def _request(self, project_id: str, reserved: Reservation | None) -> BulkRequest:
        @contextmanager
        def write() -> Iterator[Session]:
            with self.held.write() as session:
                if reserved is not None:
                    idempotency.renew(session, reserved, now=utc_now())
                yield session

        return BulkRequest(
            project_id=project_id,
            body=self.body.file,
            media=self.body.media,
            mode=self.body.mode,
            read=self.held.database.read,
            write=write,
            objects=self.held.objects,
            settings=self.held.settings,
            clock=utc_now,
        )


def respond(answer: Answer) -> Response:
    """The HTTP response of an answer."""
    return Response(answer.body or None, answer.status, answer.headers, "application/json" if answer.body else None)


def _replay(answer: Answer) -> Response:
    response = respond(answer)
    response.headers["Idempotent-Replayed"] = "true"
    return response


async def accept_job(
    request: Request, writing: Edge, action: Callable[[Session], Job], *, prefer: str | None
) -> Response:
    """Queue a job and answer `202`, with the job as it is after the time of `Prefer`."""
    base = base_url(request)
    response = await run_in_threadpool(
        writing.answer,
        action,
        render=lambda job: JobOut.of(job, base),
        status=202,
        headers=lambda job: {"Location": f"/v1/jobs/{job.id}", "Retry-After": "1"},
    )
    if parse_wait(prefer) is None:
        return response
    job_id = response.headers["Location"].rpartition("/")[2]
    job, applied = await wait_for_job(request, job_id, project_id=None, prefer=prefer)
    replayed = {name: value for name, value in response.headers.items() if name == "idempotent-replayed"}
    headers = {"Location": f"/v1/jobs/{job_id}", "Retry-After": "1", **applied, **replayed}
    return Response(JobOut.of(job, base).render(), 202, headers, "application/json")


async def edge(request: Request, held: Held, who: AnyCaller, idempotency_key: IdempotencyKey = None) -> Edge:
    """The edge of an ordinary JSON request."""
    body = await request.body()
    if body and not _is_json(request.headers.get("content-type", "")):
        raise UnsupportedMediaTypeError("Send the body as `Content-Type: application/json`.")
    return Edge(held, owner=who.owner, key=idempotency_key, request_hash=request_hash(request, body))


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


def request_hash(request: Request, body: bytes, *, digest: str | None = None) -> str:
    """What makes two requests the same: method, path, query and body."""
    head = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return hashlib.sha256(head + (digest.encode() if digest else hashlib.sha256(body).digest())).hexdigest()


Writing = Annotated[Edge, Depends(edge)]


async def bulk_edge(
    request: Request,
    held: Held,
    who: AnyCaller,
    mode: BulkMode = "atomic",
    idempotency_key: IdempotencyKey = None,
) -> AsyncIterator[BulkEdge]:
    """The edge of a request with a bulk body, which is spooled: into a file without a name once it is not small."""
    media = parse_media(request.headers.get("content-type"), request.headers.get("content-encoding"))
    folder = held.settings.spool_dir
    await run_in_threadpool(folder.mkdir, parents=True, exist_ok=True)
    with SpooledTemporaryFile(max_size=CHUNK_BYTES, dir=str(folder)) as file:
        digest = await _spool(request, file)
        body = BulkBody(file, media, mode)
        hashed = request_hash(request, b"", digest=digest)
        yield BulkEdge(held, body, owner=who.owner, key=idempotency_key, request_hash=hashed)


async def _spool(request: Request, file: IO[bytes]) -> str:
    """Write the body as it comes; returns its hash."""
    digest = hashlib.sha256()
    held = bytearray()

    def write() -> None:
        digest.update(held)
        file.write(held)
        held.clear()

    async for piece in request.stream():
        held += piece
        if len(held) >= CHUNK_BYTES:
            await run_in_threadpool(write)
    write()
    file.seek(0)
    return digest.hexdigest()


BulkWriting = Annotated[BulkEdge, Depends(bulk_edge, scope="function")]
