"""SPF of the host that handed a message over (RFC 7208), by pyspf, with the message's own questions to the DNS."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any

from mailwarden.ingest.verification.questions import LookupFailed, Questions

_VERDICTS = {"pass", "fail", "softfail", "neutral", "none", "temperror", "permerror"}
_MAX_CALLS = 400
"""Names that one evaluation may go through, answered before or not: a record of 8 KB names hundreds."""


def check_spf(client_ip: str, mail_from: str, helo: str, questions: Questions) -> str | None:
    """A verdict of RFC 7208 section 2.6; None where the client's address is none.

    mail_from: "" for the null path, for which the greeting counts. SPF's limits of ten look-ups and two void ones hold.
    """
    try:
        ipaddress.ip_address(client_ip)
    except ValueError:
        return None
    if not mail_from and not helo:
        return None
    query = query_class()(client_ip, mail_from, helo, questions)
    try:
        verdict = query.check()[0]
    except LookupFailed:
        return "temperror"
    except Exception:
        return "permerror"
    return verdict if verdict in _VERDICTS else "permerror"


@lru_cache(maxsize=1)
def query_class() -> Any:
    """pyspf's evaluation, bound to the questions of a message."""
    # Imported where a message first needs it: no trusted result stands, and a resolver is given.
    import spf

    class Query(spf.query):  # type: ignore[misc]
        """pyspf's evaluation, asking nobody but the message's questions, and explaining nothing."""

        def __init__(self, ip: str, sender: str, helo: str, questions: Questions) -> None:
            super().__init__(ip, sender, helo, strict=True, querytime=0)
            self.t = "0"
            self._questions, self._calls = questions, 0

        def get_explanation(self, spec: str) -> str:
            """None: it is for people, and costs a look-up."""
            return ""

        def dns(self, name: str, qtype: str, cnames: Any = None, ignore_void: bool = False) -> list[Any]:
            """The records of a name, in the forms that pyspf has."""
            self._calls += 1
            if self._calls > _MAX_CALLS or qtype not in ("A", "AAAA", "MX", "PTR", "TXT"):
                return []
            try:
                records = questions_answer(self._questions, str(name), qtype)
            except LookupFailed as exc:
                raise spf.TempError("DNS") from exc
            if not records and not ignore_void:
                self.void_lookups += 1
                if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                    raise spf.PermError("Void lookup limit exceeded")
            return records

    return Query


def questions_answer(questions: Questions, name: str, kind: str) -> list[Any]:
    """What a name has, as pyspf takes it: TXT as bytes in tuples, MX as (preference, host), addresses packed or not."""
    records = questions.ask(name, kind)  # type: ignore[arg-type]
    if kind == "TXT":
        return [(record.encode("latin-1", "replace"),) for record in records]
    if kind == "MX":
        pairs = (record.split(None, 1) for record in records)
        return [(int(p[0]), p[1].strip().rstrip(".")) for p in pairs if len(p) == 2 and p[0].isdecimal()]
    if kind == "AAAA":
        found = []
        for record in records:
            try:
                found.append(ipaddress.IPv6Address(record).packed)
            except ValueError:
                continue
        return found
    return [record.rstrip(".") for record in records]
