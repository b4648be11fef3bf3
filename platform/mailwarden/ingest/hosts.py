"""Hosts and addresses as a message writes them, normalised within the message's budget."""

from __future__ import annotations

from mailwarden.domain.mail.addresses import MAX_ADDRESS, normalise_address, normalise_host
from mailwarden.domain.mail.message import Aspect
from mailwarden.domain.status import Status
from mailwarden.ingest.budget import HOST_LABELS
from mailwarden.ingest.reading import Reading

_MAX_HOST = 253
_DOTS = ".\u3002\uff0e\uff61"


def read_host(written: str, reading: Reading, aspect: Aspect, part: int = 0) -> str:
    """The normal form of a host; "" where it is too long to be one, or its international labels exceed the budget."""
    # Cut before it is looked up: what is remembered of former hosts must not hold a stranger's 32 KB as a name.
    host = written.strip().strip(".")
    if len(host) > _MAX_HOST or not _affords(host, reading, aspect, part):
        return ""
    return normalise_host(host)


def read_address(written: str, reading: Reading, part: int = 0) -> str:
    """The normal form of an address; "" where it is none, or its international labels exceed the budget."""
    if len(written) > MAX_ADDRESS + 40 or not _affords(written, reading, "headers", part):
        return ""
    return normalise_address(written)


def _affords(name: str, reading: Reading, aspect: Aspect, part: int) -> bool:
    """Whether the labels that IDNA has to convert, at some microseconds a character, are within the budget."""
    if name.isascii() and "--" not in name:
        return True
    labels = 1 + sum(map(name.count, _DOTS))
    if reading.take(HOST_LABELS, labels, part) == labels:
        return True
    reading.unread(aspect, Status.OVER_BUDGET)
    return False
