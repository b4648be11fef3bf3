"""What is encrypted says so: views of what lies inside have that status, those of the outside none."""

from __future__ import annotations

import io
import zipfile
from email.message import EmailMessage

import pytest

from mailwarden.domain.detection.decision import TenantPolicy, not_read_in_full
from mailwarden.domain.mail.message import Aspect
from mailwarden.domain.status import Status
from mailwarden.ingest.parse import parse_message

BODY: tuple[Aspect, ...] = ("attachments", "inner", "links", "text")
ALL = tuple((aspect, Status.ENCRYPTED) for aspect in BODY)
INSIDE = (("inner", Status.ENCRYPTED),)
DAMAGED = (("inner", Status.DAMAGED),)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 504
PGP = "-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----\n"


def archive(*, locked: bool) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("plan.txt", "the plan")
    data = bytearray(out.getvalue())
    data[6] |= locked
    return bytes(data)


def with_file(data: bytes) -> bytes:
    message = EmailMessage()
    message["From"] = "ann@far.example"
    message.set_content("As promised.")
    message.add_attachment(data, maintype="application", subtype="octet-stream", filename="plan")
    return bytes(message)


def raw(content_type: str, body: str) -> bytes:
    return f"From: ann@far.example\nContent-Type: {content_type}\n\n{body}".encode()


@pytest.mark.parametrize(
    ("message", "unread"),
    [
        (raw("text/plain", PGP), ALL),
        (raw("text/plain", "Once more:\n" + PGP), ()),
        (raw("text/plain", PGP.replace("MESSAGE", "SIGNATURE")), ()),
        (raw('multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b',
             f"--b\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--b\n\n{PGP}--b--\n"), ALL),
        (raw("application/pkcs7-mime; smime-type=Enveloped-Data", "MIAG"), ALL),
        (raw("application/pkcs7-mime; smime-type=signed-data", "MIAG"), DAMAGED),
        (with_file(archive(locked=True)), INSIDE),
        (with_file(archive(locked=False)), ()),
        (with_file(OLE + "EncryptedPackage".encode("utf-16-le")), INSIDE),
        (with_file(OLE + "WordDocument".encode("utf-16-le")), DAMAGED),
    ],
)  # fmt: skip
def test_what_is_encrypted_says_so(message: bytes, unread: tuple[tuple[Aspect, Status], ...]) -> None:
    found = parse_message(message)
    assert found.unread == unread
    assert found.status_of(["headers"]) == Status.PRESENT


def test_encrypted_mail_is_no_mail_that_could_not_be_read() -> None:
    status = parse_message(raw("text/plain", PGP)).status_of(["text"])
    assert not_read_in_full([status], TenantPolicy()) == ("deliver", None)
