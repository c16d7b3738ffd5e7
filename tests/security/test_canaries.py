"""No spelling of a URL and no answer of DNS makes a webhook reach what listens on this machine."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_network

import idna
import pytest

from service.api.deps.runtime import Runtime
from service.security.addresses import AddressGuard, Resolver
from service.security.outbound import DeliveryError, GuardedTransport
from tests.dispatcher.receivers import attempted, hurry, run, send_tests, sending, subscribe, until
from tests.support.runtime import make_api

OPEN = (ip_network("127.0.0.2/32"),)  # stands for the public internet; the canaries are not there
PUBLIC = "93.184.215.14"


def wide(text: str) -> str:
    """Return `text` in full-width characters."""
    return "".join(chr(ord(character) + 0xFEE0) for character in text)


HOSTS = [
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7F.1", "017700000001", "0177.0.0.01"),
    *("0x7f.0x0.0x0.0x1", "127.0x0.0.1", "00000177.0.0.1", "127.0.0.1.", "127.0.0.1..", "0", "0.0.0", "0x0", "00"),
    *("127.000.000.001", "0177.1", "4294967297", "340282366920938463463374607431768211457", "127.0.0.1%00"),
    *(
        wide("127.0.0.1"),
        "127。0。0。1",
        "127\uff0e0\uff0e0\uff0e1",
        "127｡0｡0｡1",
        "①②⑦.0.0.①",
        "\U0001d7cf\U0001d7d0\U0001d7d5.0.0.1",
        wide("2130706433"),
    ),
    *("127.0.0.1%2e", "127%2e0%2e0%2e1", "%31%32%37.0.0.1", "127.0.0.1%09", "%6c%6f%63alhost", "loc\u00adalhost"),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::1%lo]", "[::1%25lo]", "[::127.0.0.1]", "[::7f00:1]"),
    *(
        "[::ffff:127.0.0.1]",
        "[::FFFF:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[::ffff:0.0.0.0]",
    ),
    *("[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::1]", "[2002:7f00:0001::]"),
    *("[2001:0:7f00:1::]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]", "[fe80::1]", "[fe80::1%25lo]", "[fc00::1]"),
    *("[fd00:ec2::254]", "[ff02::1]", "[ff01::1]", "[fec0::1]", "[100::1]", "[2001:db8::1]", "[::1", "::1", "[[::1]]"),
    *("localhost", "LOCALHOST", "localhost.", "localhost.localdomain", "a.localhost", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", wide("localhost")),
    *("ip6-localhost.local", "127.0.0.1.nip.io", "7f000001.nip.io", "localtest.me", "a.lvh.me", "127-0-0-1.sslip.io"),
    *("169.254.169.254", "2852039166", "0xa9fea9fe", "[::ffff:169.254.169.254]", "metadata.google.internal"),
    *("100.100.100.200", "192.0.0.192", "168.63.129.16", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1"),
    *("224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1"),
    *("user@127.0.0.1", "user:word@127.0.0.1", f"{PUBLIC}@127.0.0.1", "@127.0.0.1", f"{PUBLIC}:80@127.0.0.1"),
    *(f"127.0.0.1#@{PUBLIC}", f"127.0.0.1?@{PUBLIC}", f"127.0.0.1\\@{PUBLIC}", f"{PUBLIC}\\@127.0.0.1"),
    *(f"127.0.0.1 {PUBLIC}", f"127.0.0.1\t.{PUBLIC}", "127.0.0.1\r\nHost: x", "127.0.0.1\0.example.com", "127.0.0.1\n"),
    *("", ".", "..", "a" * 64, "a." * 200 + "com", "-", "*", "[", "]", "a" * 5000, "xn--a", "xn--127-0-0-1"),
    *("mixed.example", "mixed6.example", "mapped.example", "chain.example", "loop.example", "many.example"),
    *("six.example", "nat.example", "zone.example", "any.example", "MIXED.example.", "m\u0131xed.example"),
]
ANSWERS = {
    "mixed.example": [PUBLIC, "127.0.0.1"],
    "mixed6.example": ["2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "chain.example": ["127.0.0.1"],  # where a chain of CNAMEs ends
    "loop.example": ["127.0.0.1", "127.0.0.1"],
    "many.example": [*(f"93.184.215.{n}" for n in range(1, 60)), "127.0.0.1"],
    "six.example": ["::1"],
    "nat.example": ["64:ff9b::7f00:1"],
    "zone.example": ["fe80::1%lo"],
    "any.example": ["0.0.0.1", "::"],
    "xn--127-0-0-1": ["127.0.0.1"],
    idna.encode("m\u0131xed.example", uts46=True).decode(): ["127.0.0.1"],
}
OTHER_URLS = [
    *("gopher://127.0.0.1:{port}/_PING", "file:///etc/passwd", "ftp://127.0.0.1:{port}/", "unix:///run/redis.sock"),
    *("dict://127.0.0.1:{port}/", "ws://127.0.0.1:{port}/", "jar:http://127.0.0.1:{port}/!/", "//127.0.0.1:{port}/"),
    *("http:127.0.0.1:{port}/", "http:/127.0.0.1:{port}/", "http:///127.0.0.1:{port}/", "http:\\\\127.0.0.1:{port}/"),
    *(
        "http://127.0.0.1:+{port}/",
        "http://127.0.0.1:0{port}/",
        "http://127.0.0.1:{port}.0/",
        "http://127.0.0.1:{port}:80/",
    ),
    *("hTTp://127.0.0.1:{port}/", " http://127.0.0.1:{port}/", "http://127.0.0.1:{port}", "http://127.0.0.1:{port}?x"),
]


def resolve(host: str, _port: int) -> Sequence[str]:
    if host not in ANSWERS:
        raise OSError("no such name")
    return ANSWERS[host]


@dataclass
class Canaries:
    """Listeners that nobody may call."""

    ports: list[int]
    calls: list[str]


@asynccontextmanager
async def canaries() -> AsyncIterator[Canaries]:
    made = Canaries([], [])

    async def called(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.calls.append(str(writer.get_extra_info("sockname")))
        writer.close()

    servers = []
    for _ in range(3):
        first = await asyncio.start_server(called, "127.0.0.1", 0)
        port = first.sockets[0].getsockname()[1]
        made.ports.append(port)
        servers += [first, await asyncio.start_server(called, "::1", port)]
    try:
        yield made
        await asyncio.sleep(0.05)
        assert made.calls == []
    finally:
        for server in servers:
            server.close()


def spellings(port: int) -> list[str]:
    return [*(f"http://{host}:{port}/hook" for host in HOSTS), *(url.format(port=port) for url in OTHER_URLS)]


@pytest.fixture
def strict(runtime: Runtime) -> Runtime:
    return replace(runtime, guard=AddressGuard(OPEN, resolve))


def test_no_spelling_reaches_a_canary() -> None:
    async def scenario() -> None:
        transport = GuardedTransport(AddressGuard(OPEN, resolve))
        async with canaries() as listening:
            for port in listening.ports:
                for url in spellings(port):
                    with pytest.raises(DeliveryError) as refused:
                        await transport.post(url, headers={}, body=b"{}", deadline_seconds=5)
                    assert refused.value.kind in {"address", "dns"}, url
        transport.close()

    assert len(spellings(1)) >= 150
    run(scenario)


def test_no_spelling_is_accepted_over_http(strict: Runtime) -> None:
    api = make_api(strict)
    with api.http, socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        for url in spellings(canary.getsockname()[1]):
            answer = api.http.post("/v1/webhooks", json={"url": url, "events": ["training.succeeded"]})
            assert answer.status_code == 422, url
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert api.http.get("/v1/webhooks").json()["items"] == []
        with pytest.raises(BlockingIOError):
            canary.accept()


@asynccontextmanager
async def outside(port: int, answer: str) -> AsyncIterator[list[bytes]]:
    """A receiver at the address that stands for the public internet."""
    calls: list[bytes] = []

    async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(called, "127.0.0.2", port)
    try:
        yield calls
    finally:
        server.close()


def answering(*answers: list[str]) -> Resolver:
    """A name whose addresses change with each look-up; the last stays."""
    left = list(answers)
    return lambda _host, _port: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize(
    ("answers", "calls"),
    [
        ([["127.0.0.1"]], 0),
        ([["127.0.0.2"], ["127.0.0.1"]], 1),
        ([["127.0.0.2"], ["127.0.0.2", "127.0.0.1"]], 1),
        ([["127.0.0.2"], ["::ffff:127.0.0.1"]], 1),
        ([["127.0.0.2"], ["::1"]], 1),
    ],
)
def test_a_name_that_is_bound_anew_for_a_try_reaches_no_canary(
    runtime: Runtime, answers: list[list[str]], calls: int
) -> None:
    async def scenario() -> None:
        async with canaries() as listening:
            port = listening.ports[0]
            sender = replace(runtime, guard=AddressGuard(OPEN, answering(*answers)))
            webhook_id, _ = subscribe(sender, f"http://rebinding.example:{port}/")
            send_tests(sender, webhook_id)
            async with outside(port, "500 Oops") as called, sending(sender):
                for attempt in (1, 2, 3):
                    await until(attempted(sender, webhook_id, attempt))
                    hurry(sender)
                assert len(called) == calls

    run(scenario)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("to", ["http://127.0.0.1:{port}/", "http://[::1]:{port}/", "//127.0.0.1:{port}/"])
def test_no_redirect_reaches_a_canary(status: str, to: str) -> None:
    async def scenario() -> None:
        transport = GuardedTransport(AddressGuard(OPEN, answering(["127.0.0.2"])))
        async with canaries() as listening:
            port = listening.ports[0]
            location = to.format(port=port)
            for header in ("Location", "Refresh: 0; url", "Alt-Svc"):
                async with outside(port, f"{status}\r\n{header}: {location}") as called:
                    reply = await transport.post(f"http://a.example:{port}/", headers={}, body=b"", deadline_seconds=5)
                    assert (str(reply.status), len(called)) == (status[:3], 1)
        transport.close()

    run(scenario)
