"""The list of sites that rewrite links or send visitors on: where in their links the target stands.

Other lists are looked up by features, which are handed them; this one is read by the parser, wherever mail is parsed,
and is that of the environment (`MAILWARDEN_LISTS`), once a process. Spark's workers are handed the driver's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mailwarden.domain.mail.addresses import normalise_host, registrable_domain

KINDS = ("rewriter", "redirector")
"""rewriter: it protects the reader's mailbox, and no sender chose it; redirector: a sender may."""

HOW = (
    "query", "query-or-path", "path", "host", "base64", "url-defense-2", "url-defense-3", "underscores", "amp",
    "translated", "opaque",
)  # fmt: skip
"""How a target stands in a link.

query: in the first named field of the query that holds an address; query-or-path: there, else as `path`; path: the
first address behind the host, encoded or not; host: the named field holds its host alone; base64: in named fields, or
anywhere, as base 64 of an address or of what holds one; url-defense-2, url-defense-3: as Proofpoint writes them;
underscores: between three underscores; amp: the host in the path, behind `/amp/` or `/c/`; translated: the host as
the first label, dots as hyphens; opaque: it does not stand in the link.
"""

_NAMED = frozenset(("query", "query-or-path", "host", "url-defense-2"))
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


def redirector_entry(line: str) -> tuple[str, tuple[str, ...]]:
    """An entry that is `host/path: kind how field field`, or, to take one out, `host/path` alone."""
    key, colon, rest = line.partition(":")
    host, slash, path = key.strip().partition("/")
    host = normalise_host(host)
    labels = host.split(".")
    if len(labels) < 2 or not all(map(_LABEL.fullmatch, labels)) or any(map(str.isspace, path)):
        raise ValueError(f"{key[:80]!r} is no host with a path; write `example.com/go: redirector query url`")
    if not registrable_domain(host):
        raise ValueError(f"{host[:80]!r} is a public suffix, and would stand for everybody's sites under it; name them")
    words = rest.split()
    if not colon:
        return f"{host}{slash}{path}", ()
    if len(words) < 2 or words[0] not in KINDS or words[1] not in HOW:
        raise ValueError(
            f"{rest.strip()[:80]!r} is not how a target stands in a link; write one of {', '.join(KINDS)}, then one of "
            f"{', '.join(HOW)}, then the names of fields"
        )
    if words[1] in _NAMED and len(words) < 3:
        raise ValueError(f"{line[:80]!r} names no field; write those that hold the target behind {words[1]!r}")
    return f"{host}{slash}{path}", (words[0], words[1], *(word.lower() for word in words[2:]))


@dataclass(frozen=True, slots=True)
class RedirectorList:
    """entries: by host with path, kind, how and fields. fingerprint: of the list's version and content."""

    entries: Mapping[str, tuple[str, ...]]
    fingerprint: str


_in_use: RedirectorList | None = None


def use_redirectors(kept: RedirectorList) -> None:
    """Have this process read by another's list: a worker, whose own environment may name another or none."""
    global _in_use
    _in_use = kept


def redirectors_in_use() -> RedirectorList:
    """The list that this process reads by: what it was handed, else that of its environment, loaded once.

    Raises ConfigError as `load_lists` does.
    """
    if _in_use is None:
        use_redirectors(_of_environment())
    assert _in_use is not None
    return _in_use


def _of_environment() -> RedirectorList:
    from mailwarden.stores.lists import load_redirectors

    # As `Settings.lists_path` has it: to import settings takes 0.2 s of a process that only reads mail.
    folder = os.environ.get("MAILWARDEN_LISTS", "")
    return load_redirectors(Path(folder).expanduser().resolve() if folder else None)
