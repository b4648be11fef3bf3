"""What a message's verification asks the DNS: bounded, each question once, and kept so that it is never asked again."""

from __future__ import annotations

from mailwarden.domain.mail.reception import Answer, RecordType, Resolver
from mailwarden.ingest.budget import LOOKUPS
from mailwarden.ingest.reading import Reading

MAX_NAME = 253
MAX_RECORDS = 50
MAX_RECORD = 8 * 1024
"""Records of one answer, and characters of one record, that are kept: more means nothing to SPF, DKIM or DMARC."""


class LookupFailed(Exception):
    """The DNS could not be asked, or not in time; RFC 8601 has "temperror" for what follows."""


class Questions:
    """The DNS as one message sees it.

    resolver: asks it; None where what was asked before is all that is known. known: answers kept with the message, of
    which no name is asked again. `answers` has all that was used, in order.
    """

    def __init__(self, resolver: Resolver | None, known: tuple[Answer, ...], reading: Reading) -> None:
        self._resolver, self._reading = resolver, reading
        self._known = {(answer.name, answer.type): answer for answer in known}
        self.failed = False

    def ask(self, name: str, type: RecordType) -> tuple[str, ...]:
        """The records of a name, none where it has none; raises LookupFailed."""
        name = name.lower().rstrip(".")
        if not 0 < len(name) <= MAX_NAME or not name.isascii():
            return ()
        answer = self._known.get((name, type))
        if answer is None:
            answer = self._asked(name, type)
            self._known[name, type] = answer
        if answer.said == "failed":
            self.failed = True
            raise LookupFailed(f"{type} of a name was not answered")
        return answer.records

    def _asked(self, name: str, type: RecordType) -> Answer:
        if self._resolver is None or not self._reading.take(LOOKUPS):
            return Answer(name, type, "failed")
        found = self._resolver(name, type)
        records = tuple(record for record in found.records[:MAX_RECORDS] if len(record) <= MAX_RECORD)
        return Answer(name, type, found.said, records)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All that is known by now."""
        return tuple(self._known.values())
