"""Which addresses a webhook may reach: the public internet, and what the operator opens.

Webhook URLs come from clients, so without this guard a client could make the service call its own neighbours: loopback,
the private network, the cloud's metadata address (server-side request forgery).
"""

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as LookupTimeoutError
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from service.security.urls import Address, Target, canonical_host, parse, refuse

Network = IPv4Network | IPv6Network
Resolver = Callable[[str, int], Sequence[str]]

LOOKUP_SECONDS = 3.0

# `ipaddress.is_global` lets multicast, NAT64, 6to4 and IPv4-compatible addresses through; hence a list of our own, from
# the IANA special-purpose registries.
DENIED: tuple[Network, ...] = tuple(
    ip_network(cidr)
    for cidr in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is a metadata address
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform address
        "169.254.0.0/16",  # link-local; 169.254.169.254 is the metadata address
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is a metadata address
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        # All that is not global unicast (2000::/3): loopback, IPv4-compatible, NAT64, discard, ULA, link-local,
        # site-local, multicast and what was never assigned.
        "::/3",
        "4000::/2",
        "8000::/1",
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)

# Names that mean this machine or this network, and public zones whose names spell out the address they resolve to.
LOCAL_NAMES = ("localhost", "local", "internal", "localdomain", "lan", "intranet", "home.arpa")
ADDRESS_NAMES = (
    *("nip.io", "sslip.io", "xip.io", "traefik.me", "plex.direct", "backname.io"),
    *("localtest.me", "lvh.me", "vcap.me", "lacolhost.com", "local.gd", "localho.st", "127-0-0-1.org.uk"),
)

_NAT64 = IPv6Network("64:ff9b::/96")
_REFUSED = (
    "The host of the URL leads to an address that webhooks may not reach; the operator can allow it with "
    "GLEANER_WEBHOOK_ALLOW."
)


class AddressRefusedError(Exception):
    """The host is, or resolves to, an address that webhooks may not reach."""


class NameNotResolvedError(Exception):
    """DNS has no address for the name, or did not answer."""


class AddressGuard:
    """Judges webhook URLs when they are saved, and resolves their hosts when they are called.

    Args:
        allow: Networks that may be reached although they are not public.
        resolver: Gives the addresses of a name; raises OSError when it has none.
    """

    def __init__(self, allow: Sequence[Network] = (), resolver: Resolver | None = None) -> None:
        self._allow = tuple(allow)
        self._resolver = resolver or _getaddrinfo
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="webhook-url")

    def check_url(self, url: str) -> None:
        """Refuse a URL that can never be delivered to, while there is a person to tell.

        A name that does not resolve now is accepted: receivers are often registered before their DNS is, and the check
        that protects is `resolve`, at each call; this one is for early, clear errors. A name in a zone of local
        addresses has to resolve into `allow`, as nothing good can come of it otherwise.

        Raises:
            InvalidRequestError: The URL is malformed (`invalid_url`) or leads where it must not (`forbidden_address`).
        """
        target = parse(url)
        try:
            self._resolve_in_time(target)
        except AddressRefusedError as error:
            raise refuse("forbidden_address", str(error)) from error
        except NameNotResolvedError as error:
            if _is_local(target.host):
                raise refuse("forbidden_address", "The host of the URL is a name of a local network.") from error

    def resolve(self, host: str, port: int) -> list[Address]:
        """Return the addresses to dial for `host`, after one look-up. Blocks: call it in a thread.

        The caller must dial these and not look the name up again, else the answer could be another by then (DNS
        rebinding).

        Raises:
            InvalidRequestError: `host` is neither a name nor an address.
            AddressRefusedError: One of the addresses must not be reached; then none is.
            NameNotResolvedError: The name has no address.
        """
        host = canonical_host(host)
        addresses = [_unmapped(address) for address in self._look_up(host, port)]
        permitted = self._is_allowed if _is_local(host) else self.permits
        if not all(map(permitted, addresses)):
            raise AddressRefusedError(_REFUSED)
        return addresses

    def permits(self, address: Address) -> bool:
        """Say whether a webhook may reach `address`; an IPv4-mapped one is judged as its IPv4 address."""
        address = _unmapped(address)
        if self._is_allowed(address):
            carried = _carried_ipv4(address)
            return carried is None or self.permits(carried)
        return not any(address in network for network in DENIED)

    def _is_allowed(self, address: Address) -> bool:
        return any(address in network for network in self._allow)

    def _look_up(self, host: str, port: int) -> list[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass  # a name
        try:
            found = [ip_address(text) for text in self._resolver(host, port)]
        except OSError as error:
            raise NameNotResolvedError("The host name of the URL cannot be resolved.") from error
        if not found:
            raise NameNotResolvedError("The host name of the URL has no address.")
        return list(dict.fromkeys(found))

    def _resolve_in_time(self, target: Target) -> None:
        lookup = self._threads.submit(self.resolve, target.host, target.port)
        try:
            lookup.result(LOOKUP_SECONDS)
        except LookupTimeoutError as error:
            raise NameNotResolvedError("The host name of the URL could not be resolved in time.") from error


def _getaddrinfo(host: str, port: int) -> list[str]:
    return [str(answer[4][0]) for answer in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _is_local(host: str) -> bool:
    return any(host == name or host.endswith(f".{name}") for name in (*LOCAL_NAMES, *ADDRESS_NAMES))


def _unmapped(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _carried_ipv4(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that a translator makes of an IPv6 one: opening a translator opens no private network."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour or (address.teredo[1] if address.teredo else None)
