"""Attachments: small, inert bytes with the marks by which their types are known."""

from __future__ import annotations

import base64
import hashlib
import random
import struct
import zlib
from collections.abc import Sequence

from mailwarden.simulation.draft import File

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def pdf(name: str, lines: Sequence[str]) -> File:
    """A one-page PDF that shows the lines."""
    shown = " ".join(f"({line.replace('(', '').replace(')', '')}) Tj T*" for line in lines)
    stream = f"BT /F1 11 Tf 14 TL 60 760 Td {shown} ET".encode("latin-1", "replace")
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % o for o in offsets)
    out += b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start
    return File(name, "application/pdf", bytes(out))


def archive(entries: Sequence[tuple[str, bytes]], *, encrypted: bool = False) -> bytes:
    """A stored ZIP archive; encrypted sets the flag of each entry, its content being taken as ciphertext."""
    flag = 1 if encrypted else 0
    body, directory = bytearray(), bytearray()
    for name, content in entries:
        encoded = name.encode("ascii")
        fields = struct.pack(
            "<HHHHHIIIHH", 20, flag, 0, 0, 0x5C62, zlib.crc32(content), len(content), len(content), len(encoded), 0
        )
        directory += b"PK\x01\x02\x14\x00" + fields + struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + encoded
        body += b"PK\x03\x04" + fields + encoded + content
    end = struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(directory), len(body), 0)
    return bytes(body + directory + b"PK\x05\x06" + end)


def document(name: str, text: str, *, macro: bool = False) -> File:
    """A word-processor file; macro adds a project part that names an automatic macro and holds no code."""
    entries = [
        ("[Content_Types].xml", b"<?xml version='1.0'?><Types></Types>"),
        ("word/document.xml", f"<?xml version='1.0'?><document><p>{text}</p></document>".encode()),
    ]
    if macro:
        project = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + b"Attribut\x00e VB_Name\x00Sub AutoOpen()\x00"
        entries.append(("word/vbaProject.bin", project))
    kind = "application/vnd.ms-word.document.macroEnabled.12" if macro else _WORD
    return File(name, kind, archive(entries))


def locked_archive(rng: random.Random, name: str, inner: str) -> File:
    """An archive whose one entry is encrypted; the ciphertext is noise."""
    return File(name, "application/zip", archive([(inner, rng.randbytes(rng.randint(300, 900)))], encrypted=True))


def smuggling_page(rng: random.Random, name: str, inner: str) -> File:
    """An HTML file that would build a download from a script; the payload is noise."""
    payload = base64.b64encode(rng.randbytes(420)).decode()
    page = (
        "<html><body><p>Your document is being prepared...</p><script>\n"
        f"var d=atob('{payload}');var a=new Uint8Array(d.length);for(var i=0;i<d.length;i++)a[i]=d.charCodeAt(i);\n"
        "var b=new Blob([a],{type:'application/octet-stream'});var l=document.createElement('a');\n"
        f"l.href=URL.createObjectURL(b);l.download='{inner}';document.body.appendChild(l);l.click();\n"
        "</script></body></html>\n"
    )
    return File(name, "text/html", page.encode())


def login_page(name: str, target: str) -> File:
    """An HTML file with a sign-in form that would post to the target."""
    page = (
        f"<html><body><h2>Sign in to view the document</h2><form method='post' action='{target}'>"
        "<input name='user'><input type='password' name='pass'><button>Continue</button></form></body></html>\n"
    )
    return File(name, "text/html", page.encode())


def noise(rng: random.Random, name: str, mime_type: str, magic: bytes) -> File:
    """A file with the given first bytes and noise behind them."""
    return File(name, mime_type, magic + rng.randbytes(rng.randint(200, 700)))


def square_code(rng: random.Random, name: str = "code.png") -> File:
    """A picture like a QR code, finder patterns and random modules; it cannot be decoded."""
    side, scale = 29, 4
    rows = [[rng.random() < 0.5 for _ in range(side)] for _ in range(side)]
    for top, left in ((0, 0), (0, side - 7), (side - 7, 0)):
        for y in range(7):
            for x in range(7):
                ring = max(abs(y - 3), abs(x - 3))
                rows[top + y][left + x] = ring != 2
    return _png(name, rows, scale)


def picture(rng: random.Random, name: str) -> File:
    """A small picture, such as a logo or a photo's thumbnail."""
    width = rng.randint(8, 24)
    bits = rng.getrandbits(width)
    return _png(name, [[bool(bits >> (x ^ y) % width & 1) for x in range(width)] for y in range(12)], 2)


def photo(rng: random.Random, name: str) -> File:
    """A picture of noise."""
    pixels = rng.randbytes(rng.randint(200, 700))
    rows = [pixels[at : at + 8] for at in range(0, len(pixels) - 7, 8)]
    return _png(name, [[bool(byte >> bit & 1) for byte in row for bit in range(8)] for row in rows], 1)


def calendar(uid: str, summary: str, organiser: str, starts: str, ends: str) -> File:
    """A meeting request (RFC 5545). starts, ends: UTC in basic form."""
    lines = (
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Example//Calendar//EN",
        "METHOD:REQUEST",
        "BEGIN:VEVENT",
        f"UID:{uid}",
        f"SUMMARY:{summary}",
        f"ORGANIZER:mailto:{organiser}",
        f"DTSTART:{starts}",
        f"DTEND:{ends}",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    )
    return File("invite.ics", "text/calendar", "\r\n".join(lines).encode())


def wallet(rng: random.Random) -> str:
    """A wallet address with a valid checksum, of a key that nobody holds."""
    payload = b"\x00" + rng.randbytes(20)
    payload += hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number, digits = int.from_bytes(payload, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        digits = _BASE58[rest] + digits
    return "1" + digits


def iban(rng: random.Random) -> str:
    """An account number with valid check digits (ISO 13616) at a bank code that is not given out."""
    account = f"00000000{rng.randint(0, 9_999_999_999):010d}"
    check = 98 - int(account + "131400") % 97
    return f"DE{check:02d}{account}"


def _png(name: str, rows: Sequence[Sequence[bool]], scale: int) -> File:
    width, height = len(rows[0]) * scale, len(rows) * scale
    lines = bytearray()
    for row in rows:
        line = b"\x00" + b"".join((b"\x00" if dark else b"\xff") * scale for dark in row)
        lines += line * scale
    out = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(lines), 1)), (b"IEND", b"")):
        out += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return File(name, "image/png", out)
