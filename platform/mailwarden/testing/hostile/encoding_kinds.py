"""Kinds of hostile messages: what repairs encodings, character sets, boundaries, comments and calendars."""

from __future__ import annotations

import base64
from random import Random

from mailwarden.testing.hostile.shapes import FIRST, Kind, body, encoded, field, fields, html, parts, run

_PLAIN = b"Content-Type: text/plain\n"
_BASE64 = _PLAIN + b"Content-Transfer-Encoding: base64\n"


def _encoded_multiparts(size: int, chance: Random) -> bytes:
    """Multiparts in each other, each in an encoding that has to be undone to see the next."""
    encoding = chance.choice((b"quoted-printable", b"base64"))
    inside = b"x\n" * (size // 4 if encoding == b"base64" else size // 2)
    for level in range(30 if encoding == b"quoted-printable" else 2):
        # The delimiter is hidden from those who read it as it stands.
        part = b"--=%d\n" % level + inside + b"\n--=%d--\n" % level
        part = base64.encodebytes(part) if encoding == b"base64" else part.replace(b"--=", b"-=2D=3D")
        inside = b'Content-Type: multipart/mixed; boundary="=%d"\nContent-Transfer-Encoding: %b\n\n%b' % (
            level,
            encoding,
            part,
        )
    return FIRST + inside


ENCODING_KINDS: dict[str, Kind] = {
    "multiparts in encodings": _encoded_multiparts,
    "boundaries to guess": body(
        b"multipart/mixed; boundary=none", b"--a\n", b"--a\nContent-x\n", b"\n--" + b"a" * 190, b"\n--", b"--\r\n"
    ),
    "boundaries repeated": body(b"multipart/mixed; boundary=a" + b"; boundary=b" * 900, b"\n--c\n", b"--b\n"),
    "boundaries guessed in parts": parts(
        b"Content-Type: multipart/mixed; boundary=none\n", b"--a\n", 900, before=b"--c\nContent-Type: text/html\n\n"
    ),
    "types repeated": parts(b"Content-Type: multipart/mixed; boundary=x\n" * 20, b"\n--y\n", 400),
    "comments in types": fields(b"Content-Type", b"(", b"()", b"(a)", b"\\(", b'("', b")(", before=b"text/plain "),
    "comments in types of parts": parts(b"Content-Type: text/plain " + b"(a)" * 900 + b"\n", b"a", 900),
    "comments in names": parts(b"Content-Disposition: attachment" + b"; filename=a(b)c" * 300 + b"\n", b"a", 400),
    "comments in encodings": fields(b"Content-Transfer-Encoding", b"(", b"(a)", b"((", before=b"base64 "),
    "base64 with words": body(
        b"text/plain",
        b"QUJD\n",
        b"list words: a b\n",
        b"_\n",
        b"QQ==\n_ a\n",
        b"Q\n",
        b": ",
        before=b"QQ==\n",
        headers=b"Content-Transfer-Encoding: base64\n",
    ),
    "base64 with words in parts": parts(_BASE64, b"QUJD\n_ a\nUnsubscribe\n", 900),
    "base64 not declared": body(b"text/plain", b"aGVsbG8g", b"aGVsbG8g\n", b"QUFB" * 19 + b"\n", b"QQ=="),
    "quoted-printable blanks": encoded(
        b"quoted-printable", b"= \n", b"=\t", b"= " + b"\t" * 900, b"=\r", b"= =", content_type=b"text/plain"
    ),
    "escapes of Japanese": body(
        b"text/plain; charset=iso-2022-jp",
        b"\x1b$B-!\x1b(B",
        b"\x1b$B" + b"-!" * 90,
        b"\x1b(I1",
        b"\x0e1\x0f",
        b"\x1b$B\n",
    ),
    "Japanese in EUC": body(
        b"text/plain; charset=euc-jp", b"\xad\xa1", b"\xad\xa1a", b"\x8e\xb1 ", b"\x8f\xa1\xa1", b"\xff"
    ),
    "escapes without a label": body(b"text/plain", b"\x1b$B-!\x1b(B", b"\x1b$", b"\x1b$B"),
    "charsets to guess": body(
        b"text/plain", b"\xc1\xe2\xd3 ", b"\x81\x30\x81", b"\xe9t\xe9 ", b"\xa4\xa4", b"\x82\xa0"
    ),
    "charsets to guess in parts": parts(_PLAIN, b"\xcf\xf0\xe8\xe2\xe5\xf2 ", 1_000),
    "charsets that are not Western": body(b"text/plain; charset=iso-8859-1", b"\xcf\xf0\xe8\xe2\xe5\xf2 ", b"\xe9\xa0"),
    "charsets of UTF-8": body(b"text/plain; charset=windows-1252", b"\xc3\xa9", b"\xc3\xa9\xff", b"\xf0\x9f\x98\x80"),
    "headers to guess": fields(b"X-A", b"\xcf\xf0\xe8\xe2\xe5\xf2 ", b"\xa4\xa4", each=90),
    "headers near a charset": lambda size, chance: (
        FIRST
        + b"Content-Type: text/plain; charset="
        + run(b" ", size // 2)
        + b"\n"
        + b"X: \xe9\xe9\xe9\n" * (size // 20)
    ),
    "encoded words cut": field(
        b"Subject", b"=?utf-8?B?w6k=?= ", b"=?utf-8?B?w6?= ", b"=?gbk?b?gTCBMA?=", b"=?x?b?/w?="
    ),
    "files that claim to be text": parts(_PLAIN, b"MZ\0\1\2 ", 1_000, before=b"%PDF-1"),
    "files that claim to be html": html(b"<", b"\0", b"\xff<x", b"<p", before=b"GIF89a"),
    "text enriched": body(b"text/enriched", b"<a>", b"<<", b"<param>", b"<param>a</param>", b"<" + b"a" * 59),
    "text of no kind": parts(b"Content-Type: text/css\n", b"a ", 1_000),
    "calendars": body(
        b"text/calendar",
        b"SUMMARY:%d\n",
        b"SUMMARY:a\n b\n",
        b"DESCRIPTION:" + b"a\\n" * 300 + b"\n",
        b'A;B="',
        b"A;B=C;",
        b"ATTENDEE:a\n",
        b"ORGANIZER;CN=a:b\n",
        b":",
        b"\n ",
    ),
    "calendars of markup": body(
        b"text/calendar", b"X-ALT-DESC:<b>a<a href=http://a.example/%d>\n", b"X-ALT-DESC:&amp;\n"
    ),
    "calendars of links": body(b"text/calendar", b"URL:http://a%d.example/\n", b"DESCRIPTION:http://a%d.example/\n"),
    "calendars in parts": parts(b"Content-Type: text/calendar\n", b"SUMMARY:%d\nLOCATION:" + b"a b " * 90 + b"\n", 900),
    "forms of one text": parts(_PLAIN, b"a%d ", 1_000, kind=b"alternative"),
}
"""Name to kind."""
