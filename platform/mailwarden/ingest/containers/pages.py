"""HTML and SVG files: what a reader sees of them, what they ask for, and what their scripts put together."""

from __future__ import annotations

import base64
import binascii
import re
from itertools import islice
from urllib.parse import unquote_to_bytes, urljoin

from mailwarden.ingest.attachments import OCTETS, detect_type
from mailwarden.ingest.charsets import decode
from mailwarden.ingest.containers.contents import Contents, member_of
from mailwarden.ingest.html_text import read_html
from mailwarden.ingest.text_links import plain_urls

MAX_PAGE = 2 << 20
"""Bytes of a page that are looked at for scripts."""
MAX_SHOWN = 300_000
"""Bytes of a page that are read as a reader sees them."""
MAX_PIECES = 10
"""Encoded pieces of a page that are decoded, the first ones."""
_LEAST_PIECE = 400
_MAX_SCRIPT_LINKS = 20

_CHARSET = re.compile(rb"charset\s{0,9}+=\s{0,9}+[\"']?+([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_PASSWORD = re.compile(r"<input\s[^<>]{0,2000}+>")
_PASSWORD_TYPE = re.compile(
    r"\btype\s{0,9}+=\s{0,9}+[\"']?+password|\bname\s{0,9}+=\s{0,9}+[\"']?+(?:pass|pwd|passwd|passwort)"
)
_REFRESH = re.compile(r"<meta\s[^<>]{0,2000}+>")
_REFRESH_URL = re.compile(r"\burl\s{0,9}+=\s{0,9}+[\"']?+\s{0,9}+([^\s\"'<>;]{1,2000}+)")
_GOES = re.compile(
    r"\b(?:window|document|self|top|parent)\.location(?:\.href)?+\s{0,9}+=(?!=)|\blocation\.(?:href\s{0,9}+=(?!=)"
    r"|replace\s{0,9}+\(|assign\s{0,9}+\()"
)
_SCRIPT = re.compile(r"<script(?=[\s>/])[^<>]{0,2000}+>")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{400,}+={0,2}+")
_ESCAPES = re.compile(r"(?:%[0-9a-fA-F]{2}|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}){100,}+|(?:\d{1,3},\s?+){200,}+")
_DATA_LINK = re.compile(r"\bdata:([a-z]{1,20}+/[a-z0-9.+-]{1,80}+)?+(?:;[a-z0-9=_-]{1,40}+){0,4}+,")
_HANDLER = re.compile(r"\son[a-z]{3,20}+\s{0,9}+=")
_SAVES = ("createobjecturl", "mssaveoropenblob", "mssaveblob", "new file(", "navigator.saveblob")
_DECODES = ("atob(", "fromcharcode", "unescape(", "decodeuricomponent(", "textdecoder", "base64")
_WRITES = ("document.write", "eval(", "innerhtml", "outerhtml", "new function(", "settimeout(", "srcdoc")
_HARMLESS = ("image/", "font/", "text/css", "application/font", "application/x-font", "audio/", "video/")


def open_page(data: bytes, contents: Contents) -> None:
    """An HTML or SVG file."""
    read_page(data, contents)


def read_page(raw: bytes, contents: Contents) -> None:
    """What a page shows, and the traits of what it does. Text beyond a bound is not read, and says so by its budget."""
    label = _CHARSET.search(raw, 0, 2_048)
    shown = raw[:MAX_SHOWN]
    text = decode(shown, label[1].decode("ascii").lower() if label else "", contents.reading, contents.part)
    seen = read_html(text, contents.reading, contents.part)
    contents.texts += (part for part in (seen.new, seen.quoted) if part)
    contents.links += ((_resolved(seen.base, link.href), link.text) for link in seen.links)
    source = text if len(raw) <= MAX_SHOWN else text + raw[MAX_SHOWN : contents.take(MAX_PAGE)].decode("latin-1")
    _judge(source, source.lower(), contents)


def _resolved(base: str, href: str) -> str:
    try:
        return urljoin(base[:2_000], href[:4_000]) if base else href
    except ValueError:
        return href


def _judge(source: str, lower: str, contents: Contents) -> None:
    if "<form" in lower:
        contents.traits.add("form")
    if any(_PASSWORD_TYPE.search(tag[0]) for tag in islice(_PASSWORD.finditer(lower), 2_000)):
        contents.traits.add("password_field")
    for tag in islice(_REFRESH.finditer(lower), 200):
        if "refresh" in tag[0] and (where := _REFRESH_URL.search(source[tag.start() : tag.end()])) is not None:
            contents.traits.add("redirect")
            contents.links.append((where[1], ""))
    scripts = _SCRIPT.search(lower) is not None or "javascript:" in lower or _HANDLER.search(lower) is not None
    pieces = [piece[0] for piece in islice(_BASE64.finditer(source), MAX_PIECES)] if scripts or "data:" in lower else []
    if scripts:
        _judge_scripts(source, lower, bool(pieces) or _ESCAPES.search(source) is not None, contents)
    if "data:" in lower:
        _data_links(source, lower, contents)
    for piece in pieces:
        _decoded(piece, contents)


def _judge_scripts(source: str, lower: str, packed: bool, contents: Contents) -> None:
    contents.traits.add("javascript")
    decodes = any(word in lower for word in _DECODES)
    saves = any(word in lower for word in _SAVES)
    if packed and ((saves and ("blob" in lower or decodes)) or (".download" in lower and "data:" in lower)):
        contents.traits.add("smuggling")
    if packed and decodes and any(word in lower for word in _WRITES):
        contents.traits.add("obscured_script")
    if _GOES.search(lower) is not None:
        contents.traits.add("redirect")
    at = max(lower.find("<script"), 0)
    named = plain_urls(source[at : at + 200_000], contents.reading, contents.part)[:_MAX_SCRIPT_LINKS]
    contents.links += ((url, "") for url in named if "://" in url)


def _data_links(source: str, lower: str, contents: Contents) -> None:
    """Files that stand in links of the page itself; pictures and fonts are what they seem."""
    for found in islice(_DATA_LINK.finditer(lower), 50):
        kind = found[1] or ""
        if kind.startswith(_HARMLESS) and kind != "image/svg+xml":
            continue
        end = found.end()
        content = source[end : min(_end_of(source, end), end + 400_000)]
        if "base64" in found[0]:
            if len(content) < _LEAST_PIECE:
                _decoded(content, contents)
        elif content:
            contents.members.append(member_of("", unquote_to_bytes(content)[:100_000]))


def _end_of(source: str, at: int) -> int:
    ends = [end for mark in "\"'<> " if (end := source.find(mark, at, at + 400_000)) >= 0]
    return min(ends, default=at + 400_000)


def _decoded(piece: str, contents: Contents) -> None:
    """A piece of base 64, as a file where it is one."""
    kept = piece[: contents.take(min(len(piece), 4 << 20))]
    try:
        data = base64.b64decode(kept[: len(kept) & ~3])
    except (binascii.Error, ValueError):
        return
    # What stands for a picture, a key or a number in a script is none.
    if data and detect_type(data) not in (OCTETS, "text/plain"):
        contents.members.append(member_of("", data))
