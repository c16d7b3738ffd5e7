"""Parameters that several routes take, declared once."""

import re
from typing import Annotated

from fastapi import Depends, Header, Path, Query

from service.actions.bulk import Mode
from service.api.schemas.base import Nothing, natural
from service.errors import (
    PreconditionFailedError,
    PreconditionRequiredError,
)


async def _no_fields(body: Nothing | None = None) -> None:
    """Refuse a body with anything in it."""


NO_FIELDS = [Depends(_no_fields)]
"""For routes whose body may be left out and holds nothing."""

ProjectId = Annotated[str, Path(description="Id of the project.", examples=["prj_01jd5k3v7mq8z2x4c6b8n0m1aa"])]
Version = Annotated[int, Path(ge=1, lt=2**31, description="Version of the model.")]
JobId = Annotated[str, Path(description="Id of the job.", examples=["job_01jd5k3v7mq8z2x4c6b8n0m1aa"])]
PageSize = Annotated[int, Query(ge=1, le=1000, description="Items on a page.")]
PageToken = Annotated[str | None, Query(max_length=2000, description="`next_page_token` of the page before.")]
BulkMode = Annotated[
    Mode, Query(description="`atomic`: a bad row and nothing is stored. `partial`: the good rows are.")
]
IfMatch = Annotated[str | None, Header(description="The ETag that the change is based on.")]
Prefer = Annotated[str | None, Header(description="`wait=N` waits for the job, N seconds at most (30 at most).")]
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
    quoted = re.fullmatch(r'"([^"]*)"', if_match.strip())
    number = natural(quoted.group(1)) if quoted else None
    if number is None:
        raise PreconditionFailedError("`If-Match` is no ETag of this resource.")
    return number
