import time
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from service.errors import InvalidRequestError
from service.security import addresses
from service.security.addresses import AddressGuard, AddressRefusedError, NameNotResolvedError
from tests.support.stopwatch import Stopwatch

ZONES = {
    "example.com": ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"],
    "xn--mnchen-3ya.de": ["93.184.215.14"],
    "my_service.example.com": ["93.184.215.14"],
    "private.example.com": ["10.1.2.3"],
    "mixed.example.com": ["93.184.215.14", "127.0.0.1"],
    "mapped.example.com": ["::ffff:169.254.169.254"],
    "scoped.example.com": ["fe80::1%lo"],
    "8.8.8.8.nip.io": ["8.8.8.8"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "localhost": ["127.0.0.1", "::1"],
}


def resolve(host: str, _port: int) -> Sequence[str]:
    if host not in ZONES:
        raise OSError("no such name")
    return ZONES[host]


def wide(text: str) -> str:
    """Return `text` in full-width characters, which internationalised names map to ASCII."""
    return "".join(chr(ord(character) + 0xFEE0) for character in text)


def code(url: str, guard: AddressGuard | None = None) -> str | None:
    try:
        (guard or AddressGuard(resolver=resolve)).check_url(url)
    except InvalidRequestError as problem:
        (error,) = problem.errors
        assert error.pointer == "/url"
        return error.code
    return None


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hooks?a=1&b=%20",
        "http://example.com",
        "HTTPS://EXAMPLE.COM:8443/x",
        "https://example.com./x",
        "https://example.com:/x",
        "https://my_service.example.com/",
        "https://münchen.de/straße?q=ä",
        f"https://{wide('example')}.com/",
        "http://8.8.8.8:1/",
        "http://134744072/",  # 8.8.8.8
        "http://0x8.8.010.8/",
        "http://010.8.8.8/",  # octal: 8.8.8.8, and not the private 10.8.8.8
        "http://[2606:4700:4700::1111]:65535/",
        "http://[::ffff:8.8.8.8]/",
        "https://not-registered-yet.example.org/",  # the check at each call decides
        "https://localhost.example.com/",
        "https://notlocal/",
        "https://example.com/@user",
        "https://example.com/" + "a" * 2028,
    ],
)
def test_urls_that_are_accepted(url: str) -> None:
    assert code(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "unix:///run/redis.sock",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "http:example.com",
        "http:///path",
        "http://:80/",
        "http://?x",
        "http://user@example.com/",
        "http://user:word@example.com/",
        "http://@example.com/",
        "http://8.8.8.8@127.0.0.1/",
        "https://example.com/#part",
        "https://example.com/#",
        "http://127.0.0.1#@example.com/",
        "https://exam ple.com/",
        " https://example.com/",
        "https://example.com/\n",
        "https://example.com/\r\nX-Evil: 1",
        "https://exam\tple.com/",
        "https://example.com/\0",
        "https://example.com\u00a0/",
        "https://example.com\\@127.0.0.1/",
        "http:\\\\127.0.0.1\\",
        "https://example.com/\ud800",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:-1/",
        "https://example.com:http/",
        f"https://example.com:{wide('80')}/",
        "https://a..example.com/",
        "https://-a.example.com/",
        "https://a-.example.com/",
        "https://exa!mple.com/",
        "https://xn--a.com/",
        f"https://{'a' * 64}.com/",
        f"https://{'a.' * 130}com/",
        "http://127%2e0.0.1/",
        "http://%31%32%37.0.0.1/",
        "http://%6cocalhost/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[::1/",
        "http://::1/",
        "http://a[::1]/",
        "http://[::1]a/",
        "http://[127.0.0.1]/",
        "http://[v1.x]/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://127.0.0.1.1/",
        "http://4294967296/",
        "http://08.8.8.8/",
        "http://0x/",
        "http://1_27.0.0.1/",
        "http://example.1/",
        "https://example.com/" + "a" * 2029,
    ],
)
def test_urls_that_are_malformed(url: str) -> None:
    assert code(url) == "invalid_url"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.255.255.254", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7F.1", "017700000001"),
        *("0177.0.0.1", "0x7f.0.0.0x1", "00000177.0.0.1", "127.0.0.1.", "0", "0.0.0.0.", "0x0"),
        *(wide("127.0.0.1"), "127。0。0。1", "①②⑦.0.0.1", wide("2130706433")),
        *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "012.0.0.1", "100.64.0.1", "100.100.100.200"),
        *("169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "168.63.129.16"),
        *("192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
        *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::8.8.8.8]", "[::ffff:127.0.0.1]"),
        *(
            "[::FFFF:7F00:1]",
            "[::ffff:a9fe:a9fe]",
            "[::ffff:0:127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[64:ff9b::8.8.8.8]",
        ),
        *("[64:ff9b:1::a9fe:a9fe]", "[2002:7f00:1::]", "[2002:808:808::]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]"),
        *("[100::1]", "[2001:db8::1]", "[2001:2::1]", "[2001:20::1]", "[3fff::1]", "[5f00::1]", "[fc00::1]"),
        *("[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[ff02::1]", "[4000::1]", "[e000::1]"),
        *("localhost", "LOCALHOST.", "a.localhost", "ⓛocalhost", "printer.local", "db.internal", "x.localdomain"),
        *("metadata.google.internal", "metadata.google.internal.", "host.docker.internal", "nas.home.arpa"),
        *("127.0.0.1.nip.io", "8.8.8.8.nip.io", "7f000001.nip.io", "10-0-0-1.sslip.io", "10.0.0.1.xip.io"),
        *("localtest.me", "a.LVH.me", "a.vcap.me", "127-0-0-1.x.plex.direct"),
        *("private.example.com", "mixed.example.com", "mapped.example.com", "scoped.example.com"),
    ],
)
def test_hosts_that_lead_inside(host: str) -> None:
    assert code(f"http://{host}/hook") == "forbidden_address"
    assert code(f"https://{host}:8443/") == "forbidden_address"


def test_allowed_networks_open_their_addresses_in_each_form_and_no_other() -> None:
    guard = AddressGuard((ip_network("127.0.0.0/8"), ip_network("10.1.0.0/16")), resolve)
    for host in ("127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "127.0.0.1.nip.io", "private.example.com"):
        assert code(f"http://{host}/", guard) is None
    for host in ("10.2.0.1", "[::1]", "[::127.0.0.1]", "[2002:7f00:1::]", "localhost", "8.8.8.8.nip.io", "x.local"):
        assert code(f"http://{host}/", guard) == "forbidden_address"


def test_an_opened_translator_opens_no_private_network() -> None:
    guard = AddressGuard(tuple(map(ip_network, ("64:ff9b::/96", "2002::/16", "2001::/32"))))
    assert guard.permits(ip_address("64:ff9b::8.8.8.8"))
    for closed in ("64:ff9b::10.0.0.1", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:80ff:fffe"):  # ::127.0.0.1 inside
        assert not guard.permits(ip_address(closed))


def test_resolve_gives_the_addresses_to_dial() -> None:
    guard = AddressGuard(resolver=resolve)
    assert guard.resolve("EXAMPLE.com.", 443) == [ip_address(text) for text in ZONES["example.com"]]
    assert guard.resolve("0x08080808", 80) == [ip_address("8.8.8.8")]
    with pytest.raises(AddressRefusedError):
        guard.resolve("mixed.example.com", 443)
    with pytest.raises(NameNotResolvedError):
        guard.resolve("nowhere.example.com", 443)


def test_a_resolver_that_hangs_delays_a_save_by_no_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(_host: str, _port: int) -> Sequence[str]:
        time.sleep(0.5)
        return ["127.0.0.1"]

    monkeypatch.setattr(addresses, "LOOKUP_SECONDS", 0.05)
    with Stopwatch() as saving:
        assert code("http://slow.example.com/", AddressGuard(resolver=hang)) is None
    assert saving.seconds < 0.4


def test_the_real_resolver_is_asked() -> None:
    guard = AddressGuard((ip_network("127.0.0.0/8"), ip_network("::1/128")))
    assert ip_address("127.0.0.1") in guard.resolve("localhost", 80)
