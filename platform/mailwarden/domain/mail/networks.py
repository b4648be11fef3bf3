"""Addresses of hosts: whether one is of a site's inside, and the network that stands for its neighbours."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_EXAMPLES = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "2001:db8::/32"),
    )
)
_NETWORK_BITS = {4: 24, 6: 48}


@lru_cache(maxsize=16_384)
def is_private(address: str) -> bool:
    """Whether an address is one that only a site itself can reach; False where it is none."""
    found = _read(address)
    return found is not None and _is_private(found)


@lru_cache(maxsize=16_384)
def network_of(address: str) -> str:
    """The network that an address is of: 24 bits of IPv4, 48 of IPv6; "" where it is none, or private.

    >>> network_of("192.0.2.77"), network_of("::ffff:192.0.2.77"), network_of("10.1.2.3")
    ('192.0.2.0/24', '192.0.2.0/24', '')
    """
    found = _read(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found is None or _is_private(found):
        return ""
    return str(ipaddress.ip_network((found, _NETWORK_BITS[found.version]), strict=False))


def _read(address: str) -> _Address | None:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None


def _is_private(found: _Address) -> bool:
    return (found.is_private or found.is_loopback or found.is_link_local) and not _is_example(found)


def _is_example(address: _Address) -> bool:
    """Addresses of documentation and of benchmarks, which Python has for private: nobody uses them, and tests mean
    others by them."""
    return any(address in network for network in _EXAMPLES if network.version == address.version)
