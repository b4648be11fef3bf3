"""Which fields of a message's head its sender cannot have written, by what a tenant trusts (RFC 8601 section 7.1).

A mail system puts its fields above all that came with a message. So whatever stands above the Received field of the
host that took the message from outside, the border, is the site's own; what stands below it came with the message,
whatever names it bears.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mailwarden.domain.mail.addresses import registrable_domain
from mailwarden.domain.mail.networks import is_private
from mailwarden.domain.mail.trust import Trust
from mailwarden.ingest.received import by_host_of
from mailwarden.ingest.results import Results, read_results

MAX_FIELDS = 100
"""Authentication-Results fields that are read; a mail system writes few, and they stand on top."""

MAX_RECEIVED = 2_000
"""Characters of a Received field that are looked at."""

_BY = re.compile(r"[\s)]by\s", re.IGNORECASE)
_IP = re.compile(
    r"(?<![\w.:-])(?:ipv6:)?((?:\d{1,3}\.){3}\d{1,3}|[0-9a-f]{0,4}:[0-9a-f:.]{1,40})(?![\w.:-])", re.IGNORECASE
)
_NAMED_PEER = re.compile(r"\(([a-z0-9._-]{1,253})\s+\[[0-9a-f:.]{2,45}\]\)\s*+$", re.IGNORECASE)

Fields = Sequence[tuple[str, str]]
"""Header fields in order, the topmost first: name as written, value unfolded."""


def believed(fields: Fields, trust: Trust) -> tuple[tuple[Results, ...], int]:
    """The results that are believed, the topmost first, and how many fields bear a trusted id where a sender put them.

    An authserv-id is believed above the border, or, where none stands there, in the first run of fields that bear it,
    up to the next Received, or to one that speaks of a method again: some write their results below their own Received,
    where nothing else parts them from a sender's. A position, and whatever stands above
    a named hop, is believed there alone.
    """
    found = [(at, read_results(value)) for at, value in _named(fields, "authentication-results")[:MAX_FIELDS]]
    if not found:
        return (), 0
    hops = _named(fields, "received")
    border = _named_hop(hops, trust) if trust.hops else _border(hops, 0, len(fields))
    kept: set[int] = set()
    if trust.topmost:
        below = border if trust.hops else _border(hops, trust.behind, len(fields))
        kept.update([at for at, _ in found if at < below][: trust.topmost])
    bearing = [at for at, results in found if results.authserv_id and results.authserv_id in trust.authserv_ids]
    if bearing:
        above = [at for at in bearing if at < border]
        if not above and not trust.hops:
            end = next((at for at, _ in hops if at > bearing[0]), len(fields))
            above = _of_one_host([(at, results) for at, results in found if at in bearing and at < end])
        kept.update(above)
    elif trust.hops and not trust.authserv_ids and not trust.topmost:
        kept.update(at for at, _ in found if at < border)
    return tuple(results for at, results in found if at in kept), len(set(bearing) - kept)


def _of_one_host(run: Sequence[tuple[int, Results]]) -> list[int]:
    """Of fields that stand one below the other with nothing between, those that one host wrote: it says once what it
    found by a method, and whoever speaks of it again below came with the message."""
    told: set[str] = set()
    kept = []
    for at, results in run:
        methods = {one.method for one in results.results}
        if told & methods:
            break
        told |= methods
        kept.append(at)
    return kept


def client_of(fields: Fields, trust: Trust) -> str:
    """The Received value in which a named hop says whom it took the message from; "" where none is named or found."""
    hops = _named(fields, "received")
    border = _named_hop(hops, trust) if trust.hops else -1
    return fields[border][1] if border >= 0 else ""


def hand_over(fields: Fields, trust: Trust) -> int:
    """Which of the Received fields, counted from the top, says how a message came to the site: that of the topmost
    named hop, or, where none is named, the first that is not of the inside; -1 where there is none."""
    hops = _named(fields, "received")
    border = _named_hop(hops, trust) if trust.hops else _border(hops, trust.behind, -1)
    return next((number for number, (at, _) in enumerate(hops) if at == border), -1)


def _named(fields: Fields, wanted: str) -> list[tuple[int, str]]:
    return [
        (at, value) for at, (name, value) in enumerate(fields) if len(name) == len(wanted) and name.lower() == wanted
    ]


def _named_hop(hops: list[tuple[int, str]], trust: Trust) -> int:
    """Where the topmost Received by a named hop stands, -1 where there is none: then nothing is believed."""
    return next((at for at, value in hops if _is_named(by_host_of(value), trust.hops)), -1)


def _is_named(host: str, names: frozenset[str]) -> bool:
    return bool(host) and (host in names or any(name[0] == "." and host.endswith(name) for name in names))


def _border(hops: list[tuple[int, str]], behind: int, end: int) -> int:
    """Where the Received field stands by which the message came in; `end` where all were handed over inside.

    behind: fields that are the site's own, whatever they look like.
    """
    return next((at for at, value in hops[behind:] if not is_inside(value)), end)


def is_inside(received: str) -> bool:
    """Whether a Received field is of a message handed over inside of one site: no host that it came from, private
    addresses alone, or a peer whose name was confirmed and is of the receiving host's own domain.

    What a peer calls itself counts for nothing. Source: RFC 5321 section 4.4, RFC 6890.
    """
    text = received[:MAX_RECEIVED]
    if not text.lstrip()[:5].lower().startswith("from"):
        return True
    by = _BY.search(text)
    if by is None:
        return False
    sent = text[: by.start() + 1]
    addresses = [one[1] for one in _IP.finditer(sent)]
    if not addresses:
        return False
    if all(map(is_private, addresses)):
        return True
    peer = _NAMED_PEER.search(sent.rstrip())
    domain = registrable_domain(by_host_of(received))
    return peer is not None and bool(domain) and registrable_domain(peer[1].lower()) == domain
