"""Networks of the block kept for benchmarks (RFC 2544): lower half for known domains, upper half for all others."""

from __future__ import annotations

import zlib

OWN_NETWORKS = 254
_HOSTS = 4


def own_network(number: int, domain: str) -> str:
    """The first mail host of the number-th known domain, in a network of 24 bits that no other has.

    Beyond 254 domains, networks are shared as rented ones are.
    """
    return f"198.18.{number + 1}.10" if number < OWN_NETWORKS else rented_network(domain)


def rented_network(domain: str) -> str:
    """A host in one of 256 rented networks, the same for a domain each time."""
    found = zlib.crc32(domain.encode())
    return f"198.19.{found % 256}.{10 + found // 256 % 200}"


def host_for(first: str, sender: str) -> str:
    """Which of a network's few hosts a sender's mail leaves by, given the first one."""
    network, _, host = first.rpartition(".")
    return f"{network}.{int(host) + zlib.crc32(sender.encode()) % _HOSTS}"
