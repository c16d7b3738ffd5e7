"""A lean HTTP client: the load generator shares the cores with what it measures."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np
import orjson

HONEST = {429, 503}
"""Answers of a service that is at its limit, and says so."""


@dataclass
class Figures:
    """What the calls of one kind met with; latencies in seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def add(self, status: int, seconds: float) -> None:
        """Count one call; status 0: the connection broke."""
        self.statuses[status] += 1
        self.latencies.append(seconds)

    @property
    def errors(self) -> int:
        """Calls that neither succeeded nor were refused honestly."""
        return sum(n for status, n in self.statuses.items() if not (200 <= status < 300 or status in HONEST))

    def milliseconds(self, percent: float) -> float:
        """A percentile of the latencies."""
        return round(float(np.percentile(self.latencies, percent)) * 1000, 1) if self.latencies else 0.0


class Connection:
    """One connection that is kept alive, and opened again when it breaks."""

    def __init__(self, url: str, key: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._head = f"Host: gleaner\r\nAuthorization: Bearer {key}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def timed(self, figures: Figures, method: str, path: str, body: bytes = b"", *, due: float = 0.0) -> bytes:
        """Call, and count the answer; latency runs from `due`, when the call should have left. Empty on a failure."""
        began = due or time.monotonic()
        try:
            status, content = await self._call(method, path, body)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            status, content = 0, b""
        figures.add(status, time.monotonic() - began)
        return content if 200 <= status < 300 else b""

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _call(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        writer.write(f"{method} {path} HTTP/1.1\r\n{self._head}{kind}\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, found, rest = head.partition(b"content-length:")
        content = await reader.readexactly(int(rest.split(b"\r\n", 1)[0])) if found else b""
        return int(head[9:12]), content


def labels_body(rows: list[tuple[str, str, str]]) -> bytes:
    """The body that sends labels, given as example, annotator and class."""
    return orjson.dumps({"labels": [{"example_id": e, "annotator": a, "label": value} for e, a, value in rows]})
