"""Which addresses a tool may connect to: the public internet, nothing inside.

Source: the IANA special-purpose address registries. Python's own `is_global` differs between
patch releases and does not look into addresses that carry another one.
"""

import ipaddress
from collections.abc import Callable
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Refusal: TypeAlias = Callable[[str], str]
"""Why an address must not be reached, or an empty text."""

_V4 = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by a carrier",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "a cloud's own service",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved",
    "192.0.2.0/24": "documentation",
    "192.88.99.0/24": "reserved",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}
_V6 = {
    "2001::/23": "reserved",  # Teredo and others
    "2001:db8::/32": "documentation",
    "3fff::/20": "documentation",
}
_REFUSED_V4 = tuple((ipaddress.IPv4Network(net), why) for net, why in _V4.items())
_REFUSED_V6 = tuple((ipaddress.IPv6Network(net), why) for net, why in _V6.items())
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")


def refusal(text: str) -> str:
    """Why the address must not be reached, or an empty text when it is public."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return "no address"
    return _refusal(address)


def _refusal(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return next((why for network, why in _REFUSED_V4 if address in network), "")
    inner = _embedded(address)
    if inner is not None:
        return _refusal(inner)
    if address not in _UNICAST:
        return "loopback" if address.is_loopback else "private or reserved"
    return next((why for network, why in _REFUSED_V6 if address in network), "")


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this one end up at, if it carries one."""
    value = int(address)
    if address in _NAT64 or address in _MAPPED:
        return ipaddress.IPv4Address(value & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return ipaddress.IPv4Address(value >> 80 & 0xFFFFFFFF)
    return None
