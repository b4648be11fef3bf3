"""The form that a host's own mail has at its border, and an attack put into it."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field

from mailwarden.simulation.injection.letter import Field, Letter, field_of
from mailwarden.simulation.injection.origin import TRACE, Origin
from mailwarden.simulation.injection.received import dated, filled, is_form, moved, time_of
from mailwarden.simulation.mime import US_PER_S, date_header

_METHODS = re.compile(r"(?:^|[;\s])(spf|dkim|dmarc|arc)\s*=", re.IGNORECASE)
_STAMP = re.compile(r"20[0-3]\d[01]\d[0-3]\d")
_KEEPS = ("return-path", "delivered-to", "x-original-to", "envelope-to")
MOST_SHOWN = 4_096


@dataclass(slots=True)
class HostForm:
    """How a host's mail looks at the border, learned message by message; of bounded size.

    trusted: authserv-ids whose results the host believes; where none is given, one that most of the mail bears on top.
    """

    trusted: frozenset[str] = frozenset()
    messages: int = 0
    traces: Counter[str] = field(default_factory=Counter)
    servers: Counter[str] = field(default_factory=Counter)
    shown: Counter[str] = field(default_factory=Counter)
    recipients: Counter[str] = field(default_factory=Counter)
    last: Letter | None = None

    def learn(self, letter: Letter, shown: tuple[str, ...], recipients: tuple[str, ...]) -> None:
        """Take a message of the host in. shown: addresses of To and Cc; recipients: whom it was for."""
        self.messages += 1
        self.traces.update({one.key for one in letter.fields} & TRACE)
        for counter, names in ((self.shown, shown), (self.recipients, recipients)):
            counter.update(name for name in names if name in counter or len(counter) < MOST_SHOWN)
        above = _above(letter)
        self.servers.update({_server(one.value) for one in above if one.key == "authentication-results"})
        if _form_of(letter) is not None:
            self.last = Letter(above, b"", letter.eol)

    def believed(self) -> frozenset[str]:
        """The authserv-ids under which results are written into what is injected."""
        if self.trusted:
            return self.trusted
        return frozenset(name for name, times in self.servers.items() if name and times * 2 > self.messages)

    def usual_address(self, recipient: str, beside: tuple[str, ...]) -> str:
        """What To has for mail to a recipient: himself, or of the addresses beside him the most usual one."""
        if recipient in self.shown or not beside:
            return recipient
        return max(beside, key=lambda name: (self.shown[name], name))


def put_into_form(
    letter: Letter, origin: Origin, form: HostForm, anchor: Letter, recipient: str, at_us: int, rng: random.Random
) -> None:
    """Give the letter the top of the host's mail: path, results and date, as the anchor, one of its messages, has them.

    letter: without its first receiver's marks. at_us: when it arrives. A host whose mail bears no Received gets none.
    """
    by_us = 0 if origin.at_us is None else at_us - origin.at_us
    letter.keep(lambda one: one.key not in TRACE or form.traces[one.key] > 0)
    _move(letter, by_us)
    given = letter.first("message-id")
    if (stamped := _STAMP.sub(time.strftime("%Y%m%d", time.gmtime(at_us // US_PER_S)), given)) != given:
        letter.put("Message-ID", stamped)
    if not form.traces["received"]:
        letter.put("Date", dated(letter.first("date"), at_us))
        return
    date_us = time_of(letter.first("date"))
    if date_us is None:
        letter.put("Date", date_header(at_us, 0))
    model = anchor if _form_of(anchor) is not None else form.last or anchor
    letter.fields = _top(model, anchor, origin, form, recipient, at_us, rng, letter.eol) + letter.fields


def _top(
    model: Letter,
    anchor: Letter,
    origin: Origin,
    form: HostForm,
    recipient: str,
    at_us: int,
    rng: random.Random,
    eol: bytes,
) -> list[Field]:
    top: list[Field] = []
    shape = _form_of(model)
    for one in _above(model):
        if one.key == "return-path":
            top.append(field_of(one.name, f"<{origin.mail_from}>", eol))
        elif one.key in _KEEPS:
            top.append(field_of(one.name, recipient, eol))
        elif one.key == "received" and one is shape:
            value = filled(
                one.raw.decode("latin-1").partition(":")[2].strip().replace("\r\n", "\n"),
                rng,
                helo=origin.helo,
                name="" if origin.helo.startswith("mail.") and not origin.results else origin.helo,
                ip=origin.ip,
                mail_from=origin.mail_from,
                recipient=recipient,
                at_us=at_us,
            )
            top.append(field_of(one.name, value, eol))
    results = _results(anchor, origin, form)
    return top + [field_of("Authentication-Results", value, eol) for value in results]


def _results(anchor: Letter, origin: Origin, form: HostForm) -> list[str]:
    """What the first receiver found, under the host's name and for the methods that the anchor's results have."""
    believed = form.believed()
    theirs = [value for value in anchor.all("authentication-results") if _server(value) in believed]
    if not theirs:
        return []
    methods = list(dict.fromkeys(name.lower() for value in theirs for name in _METHODS.findall(value)))
    named = {"spf": "smtp.mailfrom", "dkim": "header.d", "dmarc": "header.from"}
    lines = [theirs[0].split(";")[0].strip()]
    for method in methods:
        verdict, domain = origin.results.get(method, ("none", ""))
        lines.append(f"{method}={verdict}" + (f" {named[method]}={domain}" if domain and method in named else ""))
    return [";\n\t".join(lines)]


def _move(letter: Letter, by_us: int) -> None:
    for at, one in enumerate(letter.fields):
        if one.key == "date":
            letter.fields[at] = field_of(one.name, moved(one.value, by_us), letter.eol)
        elif one.key in ("received", "x-received"):
            head, semicolon, date = one.value.rpartition(";")
            if semicolon:
                letter.fields[at] = field_of(one.name, f"{head};\n\t{moved(date.strip(), by_us)}", letter.eol)


def _above(letter: Letter) -> list[Field]:
    """The fields down to the one that has the border's form, or to the first Received, with results that follow."""
    shape = _form_of(letter)
    kept: list[Field] = []
    passed = False
    for one in letter.fields:
        if passed and one.key not in ("authentication-results", "received-spf"):
            break
        kept.append(one)
        passed = passed or one is shape or (shape is None and one.key == "received")
    return kept if passed else []


def _form_of(letter: Letter) -> Field | None:
    first = next((one for one in letter.fields if one.key == "received"), None)
    return first if first is not None and is_form(first.value) else None


def _server(value: str) -> str:
    return value.split(";")[0].strip().split(" ")[0].lower()
