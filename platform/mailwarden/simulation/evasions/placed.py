"""The message in another place: in a file, in an invitation, in a picture. One click opens it."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable

from mailwarden.simulation.evasions.evasion import Evasions
from mailwarden.simulation.evasions.pieces import (
    File,
    Pieces,
    document,
    file_part,
    html_part,
    message_of,
    message_of_parts,
    part,
)

FOUND = Evasions()
"""By name, the kind first."""


def _with_file(file: File) -> Callable[[Pieces], bytes]:
    def put(pieces: Pieces) -> bytes:
        note = part("text/plain; charset=utf-8", b"Please see the attached file.\n")
        return message_of(Pieces(pieces.headers, "", (file, *pieces.files)), note)

    return put


@FOUND.named("attached: an HTML file")
def _attached_html(pieces: Pieces, seed: int) -> bytes:
    return _with_file(File("Notice.html", "text/html", document(pieces.html).encode()))(pieces)


@FOUND.named("attached: an HTML file that begins as a span")
def _attached_span(pieces: Pieces, seed: int) -> bytes:
    data = f"<span>{seed}</span>\n{pieces.html}".encode()
    return _with_file(File("Notice.htm", "application/octet-stream", data))(pieces)


@FOUND.named("attached: a zip of it")
def _attached_zip(pieces: Pieces, seed: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("Notice.html"), document(pieces.html))
    return _with_file(File("Notice.zip", "application/zip", out.getvalue()))(pieces)


@FOUND.named("attached: a message")
def _attached_message(pieces: Pieces, seed: int) -> bytes:
    inner = b"From: desk@notice.example\nSubject: Notice\nMIME-Version: 1.0\n" + html_part(pieces.html)
    return _with_file(File("Notice.eml", "application/octet-stream", inner))(pieces)


@FOUND.named("attached: a forwarded message")
def _forwarded(pieces: Pieces, seed: int) -> bytes:
    note = part("text/plain; charset=utf-8", b"See below.\n")
    inner = b"From: desk@notice.example\nSubject: Notice\nMIME-Version: 1.0\n" + html_part(pieces.html)
    forwarded = b"Content-Type: message/rfc822\n\n" + inner
    return message_of_parts(pieces, [note, forwarded, *map(file_part, pieces.files)])


@FOUND.named("attached: a calendar invitation")
def _invitation(pieces: Pieces, seed: int) -> bytes:
    text = pieces.text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")
    lines = ("BEGIN:VCALENDAR", "VERSION:2.0", "METHOD:REQUEST", "BEGIN:VEVENT", f"UID:{seed}@notice.example",
             "DTSTAMP:20260301T090000Z", "DTSTART:20260302T090000Z", "SUMMARY:Notice", f"DESCRIPTION:{text}",
             "END:VEVENT", "END:VCALENDAR", "")  # fmt: skip
    calendar = part("text/calendar; method=REQUEST; charset=utf-8", "\r\n".join(lines).encode())
    return message_of(pieces, calendar)


@FOUND.named("image only")
def _image(pieces: Pieces, seed: int) -> bytes:
    from PIL import Image, ImageDraw

    picture = Image.new("L", (700, 900), 255)
    ImageDraw.Draw(picture).multiline_text((20, 20), pieces.text[:3_000].encode("latin-1", "replace").decode("latin-1"))
    out = io.BytesIO()
    picture.save(out, "PNG")
    link = re.search(r'href="([^"]*)"', pieces.html)
    shown = f'<a href="{link[1] if link else "http://notice.example/"}"><img src="cid:notice"></a>'
    return message_of(
        Pieces(pieces.headers, "", (File("notice.png", "image/png", out.getvalue()), *pieces.files)), html_part(shown)
    )
