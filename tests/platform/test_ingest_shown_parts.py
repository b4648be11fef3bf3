from __future__ import annotations

import base64

import pytest

from mailwarden.domain.mail.message import Message
from mailwarden.domain.status import Status
from mailwarden.ingest.parse import parse_message

PHISH = b'<p>Verify your password: <a href="https://login.evil.example/v">https://portal.corp.example/</a></p>'
SEEN = "Verify your password: https://portal.corp.example/"


def codes(message: Message) -> set[str]:
    return {defect.code for defect in message.defects}


def part(body: bytes, content_type: str = "text/plain", *more: str) -> bytes:
    return "\r\n".join([f"Content-Type: {content_type}", *more, "", ""]).encode() + body


def multipart(kind: str, *parts: bytes, boundary: str = "=b") -> bytes:
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), one) for one in parts)
    return f'multipart/{kind}; boundary="{boundary}"\r\n\r\n'.encode() + body + f"--{boundary}--\r\n".encode()


def read(kind: str, *parts: bytes) -> Message:
    return parse_message(b"From: ann@x.example\r\nContent-Type: " + multipart(kind, *parts))


def nested(kind: str, *parts: bytes) -> bytes:
    return b"Content-Type: " + multipart(kind, *parts, boundary=f"={kind}")


HELLO = part(b"Hello Lee,")
INLINE = "Content-Disposition: inline; filename="
ATTACHED = "Content-Disposition: attachment; filename="


@pytest.mark.parametrize(
    "only",
    [
        part(PHISH, "text/html", f'{INLINE}"message.html"'),
        part(PHISH, 'text/html; name="message.html"'),
        part(PHISH, "application/xhtml+xml"),
        part(PHISH, "application/xhtml+xml; name=a.xhtml", f"{INLINE}a.xhtml"),
        part(PHISH, "text/html", "Content-Disposition: inline"),
        part(PHISH, "TEXT/HTML (a page)"),
        part(PHISH, "html"),
        nested("related", part(PHISH, "text/html; name=a.html", f"{INLINE}a.html")),
        nested("alternative", part(b""), part(PHISH, "text/html; name=a.html", f"{INLINE}a.html")),
    ],
)
def test_the_only_text_is_the_body_whatever_it_is_called(only: bytes) -> None:
    message = read("mixed", only)
    assert message.new_text == SEEN and message.html
    assert [url.host for url in message.urls] == ["login.evil.example"]
    assert message.attachments == () and message.body_parts >= 1


@pytest.mark.parametrize("subtype", ["x-notes", "foo", "vnd.acme", "markdown", "x-patch", "troff", "html5"])
def test_text_of_unknown_subtypes_is_plain(subtype: str) -> None:
    message = read("mixed", part(b"verify at http://evil.example/ <b>now</b>", f"text/{subtype}"))
    assert message.new_text == "verify at http://evil.example/ <b>now</b>" and not message.html
    assert [url.host for url in message.urls] == ["evil.example"]


def test_enriched_text_is_seen_without_its_commands() -> None:
    body = b"<bold>Verify</bold> <color><param>red</param>now</color> << http://evil.example/"
    assert read("mixed", part(body, "text/enriched")).new_text == "Verify now < http://evil.example/"
    # Hardly any reader takes it where there is another form.
    assert read("alternative", HELLO, part(body, "text/enriched")).new_text == "Hello Lee,"


@pytest.mark.parametrize(
    "beside",
    [
        part(PHISH, "text/html", f"{ATTACHED}invoice.html"),
        part(PHISH, 'text/html; name="invoice.html"'),
        part(b"a,b\n1,2", "text/csv", f"{ATTACHED}a.csv"),
        part(b"a", "text/plain", f"{ATTACHED}log.txt"),
        part(b"body{}", "text/css"),
        part(b"BEGIN:VCARD\nEND:VCARD", "text/vcard; name=ann.vcf"),
    ],
)
def test_files_beside_a_text_are_no_body(beside: bytes) -> None:
    message = read("mixed", HELLO, beside)
    assert message.new_text == "Hello Lee," and not message.html
    assert len(message.attachments) == 1 and not message.urls


def test_text_that_is_to_be_shown_inline_is_shown_and_stays_a_file() -> None:
    message = read("mixed", HELLO, part(PHISH, "text/html", f"{INLINE}page.html"))
    assert message.new_text == f"Hello Lee,\n\n{SEEN}" and message.body_parts == 2
    assert [one.filename for one in message.attachments] == ["page.html"]
    long = read("mixed", HELLO, part(b"log line\n" * 50_000, "text/plain", f"{INLINE}log.txt"))
    assert len(long.new_text) < 21_000 and long.unread == ()


def test_texts_between_files_are_shown_in_order() -> None:
    image = part(b"\x89PNG\r\n\x1a\n", "image/png", f"{INLINE}a.png")
    message = read("mixed", part(b"one"), image, part(b"two"), image, part(b"<p>three", "text/html"))
    assert message.new_text == "one\n\ntwo\n\nthree" and len(message.attachments) == 2


def test_what_a_root_refers_to_is_no_text_of_its_own() -> None:
    frame = part(b"<p>frame", "text/html", "Content-ID: <frame@x>")
    message = read("related", part(PHISH, "text/html"), frame)
    assert message.new_text == SEEN and len(message.attachments) == 1
    # The root may be named, and stand behind.
    raw = multipart("related", frame, part(PHISH, "text/html", "Content-ID: <root@x>"))
    message = parse_message(b"Content-Type: " + raw.replace(b"related;", b'related; start="<root@x>";', 1))
    assert message.new_text == SEEN
    # A root that is named and is not there names nothing.
    message = parse_message(b"Content-Type: " + raw.replace(b"related;", b'related; start="<none@x>";', 1))
    assert message.new_text.startswith("frame")


def test_of_several_forms_the_last_in_html_is_seen() -> None:
    benign = part(b"<p>benign words", "text/html")
    message = read("alternative", part(b"plain"), benign, part(PHISH, "text/html"))
    assert message.new_text == SEEN and "alternatives_repeated" in codes(message)
    related = nested("related", part(PHISH, "text/html"), part(b"\x89PNG\r\n\x1a\n", "image/png", "Content-ID: <i@x>"))
    message = read("alternative", part(b"plain"), related)
    assert message.new_text == SEEN and "alternatives_repeated" not in codes(message)
    # A form without words is none.
    assert read("alternative", part(b"plain words"), part(b"<img src=cid:x>", "text/html")).new_text == "plain words"
    # All parts of the form that is taken are.
    mixed = nested("mixed", part(b"<p>one", "text/html"), part(b"%PDF-1", "application/pdf"), part(b"two"))
    assert read("alternative", part(b"plain"), mixed).new_text == "one\n\ntwo"


@pytest.mark.parametrize(
    "mark",
    [b"GIF89a ", b"GIF87a", b"%PDF-1.4\n", b"PK\3\4", b"MZ\x90\0", b"\x89PNG\r\n\x1a\n", b"{\\rtf1 ", b"\xff\xd8\xff",
     b"Rar!\x1a\x07", b"\x1f\x8b\x08", b"7z\xbc\xaf\x27\x1c", b"\0\0\1\0", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"BM\0",
     b"ID3\0", b"GIF89a" + bytes(range(256)) * 40],
    ids=repr,
)  # fmt: skip
def test_html_that_begins_as_a_file_is_shown_and_said(mark: bytes) -> None:
    for encoding in ("8bit", "base64"):
        body = mark + PHISH
        encoded = base64.encodebytes(body) if encoding == "base64" else body
        message = read("mixed", part(encoded, "text/html", f"Content-Transfer-Encoding: {encoding}"))
        assert message.new_text.endswith(SEEN) and message.html and message.attachments == ()
        assert [url.host for url in message.urls] == ["login.evil.example"]
        assert "text_begins_as_file" in codes(message)


@pytest.mark.parametrize("mark", [b"GIF89a\n", b"%PDF-1.4\n", b"PK\3\4 ", b"MZ\x90\0", b"BM\1"])
@pytest.mark.parametrize(
    "words", ["Verify your password at http://evil.example/ now", "Подтвердите свой пароль сейчас"]
)
def test_words_that_begin_as_a_file_are_shown_and_said(mark: bytes, words: str) -> None:
    message = parse_message(b"Content-Type: text/plain; charset=utf-8\n\n" + mark + words.encode())
    assert message.new_text.endswith(words) and "text_begins_as_file" in codes(message)


BINARY = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 8


def test_a_file_that_claims_to_be_text_stays_a_file() -> None:
    data = base64.encodebytes(BINARY)
    for head in (("text/plain", f"{ATTACHED}a.png"), ("text/plain; name=a.png",), ("text/plain",)):
        message = read("mixed", HELLO, part(data, *head, "Content-Transfer-Encoding: base64"))
        assert message.new_text == "Hello Lee,"
        assert [one.content_type for one in message.attachments] == ["image/png"]


def test_honest_words_that_only_look_like_marks_fire_nothing() -> None:
    for words in (
        "BM is a short word",
        "MZ is no program",
        "PK, see you",
        "ID3 tags",
        "FWS or CWS?",
        "%PDF is a format",
    ):
        message = read("mixed", part(words.encode()))
        assert message.new_text == words and "text_begins_as_file" not in codes(message)


def test_words_that_no_reader_shows_are_not_an_empty_message() -> None:
    for content_type in ("text/css", "text/vcard", "text/x-amp-html", "text/rfc822-headers"):
        message = read("mixed", part(b"  "), part(b"verify your password", content_type))
        assert message.new_text == "verify your password" and "text_beside_body" in codes(message)
    assert read("mixed", HELLO, part(b"a{}", "text/css")).new_text == "Hello Lee,"


@pytest.mark.parametrize(
    "written",
    ["text", "text/", "text/plain/x", "", " ; charset=utf-8", "foo", "text plain", "TEXT/PLAIN;", "text/plain:"],
)
def test_broken_types_are_plain_text(written: str) -> None:
    assert read("mixed", part(b"verify your password", written)).new_text == "verify your password"


def test_a_link_to_content_elsewhere_is_a_link() -> None:
    pointer = 'message/external-body; access-type=URL; URL="http://evil.example/\r\n invoice.exe"'
    message = read("mixed", HELLO, part(b"Content-Type: application/pdf\r\n\r\n", pointer))
    assert [url.url for url in message.urls] == ["http://evil.example/invoice.exe"]
    assert "message_elsewhere" in codes(message)


def test_a_piece_of_a_message_is_not_read_in_full() -> None:
    message = parse_message(b"Content-Type: message/partial; id=a; number=1; total=2\n\nSubject: x\n\nverify")
    assert message.status_of(("inner",)) is Status.DAMAGED and "message_partial" in codes(message)


USUAL = b"This is a multi-part message in MIME format.\r\n"


def test_text_outside_of_the_parts_is_counted() -> None:
    def outside(before: bytes, behind: bytes) -> tuple[int, int]:
        body = b"--b\r\n\r\nseen\r\n--b--\r\n"
        message = parse_message(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + before + body + behind)
        assert message.new_text == "seen" and message.urls == ()
        return message.outside_chars, message.outside_links

    assert outside(b"", b"") == outside(USUAL, b"\r\n") == (0, 0)
    assert outside(b"benign words " * 100 + b"\r\n", b"")[0] == 1_100
    assert outside(USUAL, b"go to http://evil.example/x and https://b.example") == (45, 2)
    assert outside(b"see http://evil.example/\r\n", b"")[1] == 1


@pytest.mark.parametrize(
    "written",
    [
        "multipart/mixed (x; boundary=A); boundary=B",
        "multipart/mixed; (a (b; boundary=A)) boundary=B",
        "multipart/(c)mixed; boundary(c)=(c)B(c)",
        'multipart/mixed; boundary="B" (boundary=A)',
        'multipart/mixed; x="(;boundary=A"; boundary=B; y=")"',
        "multipart/mixed; (a \\) ; boundary=A) boundary=B",
        'multipart/mixed; (a " b) boundary=B; y=(")',
        "multipart/mixed; boundary*0=B; boundary*1=",
        "multipart/mixed; boundary*=us-ascii'en'B",
        "multipart/mixed; boundary=A; boundary=B",
        "multipart/mixed; boundary=B; boundary=A",
        "multipart/mixed boundary=B",
        "multipart/mixed, boundary=B",
        "multipart; boundary=B",
        "multipart/mixed; boundary=wrong",
        "multipart/mixed",
        "text/plain\nContent-Type: multipart/mixed; boundary=B",
        "multipart/mixed; boundary=B\nContent-Type: text/plain",
    ],
)
def test_the_boundary_that_is_there_is_found(written: str) -> None:
    encoded = base64.encodebytes(PHISH)
    inside = b"--B\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\n" + encoded + b"\n--B--\n"
    message = parse_message(f"Content-Type: {written}\n\n".encode() + inside)
    assert message.new_text == SEEN
    assert [url.host for url in message.urls] == ["login.evil.example"]


def test_honest_structure_fires_nothing() -> None:
    message = read("alternative", HELLO, part(b"<p>Hello Lee,", "text/html; charset=utf-8"))
    assert codes(message) <= {"date_missing", "no_time"}
    assert (message.outside_chars, message.outside_links, message.invitations, message.body_parts) == (0, 0, (), 2)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("attachment; filename=Invoice(1).pdf", "Invoice(1).pdf"),
        ("attachment; filename=Invoice (1).pdf", "Invoice (1).pdf"),
        ("attachment; filename=invoice.exe (a.pdf)", "invoice.exe"),
        ("attachment; (filename=a.pdf) filename=invoice.exe", "invoice.exe"),
        ('attachment; filename="a (b).pdf"', "a (b).pdf"),
        ("attachment; filename*0=inv; filename*1=oice; filename*2=.exe", "invoice.exe"),
        ("attachment; filename*2=.exe; filename*0=inv; filename*1=oice; filename=a.pdf", "invoice.exe"),
        ("attachment; filename*0*=utf-8''r%C3%A9; filename*1*=%20sum; filename*2=.exe", "ré sum.exe"),
        ("attachment; filename*=iso-2022-jp''%1B$B-!%1B(B.exe", "①.exe"),
        ("attachment; filename=a.exe; filename=b.pdf", "a.exe"),
        ("attachment; filename=b.pdf; filename=a.exe", "a.exe"),
        ("attachment; filename=b.pdf; filename=a.doc", "b.pdf"),
        ("filename=invoice.exe", "invoice.exe"),
        (' filename*="invoice.exe"; size=1', "invoice.exe"),
    ],
)
def test_names_of_files_with_comments_and_in_pieces(written: str, name: str) -> None:
    message = read("mixed", HELLO, part(b"x", "application/x-a", f"Content-Disposition: {written}"))
    assert message.attachments[0].filename == name


@pytest.mark.parametrize(
    ("inner", "outer", "name"),
    [("a.pdf", "a.exe", "a.exe"), ("a.exe", "a.pdf", "a.exe"), ("a.pdf", "b.pdf", "b.pdf"), ("a.pdf", "", "a.pdf")],
)
def test_of_two_names_the_one_that_runs_is_a_files(inner: str, outer: str, name: str) -> None:
    disposition = f"Content-Disposition: attachment; filename={outer}" if outer else "Content-Disposition: attachment"
    message = read("mixed", HELLO, part(b"x", f"application/x-a; name={inner}", disposition))
    assert message.attachments[0].filename == name


def test_parameters_without_a_type_before_them_are_read() -> None:
    message = parse_message(b"Content-Type: charset=windows-1251\n\n" + "Здравствуйте".encode("cp1251"))
    assert message.new_text == "Здравствуйте" and "parameter_without_semicolon" in codes(message)


def test_a_flood_of_brackets_is_said() -> None:
    message = parse_message(b"Content-Type: text/plain " + b"(a" * 3_000 + b"\n\nwords")
    assert message.new_text == "words" and message.status_of(("text",)) is Status.OVER_BUDGET
