"""A message has one content key whichever way it comes, and another one as soon as a reader could be shown another."""

from __future__ import annotations

import base64
import quopri
from dataclasses import replace

import pytest

from mailwarden.domain.mail.message import Envelope
from mailwarden.ingest.content_keys import key_of_bytes
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.receive import Site, receive

TEXT = "Grüße, see https://a.example/ and answer.\nYours\n"
FILE = b"%PDF-1.4 \r\n a file \x00\n\n"
FIELDS = {
    "From": "Ann <ann@far.example>",
    "To": "bob@acme.example, eve@acme.example",
    "Subject": "A long subject of many words, so that it may be folded",
    "Date": "Sun, 8 Apr 2007 12:59:00 +0000",
    "Message-ID": "<1@far.example>",
    "Reply-To": "ann@elsewhere.example",
}
TRACE = (
    "Return-Path: <ann@far.example>\nDelivered-To: bob@acme.example\nX-Mailwarden-Verdict: junk\n"
    "Authentication-Results: mx.acme.example; dmarc=fail\nDKIM-Signature: v=1; d=far.example; b=x\n"
    "Received: from a by b.acme.example; Sun, 8 Apr 2007 13:00:00 +0000\nX-Spam: Yes\n"
)


def part(content_type: str, body: bytes, encoding: str, *, filename: str = "") -> bytes:
    encoded = {
        "8bit": lambda: body,
        "quoted-printable": lambda: quopri.encodestring(body),
        "base64": lambda: base64.encodebytes(body),
    }[encoding]()
    named = f'Content-Disposition: attachment; filename="{filename}"\n' if filename else ""
    head = f"Content-Type: {content_type}\nContent-Transfer-Encoding: {encoding}\n{named}\n"
    return head.encode() + encoded


def mail(
    *,
    trace: str = "",
    encoding: str = "8bit",
    text: str = TEXT,
    content_type: str = "text/plain; charset=utf-8",
    file: bytes = FILE,
    filename: str = "a.pdf",
    boundary: str = "xyz",
    multipart: str = "mixed",
    turned: bool = False,
    **fields: str,
) -> bytes:
    named = {name: fields.get(name.replace("-", "_"), value) for name, value in FIELDS.items()}
    head = trace + "".join(f"{name}: {value}\n" for name, value in named.items() if value)
    head += f'MIME-Version: 1.0\nContent-Type: multipart/{multipart}; boundary="{boundary}"\n\n'
    parts = [
        part(content_type, text.encode(), encoding),
        part("application/pdf", file, "base64", filename=filename),
    ]
    body = b"".join(b"--%b\n%b\n" % (boundary.encode(), one) for one in (parts[::-1] if turned else parts))
    return head.encode() + body + b"--%b--\n" % boundary.encode()


def key(raw: bytes) -> str:
    return parse_message(raw).content_key


PLAIN = mail()

CARRIED = {
    "trace": mail(trace=TRACE),
    "line ends": PLAIN.replace(b"\n", b"\r\n"),
    "quoted-printable": mail(encoding="quoted-printable"),
    "base64": mail(encoding="base64"),
    "other boundary": mail(boundary="0123456789"),
    "folded": PLAIN.replace(b"many words", b"many\n words").replace(b"eve@", b"\n eve@"),
    "names of fields": PLAIN.replace(b"Subject:", b"SUBJECT:").replace(b"Message-ID:", b"Message-Id:"),
    "order of fields": TRACE.encode() + b"Date: " + FIELDS["Date"].encode() + b"\n" + mail(Date=""),
    "lines behind": PLAIN + b"\n\n",
}

OTHERS = {
    "From": mail(From="Bea <ann@far.example>"),
    "Subject": mail(Subject="Another"),
    "Date": mail(Date="Sun, 8 Apr 2007 12:59:01 +0000"),
    "Message-ID": mail(Message_ID="<2@far.example>"),
    "Reply-To": mail(Reply_To="x@elsewhere.example"),
    "To": mail(To="bob@acme.example"),
    "no Date": mail(Date=""),
    "a second From": b"From: boss@acme.example\n" + PLAIN,
    "text": mail(text=TEXT.replace("a.example", "b.example")),
    "white space": mail(text=TEXT.replace("see ", "see  ")),
    "charset": mail(content_type="text/plain; charset=latin-1"),
    "type": mail(content_type="text/html; charset=utf-8"),
    "file": mail(file=FILE + b"\n"),
    "line end within a file": mail(file=FILE.replace(b"\r\n", b"\n")),
    "name of a file": mail(filename="a.exe"),
    "order of parts": mail(turned=True),
    "alternatives": mail(multipart="alternative"),
}


@pytest.mark.parametrize("how", CARRIED)
def test_what_carried_a_message_is_not_in_its_key(how: str) -> None:
    assert len(key(PLAIN)) == 40
    assert key(CARRIED[how]) == key(PLAIN)


def test_whatever_a_reader_is_shown_makes_another_key() -> None:
    keys = {how: key(raw) for how, raw in OTHERS.items()} | {"": key(PLAIN)}
    assert len(set(keys.values())) == len(OTHERS) + 1 and all(len(one) == 40 for one in keys.values())


def test_mail_that_bears_neither_date_nor_id_has_none() -> None:
    assert key(mail(Date="", Message_ID="")) == ""
    assert len(key(mail(Date="", Message_ID="<1@far.example>"))) == len(key(mail(Message_ID=""))) == 40


def test_what_was_not_read_in_full_is_known_by_its_bytes() -> None:
    raw = PLAIN.replace(b"--xyz--", b"--xyz\nContent-Type: text/plain\n\nmore\n" * 5_000 + b"--xyz--")
    message = parse_message(raw)
    assert message.unread and message.content_key == key_of_bytes(message.content_sha256)
    assert key(TRACE.encode() + raw) != message.content_key


def test_it_is_the_events_and_does_not_hang_on_the_envelope_or_the_tenant() -> None:
    site = Site("acme", frozenset({"acme.example"}))
    envelope = Envelope(1_176_037_200_000_000, "ann@far.example", ("bob@acme.example",), queue_id="4F1C2")
    event = receive(PLAIN, envelope, site).event
    assert (event.content_key, event.queue_id, event.copy_of) == (key(PLAIN), "4F1C2", "")
    other = receive(b"From ann@far.example Sun Apr  8 13:07:32 2007\n" + PLAIN, Envelope(), replace(site, tenant="b"))
    assert other.event.content_key == event.content_key and other.event.message_id != event.message_id


GOOD, BAD = b"<p>Minutes of our meeting</p>", b'<p>Suspended: <a href="https://login.example/">confirm</a></p>'
HEAD = b"".join(b"%b: %b\n" % (name.encode(), value.encode()) for name, value in FIELDS.items())


def related(start: str, *bodies: tuple[str, bytes]) -> bytes:
    named = f'; start="<{start}>"' if start else ""
    parts = (b"--r\nContent-Type: text/html\nContent-ID: <%b>\n\n%b\n" % (i.encode(), body) for i, body in bodies)
    return b"Content-Type: multipart/related; boundary=r%b\n\n%b--r--\n" % (named.encode(), b"".join(parts))


def both(first: bytes, second: bytes) -> bytes:
    return b"Content-Type: multipart/mixed; boundary=m\n\n--m\n%b\n--m\n%b\n--m--\n" % (first, second)


def wide(data: bytes) -> bytes:
    return part("text/plain; charset=UTF-16BE", data, "base64")


def elsewhere(url: str) -> bytes:
    pointer = f'Content-Type: message/external-body; access-type=URL; url="{url}"\n\nContent-Type: text/html\n\n'
    return both(b"\nhello", pointer.encode())


def raw_file(data: bytes) -> bytes:
    return both(b"\nhello", b"Content-Type: application/zip; name=a.zip\nContent-Transfer-Encoding: binary\n\n" + data)


LURE = "Suspended: confirm at https://login.example/".encode("utf-16-be")

ALIKE = {
    "which part is the root": (related("a", ("a", GOOD), ("b", BAD)), related("b", ("a", GOOD), ("b", BAD))),
    "what the root refers to": (
        related("a", ("a", GOOD), ("b", BAD)),
        both(related("", ("a", GOOD)), related("", ("b", BAD))),
    ),
    "halves of characters": (wide(b"\x4e\x0d\x0a" + LURE + b"\x4e"), wide(b"\x4e\x0a" + LURE + b"\x4e")),
    "where the content is": (elsewhere("https://a.example/"), elsewhere("https://login.example/")),
    "line ends of a file sent as it is": (raw_file(b"PK\0\r\n\r\nx"), raw_file(b"PK\0\n\nx")),
    "encrypted": (both(b"\na", b"\nb"), both(b"\na", b"\nb").replace(b"/mixed", b"/encrypted")),
}
"""Pairs of bodies that differ in little, and of which a reader shows one as another than the other."""


@pytest.mark.parametrize("how", ALIKE)
def test_what_decides_which_part_is_shown_and_as_what_is_in_the_key(how: str) -> None:
    keys = [key(HEAD + body) for body in ALIKE[how]]
    assert keys[0] != keys[1] and all(len(one) == 40 for one in keys)


def test_no_field_passes_for_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what the digest is made of, a part begins with a digit and what stands behind the last one does not."""
    taken: list[bytes] = []

    class Digest:
        def update(self, data: bytes) -> None:
            taken.append(bytes(data))

        def hexdigest(self) -> str:
            return "0" * 40

    monkeypatch.setattr("hashlib.blake2b", lambda **_: Digest())
    assert key(HEAD + both(b"\na", b"\nb")) == "0" * 40
    *parts, fields = taken
    assert [head[:1].isdigit() for head in parts[::2]] == [True, True] and not fields[:1].isdigit()
