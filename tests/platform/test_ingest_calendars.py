from __future__ import annotations

import base64

import pytest

from mailwarden.domain.mail.message import Invitation, Message
from mailwarden.domain.status import Status
from mailwarden.ingest.parse import parse_message

EVENT = (
    "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VTIMEZONE\r\nTZID:x\r\nCOMMENT:no\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\n"
    "SUMMARY;LANGUAGE=en:Your subscription renews\\, today\r\nLOCATION:https://meet.evil.example/room\r\n"
    "DESCRIPTION:Account suspended.\\nVerify at https://login.evi\r\n l.example/v or call +1 800 555 0100\r\n"
    'ORGANIZER;CN="Desk: Billing":mailto:desk@evil.example\r\n'
    "ATTENDEE;RSVP=TRUE:mailto:lee@corp.example\r\nATTENDEE:mailto:bob@corp.example\r\n"
    "URL:https://pay.evil.example/\r\nATTACH;FMTTYPE=text/html:https://files.evil.example/a.html\r\n"
    "BEGIN:VALARM\r\nDESCRIPTION:Pay now\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
SHOWN = [
    "Your subscription renews, today", "https://meet.evil.example/room",
    "Account suspended.\nVerify at https://login.evil.example/v or call +1 800 555 0100", "Desk: Billing", "Pay now",
]  # fmt: skip
HOSTS = {"meet.evil.example", "login.evil.example", "pay.evil.example", "files.evil.example"}
REQUEST = Invitation("REQUEST", "desk@evil.example", "evil.example", 2)


def read(*parts: str, kind: str = "alternative") -> Message:
    body = "".join(f"--=b\r\n{one}\r\n" for one in parts)
    return parse_message(f'Content-Type: multipart/{kind}; boundary="=b"\r\n\r\n{body}--=b--\r\n'.encode())


def calendar(source: str = EVENT, content_type: str = "text/calendar; method=REQUEST", *more: str) -> str:
    return "\r\n".join([f"Content-Type: {content_type}", *more, "", source])


@pytest.mark.parametrize(
    "part",
    [
        calendar(),
        calendar(EVENT.replace("\r\n", "\n")),
        calendar(EVENT.replace("END:VEVENT\r\nEND:VCALENDAR\r\n", "")),
        calendar(EVENT, "text/calendar; name=invite.ics", "Content-Disposition: attachment; filename=invite.ics"),
        calendar(EVENT, "application/ics; name=invite.ics", "Content-Disposition: attachment; filename=invite.ics"),
        calendar(EVENT, "application/octet-stream", "Content-Disposition: attachment; filename=invite.ics"),
        calendar(base64.encodebytes(EVENT.encode()).decode(), "text/calendar", "Content-Transfer-Encoding: base64"),
    ],
)
def test_an_invitation_is_read_as_its_reader_sees_it(part: str) -> None:
    for message in (read("\r\n", part), read("\r\n", part, kind="mixed")):
        assert message.new_text == "\n\n".join(SHOWN)
        assert {url.host for url in message.urls} == HOSTS
        assert message.invitations == (REQUEST,)


def test_a_message_may_be_a_calendar() -> None:
    message = parse_message(f"Content-Type: text/calendar\r\n\r\n{EVENT}".encode())
    assert message.new_text == "\n\n".join(SHOWN) and message.attachments == ()


def test_what_the_text_beside_it_says_already_is_not_said_twice() -> None:
    text = "Content-Type: text/plain\r\n\r\n" + "\r\n".join(SHOWN).replace(". ", ".\r\n")
    attached = calendar(EVENT, "application/ics", "Content-Disposition: attachment; filename=invite.ics")
    message = read(text, calendar(), attached)
    assert " ".join(message.new_text.split()) == " ".join("\n".join(SHOWN).split())
    assert len(message.invitations) == 2 and [one.filename for one in message.attachments] == ["invite.ics"]


def test_a_description_in_html_is_read_as_html() -> None:
    html = 'X-ALT-DESC;FMTTYPE=text/html:<p>Please <a href="https://evil.example/">sign in</a>\\, now<p hidden>x\r\n'
    message = parse_message(f"Content-Type: text/calendar\n\nBEGIN:VEVENT\r\n{html}END:VEVENT\r\n".encode())
    assert message.new_text == "Please sign in, now" and message.hidden_chars == 1
    assert [(url.url, url.text) for url in message.urls] == [("https://evil.example/", "sign in")]


def test_the_charset_of_a_calendar() -> None:
    source = "SUMMARY:Ваш счёт\r\n"
    for label, codec in (("", "utf-8"), ("; charset=utf-8", "utf-8"), ("; charset=windows-1251", "cp1251")):
        message = parse_message(f"Content-Type: text/calendar{label}\n\n".encode() + source.encode(codec))
        assert message.new_text == "Ваш счёт"


def test_a_calendar_that_is_none_is_no_text() -> None:
    message = parse_message(b"Content-Type: text/calendar\n\nwhatever this is\n: \n;;;:::\nBEGIN\n")
    assert message.new_text == "" and message.invitations == (Invitation(),)


def test_a_calendar_beyond_the_budget_is_said() -> None:
    message = parse_message(b"Content-Type: text/calendar\n\n" + b"SUMMARY:a\n" * 30_000 + b"SUMMARY:b\n")
    assert message.new_text == "a" and message.status_of(("text",)) is Status.OVER_BUDGET


def test_a_styled_description_is_read_as_html() -> None:
    html = 'STYLED-DESCRIPTION;VALUE=TEXT;FMTTYPE="text/html":<p>Please <a href="https://evil.example/">sign in</a>\r\n'
    message = parse_message(f"Content-Type: text/calendar\n\nBEGIN:VEVENT\r\n{html}END:VEVENT\r\n".encode())
    assert message.new_text == "Please sign in"
    assert [url.url for url in message.urls] == ["https://evil.example/"]


@pytest.mark.parametrize(
    ("named", "name"),
    [
        ("X-FILENAME=invoice.exe", "invoice.exe"),
        ('FILENAME="invoice 1.exe"', "invoice 1.exe"),
        ("X-APPLE-FILENAME=invoice.exe", "invoice.exe"),
        ("X-ORACLE=1", ""),
    ],
)
def test_a_file_packed_into_a_calendar_is_a_file(named: str, name: str) -> None:
    packed = base64.b64encode(b"MZ\x90\0\3\0\0\0" + bytes(100)).decode()
    attach = f"ATTACH;{named};ENCODING=BASE64;VALUE=BINARY:{packed[:40]}\r\n {packed[40:]}\r\n"
    message = read("\r\n", calendar(EVENT.replace("URL:", f"{attach}URL:")))
    assert [(one.filename, one.content_type) for one in message.attachments] == [
        (name, "application/vnd.microsoft.portable-executable")
    ]
    assert message.new_text == "\n\n".join(SHOWN) and {url.host for url in message.urls} == HOSTS
    assert read("\r\n", calendar()).attachments == ()
