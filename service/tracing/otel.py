"""Spans in OpenTelemetry: the extra `otel`. Nothing imports this module before traces are wanted."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.tracing.context import HEADER, Kind, Span

_KINDS = {
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
}
_FORM = TraceContextTextMapPropagator()


class _Recorded(Span):
    """A span that OpenTelemetry keeps."""

    def __init__(self, kept: OtelSpan) -> None:
        carrier: dict[str, str] = {}
        _FORM.inject(carrier, set_span_in_context(kept))
        super().__init__(carrier[HEADER])
        self._kept = kept

    def tell(self, name: str | None = None, /, **attributes: str | int | None) -> None:
        """Name the work, or say more of it."""
        if name is not None:
            self._kept.update_name(name)
        self._kept.set_attributes({key: value for key, value in attributes.items() if value is not None})


class OtelRecorder:
    """Keeps spans with a provider of OpenTelemetry."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("gleaner", version("gleaner"))

    @contextmanager
    def open(self, name: str, kind: Kind, parent: str | None) -> Iterator[Span]:
        """Begin a span below `parent`, or a trace; it ends with the block, of whose exception it notes the type.

        What an exception says may hold what clients sent, and secrets: that is in the log, which conceals these.
        """
        context = _FORM.extract({HEADER: parent}) if parent else Context()
        with self._tracer.start_as_current_span(
            name, context=context, kind=_KINDS[kind], record_exception=False, set_status_on_exception=False
        ) as kept:
            try:
                yield _Recorded(kept)
            except Exception as error:
                kept.add_event("exception", {"exception.type": type(error).__qualname__})
                kept.set_status(StatusCode.ERROR)
                raise


def exporting(role: str) -> TracerProvider:
    """A provider that sends spans where the `OTEL_*` variables say."""
    ours = Resource.create({"service.name": "gleaner", "service.version": version("gleaner"), "gleaner.role": role})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
