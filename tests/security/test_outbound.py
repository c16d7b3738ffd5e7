import asyncio
import datetime as dt
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from service.security.addresses import AddressGuard
from service.security.outbound import DeliveryError, GuardedTransport, Reply
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.stopwatch import Stopwatch

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Receiver:
    """A server on loopback that keeps what it was sent and answers by a script."""

    def __init__(self, script: Script) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._script = script

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            self.requests.append(head + await reader.readexactly(length))
            await self._script(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.close()


@asynccontextmanager
async def receiver(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    made = Receiver(script)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def answer(status: str = "200 OK", body: bytes = b"fine", *headers: str) -> Script:
    async def script(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return script


async def post(
    url: str,
    *,
    resolver: Callable[[str, int], Sequence[str]] | None = None,
    deadline: float = PATIENCE_SECONDS,
    tls: ssl.SSLContext | None = None,
) -> Reply:
    transport = GuardedTransport(AddressGuard(LOOPBACK, resolver), tls)
    try:
        return await transport.post(url, headers={"webhook-id": "msg_1"}, body=b"{}", deadline_seconds=deadline)
    finally:
        transport.close()


async def failure(url: str, **options: object) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await post(url, **options)  # type: ignore[arg-type]  # as in post
    return caught.value


def to(*addresses: str) -> Callable[[str, int], Sequence[str]]:
    return lambda _host, _port: addresses


def test_a_delivery_carries_its_body_headers_and_the_name() -> None:
    async def scenario() -> None:
        async with receiver(answer("202 Accepted", "grüße".encode(), "Retry-After: 17")) as server:
            reply = await post(f"http://hooks.example.com:{server.port}/a%20b?q=ä", resolver=to("127.0.0.1"))
        assert (reply.status, reply.excerpt, reply.retry_after_seconds) == (202, "grüße", 17.0)
        assert 0 < reply.duration_ms < 5000
        (request,) = server.requests
        assert request.startswith(b"POST /a%20b?q=%C3%A4 HTTP/1.1\r\n")
        assert f"\r\nHost: hooks.example.com:{server.port}\r\n".encode() in request
        assert b"\r\nwebhook-id: msg_1\r\n" in request
        assert request.endswith(b"\r\n\r\n{}")

    asyncio.run(scenario())


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with receiver(answer()) as proxy, receiver(answer()) as server:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            assert (await post(f"http://127.0.0.1:{server.port}/")).status == 200
            assert proxy.connections == 0

    asyncio.run(scenario())


def test_a_name_that_changes_its_address_after_the_check_never_reaches_the_canary() -> None:
    answers = iter([["93.184.215.14"], ["127.0.0.1"], ["127.0.0.1"]])

    async def scenario() -> None:
        async with receiver(answer()) as canary:
            guard = AddressGuard(resolver=lambda _host, _port: next(answers))
            url = f"http://rebinding.example.com:{canary.port}/"
            guard.check_url(url)
            transport = GuardedTransport(guard)
            with pytest.raises(DeliveryError) as caught:
                await transport.post(url, headers={}, body=b"{}", deadline_seconds=2)
            transport.close()
            assert caught.value.kind == "address"
            assert "127" not in caught.value.detail
            assert canary.connections == 0

    asyncio.run(scenario())


def test_the_name_is_resolved_once_for_a_call() -> None:
    lookups: list[str] = []

    def resolver(host: str, _port: int) -> Sequence[str]:
        lookups.append(host)
        return ["127.0.0.1"]

    async def scenario() -> None:
        async with receiver(answer()) as server:
            await post(f"http://hooks.example.com:{server.port}/", resolver=resolver)

    asyncio.run(scenario())
    assert lookups == ["hooks.example.com"]


def test_one_bad_address_among_good_ones_refuses_all() -> None:
    async def scenario() -> None:
        async with receiver(answer()) as canary:
            error = await failure(f"http://hooks.example.com:{canary.port}/", resolver=to("127.0.0.1", "10.0.0.1"))
            assert error.kind == "address"
            assert canary.connections == 0

    asyncio.run(scenario())


def test_the_next_address_is_tried_when_one_does_not_connect() -> None:
    async def scenario() -> None:
        async with receiver(answer()) as server:
            url = f"http://hooks.example.com:{server.port}/"
            assert (await post(url, resolver=to("127.9.9.9", "127.0.0.1"))).status == 200
            assert (await failure(url, resolver=to("127.9.9.9"))).kind == "connect"

    asyncio.run(scenario())


def test_redirects_are_answers_and_not_followed() -> None:
    async def scenario() -> None:
        async with receiver(answer()) as canary:
            location = f"Location: http://127.0.0.1:{canary.port}/"
            async with receiver(answer("307 Temporary Redirect", b"", location)) as server:
                assert (await post(f"http://127.0.0.1:{server.port}/")).status == 307
            assert canary.connections == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("drips", [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99, b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 99, b""])
def test_a_dripping_or_silent_receiver_is_cut_off_at_the_deadline(drips: bytes) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        for byte in drips:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.03)
        await asyncio.sleep(2)

    async def scenario() -> None:
        async with receiver(drip) as server:
            with Stopwatch() as cutting:
                error = await failure(f"http://127.0.0.1:{server.port}/", deadline=0.4)
            assert error.kind == "timeout"
            assert cutting.seconds < 1.5

    asyncio.run(scenario())


def test_a_resolver_that_hangs_is_cut_off_at_the_deadline() -> None:
    def hang(_host: str, _port: int) -> Sequence[str]:
        time.sleep(0.6)
        return ["127.0.0.1"]

    assert asyncio.run(failure("http://hooks.example.com/", resolver=hang, deadline=0.1)).kind == "timeout"


def test_an_endless_answer_is_read_to_two_kibibytes() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"\xff\0" * 32768)
            await writer.drain()

    async def scenario() -> None:
        async with receiver(endless) as server:
            reply = await post(f"http://127.0.0.1:{server.port}/")
        assert reply.status == 200
        assert 2000 < len(reply.excerpt.encode()) <= 2048
        assert "\0" not in reply.excerpt

    asyncio.run(scenario())


@pytest.mark.parametrize("noise", [b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000])
def test_what_is_not_http_is_a_protocol_failure(noise: bytes) -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(noise)
        await writer.drain()

    async def scenario() -> None:
        async with receiver(script) as server:
            assert (await failure(f"http://127.0.0.1:{server.port}/")).kind == "protocol"

    asyncio.run(scenario())


def test_a_name_without_address_is_a_dns_failure() -> None:
    def nothing(_host: str, _port: int) -> Sequence[str]:
        raise OSError("no such name")

    assert asyncio.run(failure("http://nowhere.example.com/", resolver=nothing)).kind == "dns"


def test_a_url_that_became_malformed_or_forbidden_is_not_called() -> None:
    assert asyncio.run(failure("ftp://example.com/")).kind == "address"
    assert asyncio.run(failure("http://169.254.169.254/latest/meta-data")).kind == "address"


def test_certificates_are_checked_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make_certificate(certificate, key, "hooks.example.com")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=certificate)
    resolver = to("127.0.0.1")

    async def scenario() -> None:
        async with receiver(answer(), tls=serving) as server:
            url = f"https://hooks.example.com:{server.port}/"
            assert (await post(url, resolver=resolver, tls=trusting)).status == 200
            assert (await failure(url, resolver=resolver)).kind == "tls"
            other = f"https://other.example.com:{server.port}/"
            assert (await failure(other, resolver=resolver, tls=trusting)).kind == "tls"
        async with receiver(answer()) as plain:
            error = await failure(f"https://hooks.example.com:{plain.port}/", resolver=resolver, deadline=0.3)
            assert error.kind == "timeout"  # both sides wait; the socket is closed all the same

    asyncio.run(scenario())


@pytest.mark.parametrize("text", ["soon", "-5", "", "1e999", "²", "9" * 400])
def test_an_unreadable_retry_after_is_none(text: str) -> None:
    async def scenario() -> Reply:
        async with receiver(answer("429 Too Many Requests", b"", f"Retry-After: {text}")) as server:
            return await post(f"http://127.0.0.1:{server.port}/")

    assert asyncio.run(scenario()).retry_after_seconds is None


def test_retry_after_may_be_a_date() -> None:
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)

    async def scenario() -> Reply:
        header = f"Retry-After: {moment:%a, %d %b %Y %H:%M:%S} GMT"
        async with receiver(answer("503 Service Unavailable", b"", header)) as server:
            return await post(f"http://127.0.0.1:{server.port}/")

    seconds = asyncio.run(scenario()).retry_after_seconds
    assert seconds is not None
    assert 280 < seconds <= 300


def make_certificate(certificate: Path, key: Path, name: str) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder(issuer_name=subject, subject_name=subject, public_key=private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
