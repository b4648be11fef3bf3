"""Kinds of hostile messages: MIME structure, nested messages, transfer encodings, charsets, attached files."""

from __future__ import annotations

import struct
from random import Random

from mailwarden.testing.hostile.shapes import FIRST, Kind, attached, body, encoded, in_multipart, nested, parts, run

_PLAIN = b"Content-Type: text/plain\n"
_HTML = b"Content-Type: text/html\n"
_INNER = b"Content-Type: message/rfc822\n"


def _chain(unit: bytes, depth: int, tail: bytes = b"x\n") -> Kind:
    """Multiparts inside each other, `depth` deep, and a tail of one unit that each level has to look through."""

    def make(size: int, chance: Random) -> bytes:
        letter = bytes([chance.choice(b"abcd")])
        levels = b"".join(unit % (letter * (n % 50 + 1), letter * (n % 50 + 1)) for n in range(depth))
        return FIRST + levels + run(tail, max(0, size - len(levels)))

    return make


_LEVEL = b'Content-Type: multipart/mixed; boundary="%s"\n\n--%s\n'
_LEVEL_NO_BLANK = b'Content-Type: multipart/mixed; boundary="%s"\nnot a header\n--%s\n'


def _deep_parts(size: int, chance: Random) -> bytes:
    del chance
    count = max(2, size // 60)
    return FIRST + b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(count))


def _zip_directory(size: int, chance: Random) -> bytes:
    del chance
    entry = b"PK\1\2" + bytes(24) + struct.pack("<HHH", 1, 0, 0) + bytes(12) + b"a"
    directory = entry * (size // len(entry))
    return b"PK\3\4" + directory + b"PK\5\6" + bytes(8) + struct.pack("<II", len(directory), 4) + b"\0\0"


def _zip_names(size: int, chance: Random) -> bytes:
    """Local headers, each of which claims the next 64 KB as its name."""
    del chance
    return run(b"PK\3\4" + bytes(22) + b"\xff\xff\0\0" + b"a" * 4, size)


def _file(before: bytes, *units: bytes) -> Kind:
    return lambda size, chance: before + run(chance.choice(units), max(0, size - len(before)))


STRUCTURE_KINDS: dict[str, Kind] = {
    "parts": parts(_PLAIN, b"a b ", 1_000),
    "parts without end": parts(b"", b"\n", 100_000),
    "parts of html": parts(_HTML, b"<b>a</b>", 1_000),
    "parts of entities": parts(_HTML, b"&#" + b"9" * 4_301 + b";", 1_000),
    "parts of entities of words": parts(_HTML, b"&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1_000),
    "parts of meta": parts(_HTML, b" ", 1_000, before=b"<meta charset="),
    "parts of metas": parts(_HTML, b"<meta ", 1_000, before=b""),
    "parts of tags": parts(_HTML, b"<a href=http://a.example/>", 1_000),
    "parts of links": parts(_PLAIN, b"http://a%d.example/ ", 1_000),
    "parts of quotes": parts(_PLAIN, b"On 1 wrote:\n> a\n", 1_000),
    "parts of files": parts(b"Content-Type: application/zip\n", b"PK\3\4" + bytes(30), 1_000),
    "parts of scripts": parts(b"Content-Type: application/x\n", b"<job", 1_000),
    "parts of script words": parts(
        b"Content-Type: application/x\n",
        b" ",
        1_000,
        before=b"new activexobject wscript.shell eval( powershell <hta: cmd /c echo off set dim <job>",
    ),
    "parts of messages": parts(_INNER, b"<b>a</b>", 1_000, before=FIRST + _HTML + b"\n"),
    "parts of digests": parts(b"", b"a\n", 1_000, kind=b"digest", before=FIRST + b"\n"),
    "parts of messages with headers": parts(_INNER, b"To: a@b.example, c@d.example\n", 1_000, before=FIRST),
    "parts of messages with links": parts(_INNER, b"http://1%d.1/ ", 1_000, before=FIRST + b"\n"),
    "parts of header blocks": parts(b"", b"X: a\n", 900),
    "parts of folded headers": parts(b"X: a\n", b" \n", 900),
    "parts of charsets": parts(b"Content-Type: text/plain; charset=windows-1253\n", b"\xff\xd2", 1_000),
    "alternatives": parts(_HTML, b"<p>a", 1_000, kind=b"alternative"),
    "multiparts deep": _deep_parts,
    "multiparts to look through": _chain(_LEVEL, 60),
    "multiparts of newlines": _chain(_LEVEL, 60, b"\n-"),
    "multiparts of no end": _chain(_LEVEL, 30, b"\n--"),
    "multiparts without blank line": _chain(_LEVEL_NO_BLANK, 60, b"x\nX: a\n"),
    "multiparts with prefixes": _chain(_LEVEL, 60, b"--" + b"a" * 60 + b"x\n"),
    "delimiters": body(b'multipart/mixed; boundary="a"', b"--a\n", b"--a\r\n", b"--a \n"),
    "delimiters with tails": body(b'multipart/mixed; boundary="a"', b"\n--a" + b" " * 1_000 + b"x", b"--a", b"\n--ax"),
    "delimiters with blanks": body(
        b'multipart/mixed; boundary="a"', b" ", b"\t", b"\r", before=b"--a\n\n--a", after=b"x"
    ),
    "boundary long": body(b'multipart/mixed; boundary="' + b"a" * 30_000 + b'"', b"--" + b"a" * 30_001 + b"\n"),
    "boundary of newlines": body(b"multipart/mixed; boundary*=''" + b"%0A--" * 500, b"\n--", b"\n----"),
    "messages deep": lambda size, chance: (FIRST + _INNER + b"\n") * max(1, size // (len(FIRST) + 31)),
    "messages in messages": nested(parts(_INNER, b"<i>a", 300, before=FIRST + _HTML + b"\n"), 2),
    "messages in base64": nested(encoded(b"base64", b"QUJD", b"Q\n", content_type=b"message/rfc822"), 1),
    "mbox lines": lambda size, chance: b"From \n" * (size // 6) + FIRST + b"\nhi\n",
    "mbox lines with dates": lambda size, chance: b"From a Jan Jan 1 1:\n" * (size // 20) + FIRST + b"\n",
    "carriage returns": lambda size, chance: FIRST.replace(b"\n", b"\r") + b"\r" * max(0, size - len(FIRST)),
    "newlines": lambda size, chance: FIRST + b"\n" * max(0, size - len(FIRST)),
    "base64 junk": encoded(b"base64", b"A", b"=", b"A=", b"!", b"A!", b"\n"),
    "base64 that goes on": encoded(b"base64", b"QQ==\n", b"QUI=", b"QQ== \n=", b"QQ==!", content_type=b"text/plain"),
    "base64 that goes on in parts": parts(_PLAIN + b"Content-Transfer-Encoding: base64\n", b"QQ==", 1_000),
    "base64 junk as text": body(b"text/plain", b"A!", b"=A", headers=b"Content-Transfer-Encoding: base64\n"),
    "quoted-printable junk": encoded(b"quoted-printable", b"=", b"= ", b"=\r", b"=\n", b"=4", b" \n"),
    "quoted-printable as html": body(
        b"text/html", b"=3Cb=3E", headers=b"Content-Transfer-Encoding: quoted-printable\n"
    ),
    "uuencode junk": body(
        b"application/x",
        b"#86)C\n",
        b"!\n",
        b"`\n",
        b"\n ",
        b"M\n",
        before=b"begin 644 a\n",
        headers=b"Content-Transfer-Encoding: x-uuencode\n",
    ),
    "uuencode begins": encoded(b"uuencode", b"begin 644 a", b"begin 644 \n", b"\nbegin "),
    "yenc junk": body(b"text/plain", b"=yend size=1\n", b"\xf0\xf1=}", before=b"=ybegin line=128 size=9 name=a\n"),
    "charset single byte": body(b"text/plain; charset=windows-1253", b"\xff\xaa\xd2"),
    "charset utf-16": body(b"text/plain; charset=utf-16", b"\x00\xd8", b"\xff", b"\x00\xdcA"),
    "charset utf-32": body(b"text/plain; charset=utf-32-be", b"\xff\xff\xff\xff", b"\0"),
    "charset utf-7": body(b"text/html; charset=utf-7", b"+2AA-", b"+", b"+A", b"+/\xff"),
    "charset iso-2022": body(b"text/plain; charset=iso-2022-jp", b"\x1b$B", b"\x1b(B\xff", b"\x1b"),
    "charset hz": body(b"text/plain; charset=hz-gb-2312", b"~{", b"~\n", b"~{~}\xff"),
    "charset many bytes": body(b"text/plain; charset=gb18030", b"\x81\x30\x81", b"\xff", b"\xfe\x81"),
    "charset korean": body(b"text/plain; charset=iso-2022-kr", b"\x0e", b"\x1b$)C\x0e\xff"),
    "charset utf-8 broken": body(b"text/plain; charset=utf-8", b"\xf0\x9f", b"\xc3(", b"\xed\xa0\x80"),
    "charset labels": body(b"text/plain; charset=" + b"x" * 30_000, b"\xff"),
    "charset ebcdic": body(b"text/html; charset=cp037", b"\x4c\x82\x6e", b"\xff"),
    "archive of names": attached(_zip_directory),
    "archives of names": attached(_zip_directory, 500),
    "archive of long names": attached(_zip_names),
    "archives of long names": attached(_zip_names, 100),
    "archive of ends": attached(_file(b"PK\3\4", b"PK\5\6", b"PK\1\2", b"PK\3\4")),
    "files of compound storage": attached(
        _file(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"W\0o\0", b"_\0_\0", b"B\0o\0o\0")
    ),
    "files of markup": attached(_file(b"<", b"<job", b"<!--", b"<package ", b"<?xml"), 900, b"a.html"),
    "files of scripts": attached(_file(b"", b"WScript.Shell(", b"eval ", b"new ", b"\nDim ", b"Set a="), 900, b"a.js"),
    "files of blanks": attached(_file(b"<job>", b" ", b"\n\t"), 900, b"a.wsf"),
    "file names": parts(b'Content-Type: application/x; name="' + b"a.pdf." * 600 + b'"\n', b"a", 900),
    "file names without end": parts(
        b'Content-Disposition: attachment; filename="' + b"a" * 30_000 + b'.exe"\n', b"MZ", 900
    ),
    "file names in pieces": parts(
        b"Content-Disposition: attachment" + b"".join(b"; filename*%d*=a%%41" % n for n in range(300)) + b"\n",
        b"a",
        900,
    ),
    "files without content": lambda size, chance: in_multipart(
        run(b'--=b\nContent-Disposition: attachment; filename="%d.exe"\n\n', size)
    ),
}
"""Name to kind."""
