"""Which trace the work of the moment belongs to.

It is taken from a request, kept with the jobs and deliveries that the request leads to, and sent with webhooks, in the
form of `traceparent` (W3C, Trace Context, https://www.w3.org/TR/trace-context/). Spans are recorded only when a
recorder is installed; without one, what is kept and sent is what the client sent, or one that says "not recorded".
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, Protocol

from service.chance import bits

HEADER = "traceparent"
_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)

Kind = Literal["server", "producer", "consumer", "client"]


@dataclass(slots=True)
class Span:
    """A piece of work in a trace. What it is told goes nowhere, unless a recorder made it."""

    traceparent: str

    @property
    def trace_id(self) -> str:
        """Of the whole trace: 32 hexadecimal digits."""
        return self.traceparent[3:35]

    def tell(self, name: str | None = None, /, **attributes: str | int | None) -> None:
        """Name the work, or say more of it."""


class Recorder(Protocol):
    """Keeps spans."""

    def open(self, name: str, kind: Kind, parent: str | None) -> AbstractContextManager[Span]:
        """Begin a span below `parent`, or a trace; it ends with the block, whose exception it notes."""


class _NoRecorder:
    """Keeps nothing: work below a `traceparent` has the same one."""

    def open(self, name: str, kind: Kind, parent: str | None) -> AbstractContextManager[Span]:
        del name, kind
        return nullcontext(Span(parent or _not_recorded()))


def _not_recorded() -> str:
    """A new trace that nobody records."""
    digits = f"{bits(192):048x}"
    return f"00-{digits[:32]}-{digits[32:]}-00"


@dataclass
class _Installed:
    recorder: Recorder


_installed = _Installed(_NoRecorder())


def install(recorder: Recorder) -> None:
    """Record the spans of this process from now on."""
    _installed.recorder = recorder


def uninstall() -> None:
    """Record no more."""
    _installed.recorder = _NoRecorder()


def taken_up(header: str) -> str | None:
    """What a client says its trace is; none when that is in no form that can be passed on."""
    return header if _FORM.fullmatch(header) else None


def current() -> str | None:
    """The `traceparent` of the work of the moment."""
    return _current.get()


@contextmanager
def span(name: str, kind: Kind, *, parent: str | None = None) -> Iterator[Span]:
    """Do the block as a piece of work below `parent` (else below the work of the moment)."""
    with _installed.recorder.open(name, kind, parent or current()) as made:
        token = _current.set(made.traceparent)
        try:
            yield made
        finally:
            _current.reset(token)
