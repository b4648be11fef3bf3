"""Kinds of hostile messages: header fields, addresses, parameters, encoded words, dates, traces."""

from __future__ import annotations

from random import Random

from mailwarden.testing.hostile.shapes import FIRST, Kind, field, fields

_TYPE = b"Content-Type"


def _behind(*units: bytes, first: bytes = b"X: a\n") -> Kind:
    """A flood of fields before those that no reading may lose."""

    def make(size: int, chance: Random) -> bytes:
        unit = chance.choice(units)
        return first + unit * max(1, (size - len(FIRST)) // len(unit)) + FIRST + b"\nhi\n"

    return make


HEADER_KINDS: dict[str, Kind] = {
    "header count": fields(b"X-%d", b"a", each=1),
    "header names": fields(b"X" * 190, b"a", each=2),
    "header folded": field(b"X-Folded", b"a\n ", b"\n\t", b"a \r\n "),
    "header folded names": fields(b"X", b"a\n ", each=60),
    "header of blanks": field(b"X-Blank", b" ", b"\t ", after=b"x"),
    "headers of blanks": fields(b"X", b" ", each=30_000, after=b"x"),
    "header eight bit": fields(b"X", b"\xff\xc3", b"\xf0\x9f", each=30_000),
    "header nul": fields(b"X", b"\0a", each=30_000),
    "headers without colon": fields(b"X: a\nno colon here", b"a", each=5),
    "header never ends": field(b"X", b"\nX:a", body=b""),
    "addresses": fields(b"To", b"a@b.example,", b"a@b%d.example, ", b'"A, B" <a@b.example>;'),
    "addresses repeated": fields(b"From", b"a%d@b%d.example,", b"<a@b>,"),
    "addresses in cc": fields(b"Cc", b"Ann <a%d@b.example>, ", b"a,", b"@,", b"a@ "),
    "address commas": fields(b"To", b",", b"a,", b", "),
    "address commas before one": fields(b"To", b"a,", after=b"b@c.example"),
    "address comments": fields(b"To", b"(", b"()", b"(a)", b"(\\)", b"(a"),
    "address quotes": fields(b"Reply-To", b'"', b'"\\', b'"a" ', b'""<', b'\\"'),
    "address brackets": fields(b"To", b"<", b"<>", b"<<", b"<a@", b"(<"),
    "address groups": fields(b"To", b"a:", b":;", b"G: a@b.example;", b"a:b,c;"),
    "address words": fields(b"To", b"a ", b"@ ", b"a@ b ", b"\xc3\x9f@\xc3\x9f "),
    "address blanks": fields(b"From", b" ", b"\t", before=b"a", after=b"x"),
    "address routes": fields(b"To", b"<@a,@b:c@d>,", b"@a:", b"a%b@c,"),
    "address encoded words": fields(b"To", b"=?utf-8?q?a?= <a@b>,", b"=?utf-8?b?YQ==?= ", b"=?"),
    "address hosts": fields(b"To", b"a@" + b"1." * 100 + b",", b"a@[1:1:1:1],", b"a@" + b"1:" * 120 + b"x,"),
    "address long hosts": fields(b"To", b"a@" + b"b" * 9_000 + b","),
    "address international": fields(
        b"To", b"a@" + "ü".encode() * 60 + b"%d.example,", b"a@" + "ü.".encode() * 80 + b"%d,", b"a@xn--%d-.example,"
    ),
    "display names": fields(b"From", b"a", b"\xe2\x80\x8f", b"\xcc\x88\xcc\xa3", after=b" <a@b.example>"),
    "display names with addresses": fields(b"From", b"a@b.", b"a@", b"w.", before=b'"', after=b'" <a@b.example>'),
    "parameters": fields(_TYPE, b";a", b";a=b", b'; a="b', b";%d=x", before=b"text/plain"),
    "parameters continued": fields(_TYPE, b"; a*%d*=''%%41", b"; a*0=x", b"; a%d*0*=utf-8''%%ff", before=b"text/plain"),
    "parameters escaped": fields(_TYPE, b"\\", b'\\"', b"%%41", before=b'text/plain; name="'),
    "parameters of digits": fields(_TYPE, b"9", before=b"text/plain; a*", after=b"*=x"),
    "semicolon lost": fields(_TYPE, b",", b", ", b"a,", b" ,", b"-", before=b"text/plain", after=b"x =y"),
    "semicolon lost in words": fields(_TYPE, b"a ", b"a,b ", b"\t", before=b"text/plain a", after=b"!=y"),
    "disposition": fields(
        b"Content-Disposition", b"; filename=a", b"; filename*=utf-8''%%41\"", b"%%", before=b"inline"
    ),
    "transfer encoding": fields(b"Content-Transfer-Encoding", b"(", b";", b"x"),
    "encoded words": fields(b"Subject", b"=?utf-8?q?a?= ", b"=?utf-8?b?gICA?=", b"=?x%d?q?a?= ", b"=?utf-7?q?+?= "),
    "encoded words broken": fields(b"Subject", b"=?", b"=?a?q?", b"?=", b"=?a?b?=", b"?= =?", b"=?" + b"a" * 80),
    "encoded words of charsets": fields(b"Subject", b"=?iso-2022-jp?b?GyRC?=", b"=?hz?q?~{?=", b"=?utf-16?b?/w?="),
    "encoded words joined": fields(b"Subject", b"=?utf-8?q?" + b"=ff" * 20 + b"?= "),
    "subject entities": fields(b"Subject", b"&#" + b"9" * 4_301 + b";", b"&amp;"),
    "subject replies": fields(b"Subject", b"Re: ", b"Re[1]: ", b" ", b"re "),
    "references": fields(b"References", b"<", b"<a@b>", b"< ", b"<" + b"a" * 997, b">"),
    "in reply to": fields(b"In-Reply-To", b"<%d@b>", b"< a", b"<a <"),
    "message id": field(b"Message-ID", b"<", b"< ", b"a", b"\xc3\xbc.", b"@", after=b">"),
    "received": fields(b"Received", b" for <x", b" by ", b" from x", each=2_000, before=b"from x by y", after=b"; 1"),
    "received addresses": fields(b"Received", b"[1.1.1.", b"[" + b"1:" * 22, b"(1.1.1.1", each=2_000, before=b"from x"),
    "received hosts": fields(b"Received", b"\xc3\xbc", b"1.", b"a.", each=1_900, before=b"from "),
    "received dates": fields(b"Received", b"9", b"9 ", b"9:", b"Jan ", b"+", each=190, before=b"from a by b; "),
    "received comments": fields(b"Received", b"(", b")", b"()", each=1_990, before=b"from a "),
    "authentication letters": fields(b"Authentication-Results", b"a", b"a-", b"A_", before=b"mx.example; spf=pass "),
    "authentication dots": fields(
        b"Authentication-Results", b"a .", b"a.b ", b"a . ", before=b"mx.example; dkim=pass "
    ),
    "authentication pieces": fields(b"Authentication-Results", b"(", b'"', b";", b'"a"', b"a;", b"()"),
    "authentication methods": fields(
        b"Authentication-Results", b"; dkim=pass header.d=a%d.example", before=b"mx.example"
    ),
    "authentication blanks": fields(b"Authentication-Results", b" ", before=b"mx.example; spf", after=b"x"),
    "date digits": field(b"Date", b"9", b"9 ", b"9:", b"-9", b"\xd9\xa1"),
    "date words": field(b"Date", b"Mon, ", b"Jan ", b"(", b"+0000 ", b"1 Jan 99999"),
    "dates": fields(b"Date", b"Mon, 1 Jan 2024 ", b"1:1:1:", each=190),
    "header digits": fields(b"X-Priority", b"1", b"&#" + b"9" * 4_301 + b";"),
    "return path": fields(b"Return-Path", b"<", b"<a@b>", b"\xc3\xbc@\xc3\xbc"),
    "mailer": fields(b"X-Mailer", b"(", b"(a)", b"1.", b"()("),
    "headers behind a flood": _behind(b"X: a\n", b"Received: from a by b\n", b"X:\n " + b"a" * 900 + b"\n"),
    "headers behind one another": _behind(b"To: a@b.example\n", b"Cc: a@b.example\n", b"fro:\n", b"Reply-To: a\n"),
    "headers behind a broken line": _behind(b"X: a\n", first=b"no field\n"),
    "headers behind a broken name": _behind(b"X: a\n", first=b"X" * 300 + b": a\n"),
    "sender behind a long name": lambda size, chance: (
        FIRST.replace(b"From: Mallory", b'From: "' + b"Ann " * (size // 4) + b'"') + b"\nhi\n"
    ),
    "list headers": fields(b"List-Unsubscribe", b"<http://a.example/%d>,", b"<"),
}
"""Name to kind."""
