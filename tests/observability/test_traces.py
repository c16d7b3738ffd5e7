"""Spans in OpenTelemetry link a request, the job that it queued, the worker's run and the webhook."""

import asyncio
import gzip
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.api.deps.runtime import Runtime
from service.settings import traces_wanted
from service.tracing import context
from service.tracing.otel import OtelRecorder
from tests.dispatcher.receivers import attempted, receiver, run, sending, subscribe, until
from tests.observability.test_logs import SENT, TRACE, ask
from tests.support.runtime import Api, make_runtime
from tests.support.working import drain

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = make_runtime(tmp_path, webhook_allow="127.0.0.0/8", dispatcher_tick_seconds=0.02)
    yield made
    made.database.close()


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    context.install(OtelRecorder(provider))
    yield kept
    context.uninstall()
    provider.shutdown()


def test_each_step_is_below_the_one_that_caused_it(api: Api, spans: InMemorySpanExporter) -> None:
    project_id = api.project()
    received: list[str] = []

    async def scenario() -> None:
        async with receiver() as to:
            webhook_id, _ = subscribe(api.runtime, to.url, "query.succeeded", project_id=project_id)
            await asyncio.to_thread(ask, api, project_id, traceparent=SENT)
            await asyncio.to_thread(drain, api.runtime)
            async with sending(api.runtime):
                await until(attempted(api.runtime, webhook_id, 1))
            received.append(to.received[0].headers["traceparent"])

    run(scenario)
    steps = {
        span.name: span
        for span in spans.get_finished_spans()
        if span.context is not None and f"{span.context.trace_id:032x}" == TRACE
    }
    names = ["POST /v1/projects/{project_id}/queries", "queue query", "run query", "send query.succeeded"]
    assert sorted(steps) == sorted(names)
    below = SENT[36:52]
    for name in names:
        span = steps[name]
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == below
        assert span.context is not None
        below = f"{span.context.span_id:016x}"
    assert received == [f"00-{TRACE}-{below}-01"]
    assert dict(steps[names[0]].attributes or {})["http.response.status_code"] == 202
    assert dict(steps[names[2]].attributes or {})["project_id"] == project_id


def test_a_fault_is_noted_in_its_span(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="hush"), context.span("work", "consumer"):
        raise ValueError("hush")
    (span,) = spans.get_finished_spans()
    assert not span.status.is_ok
    assert dict(span.events[0].attributes or {}) == {"exception.type": "ValueError"}
    assert "hush" not in span.to_json()  # what clients sent may be in the words of an exception


def test_without_variables_nothing_that_records_is_loaded() -> None:
    code = (
        "import sys, service.app, service.dispatcher.main, workers.jobs.runner\n"
        "from service.tracing.starting import start\n"
        "start('serve')()\n"
        "print([name for name in sys.modules if name.startswith(('service.tracing.otel', 'opentelemetry.exporter'))])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
    ],
)
def test_the_standard_variables_decide(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, wanted: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert traces_wanted() is wanted


class _Collector(BaseHTTPRequestHandler):
    """Takes spans."""

    taken: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:  # the interface of http.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append((self.path, gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # same
        """Say nothing."""


def test_spans_reach_a_collector_before_a_sudden_end() -> None:
    code = (
        "import os; from service.tracing.context import span; from service.tracing.starting import start\n"
        "send = start('worker')\n"
        "with span('run query', 'consumer') as made: made.tell(job_id='job_1')\n"
        "send(); os._exit(0)"
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        Thread(target=server.serve_forever).start()
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "OTEL_SERVICE_NAME": "ours",
        }
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=ROOT)
        server.shutdown()
    ((path, body),) = _Collector.taken
    assert path == "/v1/traces"
    assert all(word in body for word in (b"run query", b"job_1", b"ours", b"gleaner.role"))


def test_a_collector_that_is_away_keeps_nobody_waiting() -> None:
    code = (
        "import os; from service.tracing.context import span; from service.tracing.starting import start\n"
        "send = start('worker')\n"
        "with span('run query', 'consumer'): pass\n"
        "from tests.support.stopwatch import Stopwatch\n"
        "with Stopwatch() as sending: send()\n"
        "print(sending.seconds, flush=True); os._exit(0)"
    )
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, cwd=ROOT)
    assert float(told.stdout) < 2
