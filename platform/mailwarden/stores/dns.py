"""The DNS, asked for the verification of mail: within a bounded time, and with a memory of what was said."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from mailwarden.domain.mail.reception import Answer, RecordType
from mailwarden.errors import ConfigError

MAX_REMEMBERED = 20_000
MAX_TTL = 3_600.0
"""Seconds for which an answer is remembered at most; one that failed is not."""


class DnsResolver:
    """Asks name servers; it may be sent to another process, where it connects anew.

    servers: addresses, with a port behind a `#` where it is another than 53. seconds: what all questions of one message
    may take together; those that come later fail. `begin` is called before each message.
    """

    def __init__(self, servers: Sequence[str], seconds: float) -> None:
        self._servers = [_server(one) for one in servers]
        self._seconds = seconds
        self._left = seconds
        self._remembered: OrderedDict[tuple[str, RecordType], tuple[float, Answer]] = OrderedDict()
        if not servers:
            raise ConfigError("no name server is given; write MAILWARDEN_RESOLVER=192.0.2.53, or leave it out")

    def __setstate__(self, state: dict[str, Any]) -> None:
        # What asking needs is imported as the process starts, and on no message's account.
        self.__dict__.update(state)
        import dns.resolver  # noqa: F401

    def begin(self) -> None:
        """A new message has all the time again."""
        self._left = self._seconds

    def __call__(self, name: str, type: RecordType) -> Answer:
        """What the DNS says of a name; see `domain.mail.reception.Resolver`."""
        now = time.monotonic()
        known = self._remembered.get((name, type))
        if known is not None and known[0] > now:
            return known[1]
        if self._left <= 0.0:
            return Answer(name, type, "failed")
        answer, ttl = self._ask(name, type)
        self._left -= time.monotonic() - now
        if answer.said != "failed":
            self._remembered[name, type] = now + min(ttl, MAX_TTL), answer
            while len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        return answer

    def _ask(self, name: str, type: RecordType) -> tuple[Answer, float]:
        # Imported where mail is verified: most homes have no resolver.
        import dns.exception
        import dns.nameserver
        import dns.rdatatype
        import dns.resolver
        import dns.reversename

        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in self._servers]
        resolver.timeout = max(0.05, self._left / 2)
        try:
            found = resolver.resolve(name, type, lifetime=max(0.05, self._left), search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return Answer(name, type, "nothing"), 60.0
        except (dns.exception.DNSException, OSError, ValueError):
            # A name that no DNS can hold is asked for by its sender; nobody has an answer.
            return Answer(name, type, "failed"), 0.0
        return Answer(name, type, "found", tuple(_text(record, type) for record in found)), float(found.rrset.ttl)  # type: ignore[union-attr]


def _text(record: object, type: RecordType) -> str:
    if type == "TXT":
        strings: Sequence[bytes] = record.strings  # type: ignore[attr-defined]
        return b"".join(strings).decode("latin-1")
    return str(record)


def _server(written: str) -> tuple[str, int]:
    host, _, port = written.strip().partition("#")
    try:
        return str(ipaddress.ip_address(host)), int(port or 53)
    except ValueError as exc:
        raise ConfigError(f"name server {written!r} is no address; write it as 192.0.2.53 or 192.0.2.53#5353") from exc
