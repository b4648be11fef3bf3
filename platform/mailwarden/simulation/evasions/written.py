"""The same text, written another way: what stands first, where links begin, how bytes and parts are encoded."""

from __future__ import annotations

import base64
import quopri
import re

from mailwarden.simulation.evasions.benign import benign
from mailwarden.simulation.evasions.evasion import SHORT, Evasion, Evasions, shown
from mailwarden.simulation.evasions.pieces import Pieces, begun, document, html_part, message_of, part

FOUND = Evasions()
"""By name, the kind first."""


def _begun(magic: bytes) -> Evasion:
    def evade(pieces: Pieces, seed: int) -> bytes:
        return message_of(pieces, part("text/html; charset=utf-8", magic + document(pieces.html).encode()))

    return evade


FOUND["first bytes: of a GIF"] = _begun(b"GIF89a ")
FOUND["first bytes: of a PDF"] = _begun(b"%PDF-1.4 ")
FOUND["first bytes: of a zip"] = _begun(b"PK\x03\x04 ")


@FOUND.named("base: links without their host")
def _base(pieces: Pieces, seed: int) -> bytes:
    found = re.search(r'href="(https?://[^/"]+/)', pieces.html)
    if found is None:
        return shown(pieces, pieces.html)
    return shown(pieces, pieces.html.replace(found[1], ""), f'<base href="{found[1]}">')


@FOUND.named("base: behind the links")
def _base_behind(pieces: Pieces, seed: int) -> bytes:
    found = re.search(r'href="(https?:)//([^"]+)"', pieces.html)
    if found is None:
        return shown(pieces, pieces.html)
    return shown(pieces, pieces.html.replace(f'"{found[1]}//', '"//') + f'<base href="{found[1]}//elsewhere.example/">')


@FOUND.named("encoding: base64 in padded pieces")
def _padded(pieces: Pieces, seed: int) -> bytes:
    data = document(pieces.html).encode()
    lines = b"".join(base64.b64encode(data[at : at + 700]) + b"\n" for at in range(0, len(data), 700))
    return message_of(pieces, b"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n" + lines)


@FOUND.named("encoding: soft breaks with blanks")
def _soft_breaks(pieces: Pieces, seed: int) -> bytes:
    data = quopri.encodestring(document(pieces.html).encode()).replace(b"=\n", b"=  \n")
    return message_of(
        pieces, b"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n" + data
    )


@FOUND.named("encoding: UTF-16")
def _utf_16(pieces: Pieces, seed: int) -> bytes:
    return message_of(pieces, part("text/html; charset=utf-16", document(pieces.html).encode("utf-16")))


@FOUND.named("encoding: a charset that is none")
def _unknown_charset(pieces: Pieces, seed: int) -> bytes:
    return message_of(pieces, part("text/html; charset=x-unknown-9", document(pieces.html).encode()))


@FOUND.named("structure: a named part")
def _named_part(pieces: Pieces, seed: int) -> bytes:
    named = 'Content-Disposition: inline; filename="message.html"'
    return message_of(pieces, part("text/html; charset=utf-8", document(pieces.html).encode(), named))


@FOUND.named("structure: a kind of text that is not known")
def _unknown_text(pieces: Pieces, seed: int) -> bytes:
    return message_of(pieces, part("text/x-notice; charset=utf-8", pieces.text.encode()))


@FOUND.named("structure: a boundary in a comment")
def _commented(pieces: Pieces, seed: int) -> bytes:
    opened = b"Content-Type: multipart/mixed; (boundary=no) boundary=yes\n\n"
    harmless = part("text/plain; charset=utf-8", benign(seed, SHORT).encode())
    inside = b"--no\n" + harmless + b"\n--no--\n\n--yes\n" + html_part(pieces.html) + b"\n--yes--\n"
    return begun(pieces) + opened + inside


@FOUND.named("structure: an encoded multipart")
def _encoded_multipart(pieces: Pieces, seed: int) -> bytes:
    inside = b"--inner\n" + html_part(pieces.html) + b"\n--inner--\n"
    return message_of(pieces, part('multipart/mixed; boundary="inner"', inside))
