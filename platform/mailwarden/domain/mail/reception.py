"""How a message was received: what its reading rests on beside its bytes, kept with them so that it reads so again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from mailwarden.domain.mail.directory_answer import DirectoryAnswer
from mailwarden.domain.mail.trust import Trust
from mailwarden.errors import DataError

RecordType = Literal["A", "AAAA", "MX", "PTR", "TXT"]
Said = Literal["found", "nothing", "failed"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the DNS said of a name. said: records were found, there are none of that type, or it could not be asked in
    time. records: as text: of TXT the strings joined, latin-1; of MX "preference host"; others as they are written."""

    name: str
    type: RecordType
    said: Said
    records: tuple[str, ...] = ()


Resolver = Callable[[str, RecordType], Answer]
"""Asks the DNS, within a bounded time; raises nothing: what cannot be asked is "failed"."""


@dataclass(frozen=True, slots=True)
class Reception:
    """How a message was received.

    trust: whom its tenant trusted then; None where that is not known. client_ip, helo: the host that handed it over,
    and what that one called itself, as the mail system knows; "" where unknown. answers: what the DNS said when its
    signatures were verified; None where nobody asked. auth_user, queue_id, flow: kept of the envelope, see
    `domain.mail.message.Envelope`; "" where the mail system did not say. directory: what the tenant's directory and own
    domains said of it then; None where nobody asked, or the directory could not be had.
    """

    trust: Trust | None = None
    client_ip: str = ""
    helo: str = ""
    answers: tuple[Answer, ...] | None = None
    auth_user: str = ""
    queue_id: str = ""
    flow: Literal["", "inbound", "outbound"] = ""
    directory: DirectoryAnswer | None = None

    def to_text(self) -> str:
        """As JSON, what is not known left out."""
        values: dict[str, Any] = {}
        if self.trust is not None:
            values["trust"] = self.trust.to_json()
        if self.client_ip:
            values["client_ip"] = self.client_ip
        if self.helo:
            values["helo"] = self.helo
        for name in ("auth_user", "queue_id", "flow"):
            if getattr(self, name):
                values[name] = getattr(self, name)
        if self.answers is not None:
            values["answers"] = [[a.name, a.type, a.said, a.records] for a in self.answers]
        if self.directory is not None:
            values["directory"] = self.directory.to_json()
        return _JSON.encode(values)

    @classmethod
    def from_text(cls, text: str) -> Reception:
        """What `to_text` wrote; raises DataError where it is something else."""
        try:
            values = json.loads(text)
            trust, answers, directory = values.get("trust"), values.get("answers"), values.get("directory")
            return cls(
                None if trust is None else Trust.from_json(trust),
                values.get("client_ip", ""),
                values.get("helo", ""),
                None if answers is None else tuple(Answer(n, t, s, tuple(r)) for n, t, s, r in answers),
                values.get("auth_user", ""),
                values.get("queue_id", ""),
                values.get("flow", ""),
                None if directory is None else DirectoryAnswer.from_json(directory),
            )
        except (ValueError, TypeError, AttributeError) as exc:
            raise DataError("how a message was received is kept in a form that this version did not write") from exc


_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def reception_of(text: str | None) -> Reception | None:
    """The same of a column that may be null, as that of mail from before it was kept is."""
    return None if not text else Reception.from_text(text)
