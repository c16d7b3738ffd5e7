"""An API whose metrics are scraped as often as a test likes."""

import itertools
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from starlette.testclient import TestClient

from service.api.deps.exposition import Service
from service.api.deps.runtime import Runtime
from service.app import build
from tests.observability.promql import Scrapes
from tests.support.runtime import Api

INTERVAL_SECONDS = 60.0


@dataclass
class Watched:
    """An API, and what was scraped of it, a minute apart."""

    runtime: Runtime
    scrapes: Scrapes = field(default_factory=Scrapes)

    def __post_init__(self) -> None:
        self._counted = CollectorRegistry()
        ticks = itertools.count(0.0, INTERVAL_SECONDS)
        self._service = CollectorRegistry()
        self._service.register(Service(self.runtime, clock=lambda: next(ticks)))
        app = build(self.runtime, registry=self._counted)
        self.api = Api(self.runtime, TestClient(app, raise_server_exceptions=False))
        self.api.http.headers.update(self.api.key("admin"))

    def text(self) -> str:
        """What Prometheus would be told now."""
        return (generate_latest(self._counted) + generate_latest(self._service)).decode()

    def scrape(self) -> None:
        """Note what it is told, and that it was."""
        at = INTERVAL_SECONDS * len(self.scrapes.taken)
        self.scrapes.add(f'{self.text()}up{{job="gleaner"}} 1\n', at)
