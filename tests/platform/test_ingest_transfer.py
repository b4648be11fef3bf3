from __future__ import annotations

import base64
import binascii
import quopri

import pytest

from mailwarden.domain.mail.message import Message
from mailwarden.domain.status import Status
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.transfer import encoding_named

TEXT = "Dear Lee,\nplease verify your password within 24 hours: https://login.evil.example/v\nYour bank – été\n"
BASE64 = base64.encodebytes(TEXT.encode())


def read(encoding: str, data: bytes, kind: str = "text/plain") -> Message:
    named = f"Content-Transfer-Encoding: {encoding}\n" if encoding else ""
    return parse_message(f"Content-Type: {kind}; charset=utf-8\n{named}\n".encode() + data)


def codes(message: Message) -> set[str]:
    kinds = ("base64", "encoding", "transfer", "quoted", "uuencode")
    return {defect.code for defect in message.defects if defect.code.startswith(kinds)}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("base64", "base64"), ("BASE64", "base64"), (" Base 64 ", "base64"), ('"base64"', "base64"),
        ("base64;", "base64"), ("x-base64", "base64"), ("base-64", "base64"), ("quoted printable", "quoted-printable"),
        ("Quoted_Printable", "quoted-printable"), ("8 bit", "7bit"), ("8-bit", "7bit"), ("7BITS", "7bit"),
        ("binary", "7bit"), ("", "7bit"), ("none", "7bit"), ("x-uue", "x-uuencode"), ("uuencode", "x-uuencode"),
        ("rot13", "rot13"),
    ],
)  # fmt: skip
def test_encodings_are_known_however_they_are_spelt(written: str, name: str) -> None:
    assert encoding_named(written) == name


@pytest.mark.parametrize("encoding", ["base64 (of mine)", "(a (b)) base64", "(7bit) base64", "base64(x)"])
def test_comments_are_no_part_of_an_encoding(encoding: str) -> None:
    assert read(encoding, BASE64).new_text == TEXT.strip()


@pytest.mark.parametrize("size", [1, 2, 3, 10, 47, 60])
@pytest.mark.parametrize("newline", [b"", b"\n", b"\r\n", b"\r\n\r\n", b" \t\n"])
def test_base64_in_padded_pieces_is_read_to_its_end(size: int, newline: bytes) -> None:
    data = TEXT.encode()
    pieces = (base64.b64encode(data[at : at + size]) for at in range(0, len(data), size))
    assert read("base64", newline.join(pieces)).new_text == TEXT.strip()


@pytest.mark.parametrize(
    "data",
    [
        BASE64.replace(b"\n", b"\r\n"),
        BASE64.replace(b"\n", b""),
        BASE64.rstrip(b"=\n"),
        b"!".join(BASE64[at : at + 20] for at in range(0, len(BASE64), 20)),
        b" \t\n".join(BASE64.split(b"\n")),
        b"\n\n" + BASE64 + b"\n\n\n",
        b"".join(b"%c\n" % byte for byte in BASE64.replace(b"\n", b"")),
        BASE64.replace(b"\n", b"\x00\n"),
    ],
)
def test_base64_is_read_whatever_stands_between(data: bytes) -> None:
    assert read("base64", data).new_text == TEXT.strip()


FOOTER = b"_______________________________________________\nlist mailing list\nUnsubscribe\nhttp://list.example/x\n"


def test_words_behind_base64_are_left_out_and_what_is_encoded_behind_them_is_read() -> None:
    message = read("base64", BASE64 + FOOTER)
    assert message.new_text == TEXT.strip() and message.status_of(("text",)) is Status.DAMAGED
    for first in (b"Hi\n\n", b"Hi\n\n\n"):
        message = read("base64", base64.b64encode(first) + b"\n" + FOOTER + BASE64)
        assert message.new_text.startswith("Hi") and message.new_text.endswith(TEXT.strip())
        assert message.status_of(("text",)) is Status.DAMAGED


def test_words_declared_as_base64_are_words() -> None:
    message = read("base64", TEXT.encode())
    assert message.new_text == TEXT.strip() and codes(message) == {"encoding_mismatch"}


@pytest.mark.parametrize("encoding", ["", "7bit", "8 bit", "binary"])
def test_base64_that_nobody_declares_is_read_and_said(encoding: str) -> None:
    message = read(encoding, base64.encodebytes(TEXT.encode() * 3))
    assert message.new_text.startswith(TEXT.strip()) and codes(message) == {"encoding_mismatch"}
    assert [url.host for url in message.urls] == ["login.evil.example"]


@pytest.mark.parametrize(
    "honest",
    [
        "x" * 200,
        "abcd" * 50,
        "ssh-rsa " + "AAAAB3NzaC1yc2EAAAADAQABAAABAQ" * 10,
        base64.encodebytes(bytes(range(256))).decode(),
        "https/" * 40,
        "supercalifragilistic\n" * 10,
    ],
)
def test_other_long_words_stay_as_they_are(honest: str) -> None:
    message = read("7bit", honest.encode())
    assert message.new_text == honest.strip() and codes(message) == set()


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b"pass= \nword", "password"),
        (b"pass=\t \t\r\nword", "password"),
        (b"pass=\nword=", "password"),
        (b"pass=\r\nword=  ", "password"),
        (b"caf=c3=a9 =C3=A9=e2=82=ac", "café é€"),
        (b"a=ZZb 1=2", "a=ZZb 1=2"),
        (b"pass=\rword\nnext", "password\nnext"),
        (b"one \t\ntwo", "one \t\ntwo"),
        (b"x=20=\ny", "x y"),
    ],
)
def test_quoted_printable_as_its_rules_ask(written: bytes, text: str) -> None:
    assert read("quoted-printable", written).new_text == text


def test_a_link_across_soft_breaks_with_blanks_is_whole() -> None:
    data = quopri.encodestring(b'<p>Go to <a href="https://login.evil.example/verify?a=b">here</a></p>')
    broken = data.replace(b"login", b"lo= \t\ngin").replace(b"verify", b"ver= \r\nify")
    (url,) = read("quoted-printable", broken, "text/html").urls
    assert url.url == "https://login.evil.example/verify?a=b"


def test_uuencoded_text_under_all_its_names() -> None:
    lines = b"".join(binascii.b2a_uu(TEXT.encode()[at : at + 45]) for at in range(0, len(TEXT.encode()), 45))
    for name in ("x-uuencode", "uuencode", "X-UUE", "uue (old)"):
        assert read(name, b"begin 644 a.txt\n" + lines + b"`\nend\n").new_text == TEXT.strip()


def multipart(encoding: str, body: bytes) -> Message:
    head = f'Content-Type: multipart/mixed; boundary="=b"\nContent-Transfer-Encoding: {encoding}\n\n'
    return parse_message(head.encode() + body)


PARTS = b"--=b\nContent-Type: text/html\n\n<a href='http://evil.example/'>go</a>\n--=b\n\nmore\n--=b--\n"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("base64", base64.encodebytes(PARTS)), ("quoted-printable", quopri.encodestring(PARTS).replace(b"=b", b"=3Db"))],
)
def test_a_multipart_in_an_encoding_is_opened(encoding: str, body: bytes) -> None:
    message = multipart(encoding, body)
    assert message.new_text == "go\n\nmore" and [url.host for url in message.urls] == ["evil.example"]
    assert "multipart_encoded" in {defect.code for defect in message.defects}


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit"])
def test_a_multipart_that_only_claims_one_is_read_as_it_stands(encoding: str) -> None:
    message = multipart(encoding, PARTS)
    assert message.new_text == "go\n\nmore"
    assert "multipart_encoded" not in {defect.code for defect in message.defects}


def uuencoded(data: bytes, name: str = "invoice.exe") -> bytes:
    lines = b"".join(binascii.b2a_uu(data[at : at + 45], backtick=True) for at in range(0, len(data), 45))
    return b"begin 644 %s\n%s" % (name.encode(), lines)


PROGRAM = b"MZ\x90\0\3\0\0\0" + bytes(range(200))


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("end", [b"`\nend\n", b"end", b"`\n", b"", b"~~~ no line of it\n"])
def test_a_uuencoded_file_within_a_text_is_a_file(end: bytes, newline: bytes) -> None:
    source = b"See below.\n\n" + uuencoded(PROGRAM) + end + b"\nThanks,\nLee\n"
    message = read("", source.replace(b"\n", newline))
    files = [(one.filename, one.content_type, one.size) for one in message.attachments]
    assert files == [("invoice.exe", "application/vnd.microsoft.portable-executable", len(PROGRAM))]
    assert message.new_text.startswith("See below.") and message.new_text.endswith("Lee")
    assert "MZ" not in message.new_text and "begin" not in message.new_text


def test_several_uuencoded_files_are_taken_out_to_a_bound_that_is_said() -> None:
    several = read("", uuencoded(PROGRAM) + b"end\nand\n" + uuencoded(b"hello", "a.txt") + b"end\n")
    assert [one.filename for one in several.attachments] == ["invoice.exe", "a.txt"] and several.new_text == "and"
    false = read("", b"begin 644 a\n#WORDS AND MORE\n" * 100 + uuencoded(PROGRAM))
    assert [one.filename for one in false.attachments] == ["invoice.exe"]
    many = read("", uuencoded(b"hello") * 30)
    assert len(many.attachments) == 20 and many.status_of(["attachments"]) is Status.OVER_BUDGET


@pytest.mark.parametrize(
    "text",
    [
        "begin 644 words\nand go on as words do\nend",
        "we begin 644 invoice.exe\n#86)C\nend",
        "begin 644 file\n",
        "+begin 644 a.bin\n+#86)C\n+`\n+end",
        "begin 644 x\nMY WORDS IN CAPITALS ARE NO FILE\nend",
        " begin 644 a\n #86)C\n end",
    ],
)
def test_words_about_uuencoded_files_stay_where_they_are(text: str) -> None:
    message = read("", text.encode())
    assert message.attachments == ()
    assert message.new_text.split() == text.split()


def test_words_behind_a_uuencoded_file_without_its_end_are_read() -> None:
    message = read("", uuencoded(b"hello", "a.txt") + TEXT.encode() + b"end\n")
    assert TEXT.strip() in message.new_text
