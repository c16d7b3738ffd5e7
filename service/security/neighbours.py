"""Who asks from the same machine, and for nobody else."""

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

# Of proxies, which bring strangers, and of browsers, in which pages of strangers run.
_OF_OTHERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "origin")


def is_neighbour(peer: tuple[str, int] | None, headers: Mapping[str, str]) -> bool:
    """Whether a request came over a loopback address, for a loopback name, and nothing tells of others.

    A page whose own name leads to this machine (DNS rebinding) sends that name.

    Args:
        peer: The address and port that the connection is from.
        headers: Of the request, by names in small letters.
    """
    if any(name in headers for name in _OF_OTHERS):
        return False
    name = _name(headers.get("host", ""))
    return peer is not None and _is_loopback(peer[0]) and (name == "localhost" or _is_loopback(name))


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # half an IPv6 address
        return ""


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:  # no address but a name
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
