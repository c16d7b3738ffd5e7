"""Calling a webhook: through the address guard, once, within a deadline."""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import certifi
import httpcore

from service.errors import InvalidRequestError
from service.security.addresses import AddressGuard, AddressRefusedError, NameNotResolvedError
from service.security.urls import Address, Target, parse

EXCERPT_BYTES = 2048
DNS_THREADS = 16

FailureKind = Literal["address", "dns", "connect", "tls", "timeout", "protocol"]
SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class DeliveryError(Exception):
    """No answer came back: `kind` says at which step, `detail` is a sentence for the delivery log."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Reply:
    """What a receiver answered.

    Attributes:
        status: Of HTTP.
        retry_after_seconds: What the receiver asks for.
        body: The beginning of the answer, up to as many bytes as were wanted.
        is_whole: Whether `body` is all of it.
        duration_ms: Of the whole exchange.
    """

    status: int
    retry_after_seconds: float | None
    body: bytes
    is_whole: bool
    duration_ms: float

    @property
    def excerpt(self) -> str:
        """The beginning of the answer: at most 2 KiB of text without NUL characters, fit for SQL."""
        text = self.body[:EXCERPT_BYTES].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        return text.encode()[:EXCERPT_BYTES].decode(errors="ignore")  # a replaced byte takes three


class GuardedTransport:
    """Sends webhooks: no proxies, no redirects, no connection kept, only to addresses that the guard gave.

    Environment variables such as `HTTP_PROXY` are not read: a proxy would resolve the name again, out of our sight.

    Args:
        guard: Judges and resolves every host, at every call.
        tls: Whose certificates are trusted; the system's and certifi's when None.
    """

    def __init__(self, guard: AddressGuard, tls: ssl.SSLContext | None = None) -> None:
        self._guard = guard
        self._tls = tls or _default_tls()
        # Threads of its own: names that hang must not take the event loop's threads from the rest of the process.
        self._threads = ThreadPoolExecutor(max_workers=DNS_THREADS, thread_name_prefix="webhook-dns")

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        deadline_seconds: float,
        most_bytes: int = EXCERPT_BYTES,
    ) -> Reply:
        """POST `body` to `url` and return the answer, whatever its status.

        Args:
            url: As the client gave it; judged again here.
            headers: Without Host and Content-Length, which are set here.
            body: Sent as it is.
            deadline_seconds: For all of it: name, connection, request, answer. A receiver that sends a byte now and
                then is cut off all the same.
            most_bytes: How much of the answer is read.

        Raises:
            DeliveryError: There was no answer.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(deadline_seconds):
                target = parse(url)
                addresses = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._guard.resolve, target.host, target.port
                )
                response, answer = await self._exchange(
                    target, addresses, headers=headers, body=body, most_bytes=most_bytes
                )
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise DeliveryError("timeout", f"No complete answer within {deadline_seconds:g} seconds.") from error
        except (InvalidRequestError, AddressRefusedError) as error:
            raise DeliveryError("address", "Webhooks may not be sent to this address.") from error
        except NameNotResolvedError as error:
            raise DeliveryError("dns", str(error)) from error
        except httpcore.ConnectError as error:
            raise _connect_failure(error) from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise DeliveryError(
                "protocol", f"The receiver broke off or did not speak HTTP ({_name(error)})."
            ) from error
        return Reply(
            response.status,
            _retry_after(response.headers),
            answer[:most_bytes],
            is_whole=len(answer) <= most_bytes,
            duration_ms=(time.monotonic() - started) * 1000,
        )

    def close(self) -> None:
        """Let go of the threads; look-ups under way are left to end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _exchange(
        self,
        target: Target,
        addresses: Sequence[Address],
        *,
        headers: Mapping[str, str],
        body: bytes,
        most_bytes: int,
    ) -> tuple[httpcore.Response, bytes]:
        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        # Uncompressed, so that the excerpt can be read.
        backend = _PinnedBackend(addresses)
        fixed = {"Host": target.authority, "Accept-Encoding": "identity"}
        try:
            async with (
                httpcore.AsyncConnectionPool(self._tls, max_keepalive_connections=0, network_backend=backend) as pool,
                pool.stream("POST", url, headers=[*fixed.items(), *headers.items()], content=body) as response,
            ):
                return response, await _read(response.aiter_stream(), most_bytes)
        finally:
            await backend.close()


class _PinnedBackend(httpcore.AsyncNetworkBackend):
    """Dials given addresses, one after the other, whatever name it is asked for.

    The name stays with httpcore for the Host header and the TLS certificate. It leaves the socket open when a TLS
    handshake is cancelled, hence `close`.
    """

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses
        self._network = httpcore.AnyIOBackend()
        self._stream: httpcore.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002  # the interface names it; dialling it would resolve it again
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the interface has it
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure = httpcore.ConnectError("no address")
        for address in self._addresses:
            try:
                self._stream = await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except httpcore.ConnectError as error:
                failure = error
            else:
                return self._stream
        raise failure

    async def close(self) -> None:
        """Close the socket, if one was opened and is not closed yet."""
        if self._stream is not None:
            await self._stream.aclose()


async def _read(stream: AsyncIterable[bytes], most_bytes: int) -> bytes:
    """What comes, or more than `most_bytes` of it."""
    data = bytearray()
    async for part in stream:
        data += part
        if len(data) > most_bytes:
            break
    return bytes(data)


def _retry_after(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    """Return the seconds that `Retry-After` asks for, given as seconds or as a date; None when absent or unreadable."""
    text = next((value.decode("latin-1").strip() for name, value in headers if name.lower() == b"retry-after"), "")
    if re.fullmatch("[0-9]{1,9}", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


def _connect_failure(error: httpcore.ConnectError) -> DeliveryError:
    cause = error.__context__  # the pool raises "from None", which leaves only this
    if isinstance(cause, ssl.SSLError):
        reason = getattr(cause, "verify_message", "") or cause.reason or _name(cause)
        return DeliveryError("tls", f"The TLS connection failed ({reason}).")
    return DeliveryError("connect", "The receiver did not accept the connection.")


def _name(error: Exception) -> str:
    return type(error).__name__


def _default_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()  # the system's, where operators add their own
    context.load_verify_locations(certifi.where())  # slim images have none
    return context
