"""Reading the URL of a webhook: one reading, used to judge the address and to dial it.

Two parsers that read one URL differently are how guards of this kind are passed. What `parse` returns is the only thing
that `AddressGuard` judges and that `GuardedTransport` dials.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, quote, urlsplit

import idna

from service.errors import FieldError, InvalidRequestError

MAX_URL_CHARS = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}

Address = IPv4Address | IPv6Address

_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff\\]")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NETLOC = re.compile(r"(\[[^\[\]]*:[^\[\]]*\]|[^\[\]:]+)(:[0-9]*)?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_PATH_SAFE = "/%:@!$&'()*+,;=-._~?[]|"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: `host` is a canonical address, or an ASCII name in lower case without a final dot."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The `Host` header: the port only when it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def refuse(code: str, detail: str) -> InvalidRequestError:
    """Make the problem of a webhook URL; `detail` never echoes it."""
    return InvalidRequestError("The URL cannot be used for a webhook.", errors=[FieldError("/url", code, detail)])


def parse(url: str) -> Target:
    """Read an http or https URL strictly.

    Raises:
        InvalidRequestError: It has no host, credentials, a fragment, spaces, control characters or backslashes, a bad
            port, a host that is neither a name nor an address, or is too long.
    """
    if len(url) > MAX_URL_CHARS:
        raise refuse("invalid_url", f"The URL is longer than {MAX_URL_CHARS} characters.")
    if _UNSAFE.search(url):
        raise refuse("invalid_url", "The URL has a space, a control character or a backslash.")
    parts = _split(url)
    if parts.scheme not in DEFAULT_PORTS:
        raise refuse("invalid_url", "The URL must begin with http:// or https://.")
    if "@" in parts.netloc:
        raise refuse("invalid_url", "The URL must not hold a user name or password.")
    if "#" in url:
        raise refuse("invalid_url", "The URL must not have a fragment.")
    path = quote(parts.path or "/", safe=_PATH_SAFE) + (
        f"?{quote(parts.query, safe=_PATH_SAFE)}" if parts.query else ""
    )
    return Target(scheme=parts.scheme, host=canonical_host(_host(parts)), port=_port(parts), path=path)


def canonical_host(host: str) -> str:
    """Return `host` as it is dialled: `127.1`, `0x7f000001` and full-width `127.0.0.1` are all `127.0.0.1`.

    Raises:
        InvalidRequestError: It is neither an address, in any spelling, nor a name that DNS could hold.
    """
    if ":" in host:  # it was in brackets
        return str(_ipv6(host))
    name = _ascii(host).lower().removesuffix(".")
    if _NAME.fullmatch(name) is None:
        raise refuse("invalid_url", "The host of the URL is not a valid name or address.")
    # As browsers and inet_aton have it: a host whose last part is a number is an IPv4 address or nothing.
    return str(_ipv4(name)) if _NUMBER.fullmatch(name.rpartition(".")[2]) else name


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise refuse("invalid_url", "The URL cannot be read.") from error


def _host(parts: SplitResult) -> str:
    if _NETLOC.fullmatch(parts.netloc) is None or not parts.hostname:
        raise refuse("invalid_url", "The URL needs a host, and a port only as a number after it.")
    return parts.hostname


def _port(parts: SplitResult) -> int:
    try:
        port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError as error:
        raise refuse("invalid_url", "The port of the URL must be a number from 1 to 65535.") from error
    if port == 0:
        raise refuse("invalid_url", "The port of the URL must be a number from 1 to 65535.")
    return port


def _ascii(host: str) -> str:
    if host.isascii() and "xn--" not in host.lower():
        return host
    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError as error:
        raise refuse("invalid_url", "The host of the URL is not a valid internationalised name.") from error


def _ipv6(host: str) -> IPv6Address:
    try:
        address = IPv6Address(host)
    except ValueError as error:
        raise refuse("invalid_url", "The host of the URL is not a valid IPv6 address.") from error
    if address.scope_id is not None:
        raise refuse("invalid_url", "The host of the URL must not have a zone id.")
    return address


def _ipv4(host: str) -> IPv4Address:
    """Read what inet_aton reads: one to four parts, each decimal, octal (0...) or hexadecimal (0x...)."""
    try:
        *octets, last = [_number(part) for part in host.split(".")]
        # The last part fills what the octets before it leave: "127.1" is 127.0.0.1.
        leading = bytes(octets)
        return IPv4Address(leading + last.to_bytes(4 - len(leading), "big"))
    except (ValueError, OverflowError) as error:
        raise refuse("invalid_url", "The host of the URL is not a valid IPv4 address.") from error


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:  # int() would take underscores
        raise ValueError(text)
    if text.startswith("0x"):
        return int(text, 16)
    return int(text, 8 if text.startswith("0") else 10)
