"""The structures of mail programs: order of fields, what they add of their own, how they part a message."""

from __future__ import annotations

import base64
import hashlib
import random
from dataclasses import dataclass

from mailwarden.simulation.draft import Draft


@dataclass(frozen=True, slots=True)
class Client:
    """A mail program. order: its fields as they stand; extra: fields with fixed values, behind these.

    boundary: its form, `%h` a run of hex digits, `%H` one of capitals, `%d` of decimal digits, `%u` a UUID.
    """

    order: str
    extra: tuple[tuple[str, str], ...]
    boundary: str
    mime_version: str = "1.0"


CLIENTS: dict[str, Client] = {
    "suite": Client(
        "From To CC Subject Thread-Topic Thread-Index Date Message-ID References In-Reply-To Reply-To Accept-Language "
        "Content-Language X-MS-Has-Attach MIME-Version",
        (("X-Mailer", "Microsoft Outlook 16.0"),),
        "_000_%H_",
    ),
    "bird": Client(
        "Message-ID Date MIME-Version User-Agent Subject Content-Language To Cc References From Reply-To In-Reply-To",
        (("User-Agent", "Mozilla Thunderbird"),),
        "------------%h",
    ),
    "post": Client(
        "From Content-Language MIME-Version Subject Message-Id Date Cc To References In-Reply-To Reply-To",
        (("X-Mailer", "Apple Mail (2.3774.500.171.1.1)"),),
        "Apple-Mail=_%u",
        "1.0 (Mac OS X Mail 16.0 \\(3774.500.171.1.1\\))",
    ),
    "webmail": Client(
        "MIME-Version References In-Reply-To From Date Message-ID Subject To Cc Reply-To", (), "000000000000%h"
    ),
    "bulk": Client(
        "Date From MIME-Version Message-ID Subject Reply-To To Cc References In-Reply-To",
        (("X-Feedback-ID", "1::1:bulk"),),
        "%h",
    ),
    "script": Client(
        "Date To Cc From Reply-To Subject Message-ID References In-Reply-To MIME-Version",
        (("X-Mailer", "PHPMailer 6.9.1"),),
        "b1_%h",
    ),
}
_LANGUAGES = {"en": "en-GB", "de": "de-DE", "fr": "fr-FR"}


def own_fields(draft: Draft, values: dict[str, str]) -> list[tuple[str, str]]:
    """The fields of the draft's program in its order, and with the names as it writes them.

    values: by name in lower case, those that every program has; what is empty is left out.
    """
    client = CLIENTS[draft.sender.mailer]
    fixed = {name.lower(): value for name, value in client.extra}
    given = {**_of_program(draft), **fixed, "mime-version": client.mime_version, **values}
    found = [(name, given.get(name.lower(), "")) for name in client.order.split(" ")]
    listed = {name for name, _ in found}
    return [(n, v) for n, v in (*found, *(one for one in client.extra if one[0] not in listed)) if v]


def boundary(rng: random.Random, mailer: str) -> str:
    """A boundary as the program writes one."""
    bits = f"{rng.getrandbits(128):032x}"
    form = CLIENTS[mailer].boundary
    dashed = f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}".upper()
    return form.replace("%u", dashed).replace("%h", bits[:18]).replace("%H", bits.upper())


def _of_program(draft: Draft) -> dict[str, str]:
    root = draft.references[0] if draft.references else draft.message_id
    topic = draft.subject.removeprefix("Re: ").removeprefix("AW: ").removeprefix("Fwd: ")
    index = b"\x01\xdc" + hashlib.sha256(root.encode()).digest()[:20]
    language = _LANGUAGES.get(draft.sender.language, "en-US")
    return {
        "thread-topic": topic if topic.isascii() else "",
        "thread-index": base64.b64encode(index).decode(),
        "accept-language": f"{language}, en-US",
        "content-language": language,
        "x-ms-has-attach": "yes" if draft.files else "",
    }
