from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest

from mailwarden.domain.mail.content import ContentValue
from mailwarden.ingest.parse import parse_message
from mailwarden.stores.lists import load_lists
from mailwarden_features.content_body.view import VIEW

LISTS = load_lists()
HEAD = b"From: Ann <ann@parts.example>\n"


def computed(raw: bytes) -> Mapping[str, ContentValue]:
    return VIEW.compute(parse_message(HEAD + raw), LISTS)


def fired(raw: bytes) -> set[str]:
    counts = {"body_part_count", "outside_text_len"}
    return {name for name, value in computed(raw).items() if value and name not in counts}


PLAIN = b"Content-Type: text/plain; charset=utf-8\n\n"
MIXED = b"Content-Type: multipart/mixed; boundary=b\n\n"
PARTS = b"--=b\n\none\n--=b--\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"\nhello",
        PLAIN + "Grüße".encode(),
        b"Content-Type: text/plain; charset=iso-2022-jp\n\n\x1b$B-!\x1b(B",
        b"Content-Type: text/html; charset=windows-1252\nContent-Transfer-Encoding: quoted-printable\n\n<p>caf=E9=\n s",
        b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(b"hello " * 40),
        b'Content-Type: multipart/mixed; boundary="=b"\n\nThis is a multi-part message in MIME format.\n' + PARTS,
    ],
)
def test_honest_mail_fires_nothing(raw: bytes) -> None:
    found = computed(raw)
    assert fired(raw) == set()
    assert found["body_part_count"] == 1 and found["outside_text_len"] == 0
    assert found["calendar_is_request"] is None


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("body_begins_as_file", b"Content-Type: text/html\n\nGIF89a<p>words"),
        ("body_is_binary", b"Content-Type: text/plain\n\n\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4),
        (
            "body_beside_text",
            b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/css\n\nwords\n--b--\n",
        ),
        (
            "alternatives_repeated",
            b"Content-Type: multipart/alternative; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b--\n",
        ),
        ("charset_guessed", b"Content-Type: text/plain; charset=utf-8\n\nd\xe9j\xe0 vu, \xe7a va \xeatre bien"),
        ("charset_unknown", b"Content-Type: text/plain; charset=x-mine\n\nwords"),
        ("charset_utf7", b"Content-Type: text/plain; charset=utf-7\n\n+AOk-"),
        ("encoding_repaired", b"Content-Transfer-Encoding: base64\n\nthese are words, and so are these."),
        ("encoding_repaired", b"Content-Transfer-Encoding: rot13\n\nwords"),
        ("base64_in_pieces", b"Content-Transfer-Encoding: base64\n\naGk=\naGVsbG8=\n"),
        (
            "multipart_encoded",
            b'Content-Type: multipart/mixed; boundary="=b"\nContent-Transfer-Encoding: base64\n\n'
            + base64.encodebytes(PARTS),
        ),
        (
            "boundary_guessed",
            b"Content-Type: multipart/mixed; boundary=x\n\n--b\nContent-Type: text/plain\n\na\n--b--\n",
        ),
        ("boundary_not_closed", b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\na\n"),
        ("content_header_repeated", PLAIN.strip() + b"\nContent-Type: text/html\n\na"),
        ("parameter_repeated", b"Content-Type: text/plain; charset=utf-8; charset=utf-7\n\na"),
        ("comment_in_parameters", b"Content-Type: text/plain (a) ; charset=utf-8\n\na"),
        ("content_type_unreadable", b"Content-Type: what is this\n\na"),
        ("content_elsewhere", b"Content-Type: message/external-body; access-type=URL; URL=http://a.example\n\n"),
        ("outside_link_count", b'Content-Type: multipart/mixed; boundary="=b"\n\nhttp://a.example\n' + PARTS),
    ],
)
def test_what_honest_mailers_do_not_do_is_flagged(name: str, raw: bytes) -> None:
    assert name in fired(raw)


def test_a_flag_is_not_drowned_by_a_flood_of_other_defects() -> None:
    part = b"--b\nContent-Type: what\n\n\n"
    raw = (
        b"Content-Type: multipart/mixed; boundary=b\n\n" + part * 400 + b"--b\nContent-Type: text/html\n\nGIF89a<p>x\n"
    )
    assert {"body_begins_as_file", "content_type_unreadable"} <= fired(raw)


def test_invitations() -> None:
    event = b"METHOD:REQUEST\nORGANIZER:mailto:bob@%b\nATTENDEE:mailto:lee@corp.example\nSUMMARY:a\n"
    own = computed(b"Content-Type: text/calendar\n\n" + event % b"mail.parts.example")
    assert (own["calendar_count"], own["calendar_is_request"], own["calendar_attendee_count"]) == (1, 1, 1)
    assert own["calendar_organizer_differs"] == 0
    assert computed(b"Content-Type: text/calendar\n\n" + event % b"evil.example")["calendar_organizer_differs"] == 1
    bare = computed(b"Content-Type: text/calendar\n\nMETHOD:PUBLISH\nSUMMARY:a\n")
    assert (bare["calendar_is_request"], bare["calendar_organizer_differs"]) == (0, None)
