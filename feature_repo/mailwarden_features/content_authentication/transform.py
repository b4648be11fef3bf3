"""Facts of authentication, from results that a trusted host wrote or that were verified here."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.facts import authenticated
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message

_PASS = "pass"
_FAILS = frozenset({"fail", "softfail"})


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """Verdicts as the words of RFC 8601 and as numbers; null where nothing that is believed speaks of the method."""
    found = message.authentication
    values: dict[str, ContentValue] = {
        "dkim_aligned": _flag(found.dkim_aligned),
        "spf_aligned": _flag(found.spf_aligned),
        "authenticated": _flag(authenticated(message)),
        "said_by": found.source or None,
        "dkim_signatures": found.signatures if found.dkim is not None else None,
        "dmarc_policy": found.policy,
        "sealer_vouches": _flag(found.sealer_vouches),
        "forged_results": found.forged,
    }
    for method, verdict in (("spf", found.spf), ("dkim", found.dkim), ("dmarc", found.dmarc), ("arc", found.arc)):
        values[method] = verdict
        values[f"{method}_pass"] = None if verdict is None else int(verdict == _PASS)
        values[f"{method}_fail"] = None if verdict is None else int(verdict in _FAILS)
    return values


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)
