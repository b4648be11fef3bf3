"""A message taken apart, so that an evasion can put it together another way."""

from __future__ import annotations

import base64
import email
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage, Message

_CONTENT = re.compile(rb"^(content-|mime-version:)", re.IGNORECASE)
_VERSION = re.compile(rb"^mime-version:", re.IGNORECASE | re.MULTILINE)
_BODY = re.compile(r"<body[^>]*>(.*)</body>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class File:
    """An attachment's name, type and bytes."""

    name: str
    mime_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Pieces:
    """headers: all lines but those of content, each ended. html: what stands in the body element."""

    headers: bytes
    html: str
    files: tuple[File, ...] = ()

    @classmethod
    def of(cls, raw: bytes) -> Pieces:
        """Take a sound message apart: its HTML, or its plain text as HTML.

        Raises LookupError or ValueError where its text is in no charset that is known here.
        """
        raw = raw.replace(b"\r\n", b"\n")
        message = email.message_from_bytes(raw, policy=policy.default)
        assert isinstance(message, EmailMessage)
        body = message.get_body(("html",))
        if body is not None:
            source = str(body.get_content())
            found = _BODY.search(source)
            shown = found[1] if found else source
        else:
            plain = message.get_body(("plain",))
            shown = _linked(str(plain.get_content()) if plain is not None else "")
        files = tuple(
            File(part.get_filename() or "", part.get_content_type(), _bytes_of(part))
            for part in message.iter_attachments()
            if not part.is_multipart()
        )
        return cls(_header_lines(raw), shown, files)

    @property
    def text(self) -> str:
        """The HTML without its tags, as plain text."""
        lines = re.sub(r"(?i)<(br|/p|/div|/tr)\b[^>]*>", "\n", self.html)
        linked = re.sub(r'(?is)<a\b[^>]*href="([^"]*)"[^>]*>(.*?)</a>', r"\2 <\1>", lines)
        return html.unescape(_TAG.sub(lambda tag: tag[0] if "://" in tag[0][:12] else "", linked))


def document(shown: str, head: str = "") -> str:
    """A whole HTML document around what stands in its body."""
    return f"<!DOCTYPE html><html><head>{head}</head><body>{shown}</body></html>"


def message_of(pieces: Pieces, body: bytes) -> bytes:
    """Headers, then the body part (with its own content headers), with the attachments behind it where there are."""
    if not pieces.files:
        return begun(pieces) + body
    return message_of_parts(pieces, [body, *(file_part(file) for file in pieces.files)])


def message_of_parts(pieces: Pieces, parts: Sequence[bytes]) -> bytes:
    """Headers, then these parts side by side."""
    boundary = b"=_outer_of_parts"
    opened = b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\n\n'
    inside = b"".join(b"--" + boundary + b"\n" + part + b"\n" for part in parts)
    return begun(pieces) + opened + inside + b"--" + boundary + b"--\n"


def begun(pieces: Pieces) -> bytes:
    """The headers, MIME-Version behind them where it does not stand among them."""
    return pieces.headers if _VERSION.search(pieces.headers) else pieces.headers + b"MIME-Version: 1.0\n"


def part(content_type: str, data: bytes, *more: str) -> bytes:
    """A part in base64."""
    lines = "\n".join((f"Content-Type: {content_type}", "Content-Transfer-Encoding: base64", *more))
    return lines.encode() + b"\n\n" + base64.encodebytes(data)


def file_part(file: File) -> bytes:
    """An attachment as a part."""
    named = f'Content-Disposition: attachment; filename="{file.name}"'
    return part(file.mime_type, file.data, named)


def html_part(shown: str, head: str = "") -> bytes:
    """A document as a part."""
    return part("text/html; charset=utf-8", document(shown, head).encode())


def _bytes_of(part: Message) -> bytes:
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _header_lines(raw: bytes) -> bytes:
    kept, skipping = [], False
    for line in raw.partition(b"\n\n")[0].splitlines():
        if line[:1] not in b" \t":
            skipping = _CONTENT.match(line) is not None
        if not skipping:
            kept.append(line + b"\n")
    return b"".join(kept)


def _linked(text: str) -> str:
    escaped = html.escape(text, quote=False)
    linked = re.sub(r"(?:&lt;)?(https?://[^\s<>&]+)(?:&gt;)?", r'<a href="\1">\1</a>', escaped)
    return "".join(f"<p>{line}</p>\n" for line in linked.split("\n") if line.strip())
