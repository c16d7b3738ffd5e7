"""What a route asks for of what its process holds."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from service.api.deps.runtime import Runtime


async def runtime(request: Request) -> Runtime:
    """The runtime of this process."""
    return runtime_of(request)


def runtime_of(request: Request) -> Runtime:
    """As `runtime`, of a request at hand."""
    held: Runtime = request.app.state.runtime
    return held


Held = Annotated[Runtime, Depends(runtime)]


def read_session(held: Held) -> Iterator[Session]:
    """A transaction that only reads."""
    with held.database.read() as session:
        yield session


Reading = Annotated[Session, Depends(read_session, scope="function")]
