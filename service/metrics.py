"""What the processes of the API count: in base units, with labels that have few values.

Within one process the counts are in a registry. Where several processes serve, they are in files that
`service.api.deps.exposition` adds up: `prometheus_client` decides when it is imported, by `PROMETHEUS_MULTIPROC_DIR`.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "none"  # of a request that was refused before, or has no route: paths are as many as clients like


class ApiMetrics:
    """Requests, and the rows that they brought."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "gleaner_http_requests", "Requests that were answered.", ("method", "route", "status"), registry=registry
        )
        self._durations = Histogram(
            "gleaner_http_request_duration_seconds",
            "From the head of a request to the end of its answer, which may be waited for.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "gleaner_http_requests_in_flight",
            "Requests that are being answered.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._labels = Counter("gleaner_labels_ingested", "Labels that clients created or changed.", registry=registry)
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}  # found faster than by the library
        self._examples = Counter(
            "gleaner_examples_ingested", "Examples that clients created or changed.", registry=registry
        )

    def began(self) -> None:
        """Count a request that comes."""
        self._in_flight.inc()

    def ended(self, method: str, route: str, status: int, *, seconds: float) -> None:
        """Count a request whose answer is sent, or cannot be."""
        self._in_flight.dec()
        key = (method if method in _METHODS else "other", route, status)
        series = self._series.get(key)
        if series is None:
            series = self._requests.labels(*map(str, key)), self._durations.labels(*key[:2])
            self._series[key] = series
        series[0].inc()
        series[1].observe(seconds)

    def stored_labels(self, count: int) -> None:
        """Count labels that were committed."""
        self._labels.inc(count)

    def stored_examples(self, count: int) -> None:
        """Count examples that were committed."""
        self._examples.inc(count)
