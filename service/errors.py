"""Everything that can be answered as a problem (RFC 9457).

A class holds what is always true of an error (status, stable name, title, meaning); an instance holds the sentence for
this case. `api/problems.py` renders them, `GET /problems/{name}` explains them, OpenAPI lists them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field: where (JSON pointer), a stable code and a sentence that never echoes the input.

    `line` (1-based) and `id` name the row of a bulk body.
    """

    pointer: str
    code: str
    detail: str
    line: int | None = None
    id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; row coordinates only where there are some."""
        row = {"line": self.line, "id": self.id} if self.line is not None else {}
        return {**row, "pointer": self.pointer, "code": self.code, "detail": self.detail}


class GleanerError(Exception):
    """Base of every error with an HTTP answer."""

    status: ClassVar[int] = 500
    name: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    meaning: ClassVar[str] = "Something failed on our side. The request id finds it in the logs."

    def __init__(
        self,
        detail: str,
        *,
        errors: list[FieldError] | None = None,
        headers: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or []
        self.headers = headers or {}
        self.extra = extra or {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[GleanerError], args: tuple[str, ...], state: dict[str, Any]) -> GleanerError:
    """An error that came from another process; its class may build the sentence from other arguments."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class MalformedRequestError(GleanerError):
    """Malformed request."""

    status, name, title = 400, "malformed-request", "Malformed request"
    meaning = (
        "The body is not what its media type says (broken JSON, CSV, Arrow, Parquet, gzip or zstd), or a "
        "parameter such as a page token is damaged."
    )


class UnauthenticatedError(GleanerError):
    """Authentication required."""

    status, name, title = 401, "unauthenticated", "Authentication required"
    meaning = "Send `Authorization: Bearer gln_...` with a key that exists, has not expired and was not revoked."


class ForbiddenError(GleanerError):
    """Not allowed."""

    status, name, title = 403, "forbidden", "Not allowed"
    meaning = (
        "The key is valid but lacks a scope that this operation needs. The detail names it; an admin can make "
        "such a key."
    )


class NotFoundError(GleanerError):
    """Not found."""

    status, name, title = 404, "not-found", "Not found"
    meaning = "Nothing that this key may see has this path or id."


class MethodNotAllowedError(GleanerError):
    """Method not allowed."""

    status, name, title = 405, "method-not-allowed", "Method not allowed"
    meaning = "The path exists, but not with this method. `Allow` names those that do."


class NotAcceptableError(GleanerError):
    """Not acceptable."""

    status, name, title = 406, "not-acceptable", "Not acceptable"
    meaning = "None of the media types in `Accept` can be produced here."


class RequestTimeoutError(GleanerError):
    """Request timeout."""

    status, name, title = 408, "request-timeout", "Request timeout"
    meaning = (
        "The head or the body of the request came slower than the operator allows (GLEANER_HEAD_TIMEOUT_SECONDS, "
        "GLEANER_MIN_BYTES_PER_SECOND). Nothing was stored."
    )


class ConflictError(GleanerError):
    """Conflict."""

    status, name, title = 409, "conflict", "Conflict"
    meaning = "The request does not fit the present state of the resource. The detail says what to do."


class IdempotencyInProgressError(GleanerError):
    """The first request is still running."""

    status, name, title = 409, "idempotency-in-progress", "The first request is still running"
    meaning = "A request with the same Idempotency-Key has not been answered yet. Try again after `Retry-After`."


class JobNotSucceededError(GleanerError):
    """The job did not succeed."""

    status, name, title = 409, "job-not-succeeded", "The job did not succeed"
    meaning = "The job failed or was cancelled, so it has no batch. The job itself says why."


class ProjectPausedError(GleanerError):
    """The project is paused."""

    status, name, title = 409, "project-paused", "The project is paused"
    meaning = (
        "No batch, no lease and no training begins in a paused project; labels and uploads are taken. "
        '`PATCH` the project with `{"paused": false}` to go on.'
    )

    def __init__(self) -> None:
        super().__init__('The project is paused. Send `{"paused": false}` by PATCH to go on.')


class RemovedError(GleanerError):
    """Removed."""

    status, name, title = 410, "removed", "Removed"
    meaning = (
        "It was there, and was removed when the time was over for which the operator keeps what has served. The detail "
        "names the setting."
    )


class PreconditionFailedError(GleanerError):
    """Precondition failed."""

    status, name, title = 412, "precondition-failed", "Precondition failed"
    meaning = "`If-Match` does not name the present version. Read the resource again and repeat the change."


class PayloadTooLargeError(GleanerError):
    """Payload too large."""

    status, name, title = 413, "payload-too-large", "Payload too large"
    meaning = (
        "The body, one row of it, or what it decompresses to is over the limit that the detail names. Send it "
        "in parts, or as NDJSON."
    )


class UnsupportedMediaTypeError(GleanerError):
    """Unsupported media type."""

    status, name, title = 415, "unsupported-media-type", "Unsupported media type"
    meaning = (
        "The Content-Type or Content-Encoding is missing or not one that this operation reads. The detail lists them."
    )


class InvalidRequestError(GleanerError):
    """Invalid request."""

    status, name, title = 422, "invalid-request", "Invalid request"
    meaning = "A field has a wrong value, is missing or is unknown. `errors` points at each."


class RowsRejectedError(GleanerError):
    """Rows rejected."""

    status, name, title = 422, "rows-rejected", "Rows rejected"
    meaning = (
        "Rows of a bulk body are bad and the mode is atomic, so nothing was stored. Mend them, or send `?mode=partial`."
    )


class IdempotencyMismatchError(GleanerError):
    """Idempotency-Key reused."""

    status, name, title = 422, "idempotency-mismatch", "Idempotency-Key reused"
    meaning = "The Idempotency-Key was used with another body or path. Use a new key for a new request."


class UnsupportedFeatureError(GleanerError):
    """Not supported by this release."""

    status, name, title = 422, "unsupported-feature", "Not supported by this release"
    meaning = (
        "The request is well formed, but this release does not offer what it asks for. The detail names what "
        "is offered."
    )


class PreconditionRequiredError(GleanerError):
    """Precondition required."""

    status, name, title = 428, "precondition-required", "Precondition required"
    meaning = "Send `If-Match` with the ETag of the version that you read, so that no other change is overwritten."


class TooManyRequestsError(GleanerError):
    """Too many requests."""

    status, name, title = 429, "too-many-requests", "Too many requests"
    meaning = "Wait for `Retry-After` seconds."


class HeadTooLargeError(GleanerError):
    """Request head too large."""

    status, name, title = 431, "head-too-large", "Request head too large"
    meaning = "The URL and the headers together are larger than the server takes, or there are too many headers."


class UnavailableError(GleanerError):
    """Temporarily unavailable."""

    status, name, title = 503, "unavailable", "Temporarily unavailable"
    meaning = (
        "A store or process that this needs is not reachable, or busy, or too many connections are open. Wait for "
        "`Retry-After` seconds."
    )


class WorkerLostError(GleanerError):
    """Worker lost."""

    status, name, title = 500, "worker-lost", "Worker lost"
    meaning = (
        "The process that ran the job ended or fell silent, in every attempt. The detail says how the last one ended; "
        "a signal SIGKILL that nobody sent comes from the kernel when the machine's memory runs out."
    )


class JobTimedOutError(GleanerError):
    """Job timed out."""

    status, name, title = 500, "job-timed-out", "Job timed out"
    meaning = (
        "The job ran longer than the operator allows (GLEANER_JOB_TIMEOUT_SECONDS, for queries and predictions "
        "GLEANER_QUERY_TIMEOUT_SECONDS)."
    )


class JobOutOfMemoryError(GleanerError):
    """Job out of memory."""

    status, name, title = 500, "job-out-of-memory", "Job out of memory"
    meaning = (
        "The job needed more memory than the machine has or the operator allows (GLEANER_JOB_MEMORY_MIB, for queries, "
        "predictions, agreement and exports GLEANER_QUERY_MEMORY_MIB). It is not tried again, as the same would happen."
    )


class DamagedObjectError(GleanerError):
    """Damaged object."""

    status, name, title = 500, "damaged-object", "Damaged object"
    meaning = (
        "A file in the object storage is not what was written there; nothing of it was used. The detail names it. "
        "`gleaner check --repair` drops what is derived, which is then made again; vectors come from a backup or a new "
        "upload, models from a new training."
    )

    def __init__(self, key: str, fault: str) -> None:
        super().__init__(f"The object {key} is damaged: {fault}")


class ModelDivergedError(GleanerError):
    """The model gives no numbers."""

    status, name, title = 500, "model-diverged", "The model gives no numbers"
    meaning = (
        "Probabilities of a model, or figures made of them, are not numbers, so nothing was stored. Train again, "
        "activate another model version, or look for examples with values far beyond all others."
    )


def catalogue() -> dict[str, type[GleanerError]]:
    """Every kind of problem by its name."""
    kinds: list[type[GleanerError]] = [GleanerError, *_subclasses(GleanerError)]
    return {kind.name: kind for kind in kinds}


def _subclasses(kind: type[GleanerError]) -> Iterator[type[GleanerError]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
