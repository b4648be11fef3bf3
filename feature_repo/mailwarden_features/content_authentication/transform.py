"""Facts of authentication, from results that a trusted host wrote."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message

_PASS = "pass"
_FAILS = frozenset({"fail", "softfail"})


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """Trusted verdicts, as the words of RFC 8601 and as numbers; null where nothing trusted speaks of the method."""
    found = message.authentication
    values: dict[str, ContentValue] = {
        "dkim_aligned": None if found.dkim_aligned is None else int(found.dkim_aligned),
    }
    for method, verdict in (("spf", found.spf), ("dkim", found.dkim), ("dmarc", found.dmarc), ("arc", found.arc)):
        values[method] = verdict
        values[f"{method}_pass"] = None if verdict is None else int(verdict == _PASS)
        values[f"{method}_fail"] = None if verdict is None else int(verdict in _FAILS)
    return values
