"""Whether a process records its spans, which the `OTEL_*` variables say."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from threading import Thread
from types import ModuleType
from typing import Any

from service.settings import traces_wanted
from service.telemetry import logger
from service.tracing.context import install

_PATIENCE_SECONDS = 0.5
_log = logger(__name__)


def load() -> ModuleType | None:
    """Import what records spans, if that is wanted: who forks for each piece of work does so before."""
    if not traces_wanted():
        return None
    try:
        return import_module("service.tracing.otel")
    except ModuleNotFoundError as error:
        _log.warning("traces_off", missing=error.name, remedy="Install gleaner[otel], or unset OTEL_*.")
        return None


def start(role: str) -> Callable[[], object]:
    """Record the spans of this process if that is wanted; returns what sends those that wait, before a sudden end."""
    otel = load()
    if otel is None:
        return lambda: None
    provider = otel.exporting(role)
    install(otel.OtelRecorder(provider))
    return partial(_send, provider)


def _send(provider: Any) -> None:
    """Send what waits. The library tries for ten seconds whatever it is told, and nobody is to wait for a collector."""
    sending = Thread(target=provider.force_flush, daemon=True)
    sending.start()
    sending.join(_PATIENCE_SECONDS)
