"""What an attached file is by its bytes, whatever its name and its part claim."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from mailwarden.domain.mail.file_names import extension_of

OCTETS = "application/octet-stream"

_OOXML = "application/vnd.openxmlformats-officedocument"
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"\xd7\xcd\xc6\x9a", "image/wmf"),
    (b"Rar!\x1a\x07", "application/x-rar"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"\x1f\x9d", "application/x-compress"),
    (b"LZIP", "application/x-lzip"),
    (b"\x04\x22\x4d\x18", "application/x-lz4"),
    (b"MSWIM\0\0\0", "application/x-ms-wim"),
    (b"xar!", "application/x-xar"),
    (b"KDMV", "application/x-vmdk"),
    (b"\xed\xab\xee\xdb", "application/x-rpm"),
    (b"MSCF\0\0\0\0", "application/vnd.ms-cab-compressed"),
    (b"\x60\xea", "application/x-arj"),
    (b"\x7fELF", "application/x-elf"),
    (b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\xce\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\xca\xfe\xba\xbe", "application/java-vm"),
    (b"{\\rt", "application/rtf"),
    (b"L\0\0\0\x01\x14\x02\0", "application/x-ms-shortcut"),
    (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", "application/onenote"),
    (b"ITSF\x03\0\0\0", "application/vnd.ms-htmlhelp"),
    (b"\x78\x9f\x3e\x22", "application/ms-tnef"),
    (b"!BDN", "application/vnd.ms-outlook-pst"),
    (b"conectix", "application/x-vhd"),
    (b"vhdxfile", "application/x-vhdx"),
    (b"%!PS", "application/postscript"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
    (b"FWS", "application/x-shockwave-flash"),
    (b"CWS", "application/x-shockwave-flash"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"MThd", "audio/midi"),
    (b"\x1aE\xdf\xa3", "video/x-matroska"),
    (b"\0\0\1\xba", "video/mpeg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
    (b"wOFF", "font/woff"),
    (b"\0asm", "application/wasm"),
)
_BY_FIRST: dict[int, list[tuple[bytes, str]]] = {}
for _magic, _name in _SIGNATURES:
    _BY_FIRST.setdefault(_magic[0], []).append((_magic, _name))
# Two bytes of letters alone are no proof: text may begin with them.
_WEAK = frozenset((
    "image/bmp", "audio/mpeg", "application/x-arj", "application/x-shockwave-flash", "application/x-lzip",
    "application/x-xar", "application/x-vmdk", "application/x-compress",
))  # fmt: skip
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo", b"ACON": "image/x-ani"}
_OLE_STREAMS = (
    ("__substg1.0_", "application/vnd.ms-outlook"),
    ("WordDocument", "application/msword"),
    ("Workbook", "application/vnd.ms-excel"),
    ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ("EncryptedPackage", "application/x-ole-encrypted-package"),
    ("Book", "application/vnd.ms-excel"),
    ("VisioDocument", "application/vnd.visio"),
)
_MSI_CLASS = b"\x84\x10\x0c\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46"
_HTML_START = re.compile(
    rb"<(?:!doctype\s+html|html|head|body|script|meta|title|table|iframe|form|div|style|center|p|a|h1|br)\b",
    re.IGNORECASE,
)
_ANY_MARKUP = re.compile(
    rb"<(?:script|form|input|body|head|html|div|iframe|meta|a|img|table|span|p|br|style|font|b|svg|button|link)[\s/>]",
    re.IGNORECASE,
)
_FIELD = re.compile(rb"([A-Za-z][A-Za-z0-9-]{1,60}+):[ \t]?+[^\n]{0,2000}+\n(?:[ \t][^\n]{0,2000}+\n){0,100}+")
_MESSAGE_NAMES = frozenset(("eml", "mht", "mhtml", "nws"))
_OCTAL = re.compile(rb" {0,6}+([0-7]{1,7}+)[ \0]{1,3}+")
_OF_MAIL = frozenset((b"received", b"return-path", b"message-id", b"date", b"subject", b"to", b"from", b"mime-version"))
_OF_PAGES = (b"multipart/related", b"<saved by")
# Each with a word of it in lower case, without which it is not searched for.
_SCRIPTS: tuple[tuple[tuple[bytes, ...], re.Pattern[bytes], str], ...] = (
    ((b"<?php",), re.compile(rb"\A<\?php", re.IGNORECASE), "text/x-php"),
    ((b"<job", b"<package"), re.compile(rb"<(?:job|package)\b[^<>]{0,200}>\s{0,200}+<(?:script|job)", re.IGNORECASE),
     "application/x-ms-wsf"),
    ((b"<hta:application",), re.compile(rb"<hta:application", re.IGNORECASE), "application/hta"),
    ((b"echo off", b" /b", b" /c"),
     re.compile(rb"\A\s*@?echo off|^[ \t]*(?:start|cmd) /[bc]\b", re.IGNORECASE | re.MULTILINE), "application/x-bat"),
    ((b"activexobject", b"wscript.", b"var", b"let", b"const", b"function"),
     re.compile(rb"\bnew\s{1,200}+ActiveXObject\b|\bWScript\.(?:CreateObject|Shell)\s{0,200}+\([^)]{0,80}\)\s{0,200}+;"
                rb"|\A\s*(?:var|let|const|function)\s+[\w$]+\s*[=(]|\beval\s{0,200}+\(\s{0,200}+function",
                re.IGNORECASE),
     "text/javascript"),
    ((b"dim", b"on error resume next", b"createobject"),
     re.compile(rb"^[ \t]*(?:Dim[ \t]+\w+|On Error Resume Next|Set[ \t]+\w+[ \t]*=[ \t]*CreateObject[ \t]*\()",
                re.IGNORECASE | re.MULTILINE), "text/vbscript"),
    ((b"powershell", b"invoke-", b"net.webclient"),
     re.compile(rb"\bpowershell(?:\.exe)?\s+-|\bInvoke-(?:Expression|WebRequest)\b|\bNew-Object\s+Net\.WebClient",
                re.IGNORECASE), "text/x-powershell"),
)  # fmt: skip
_MAX_NAME = 1_000
"""Bytes that are read of a name in an archive, which may claim what the next one claims too."""
SNIFFED_BYTES = 8_192
"""Bytes of a file without a binary mark that tell what kind of text it is."""
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def detect_type(data: bytes) -> str:
    """The content type of a file by its bytes; "application/octet-stream" where they tell nothing.

    Names follow IANA where it has one, else the freedesktop.org shared MIME database.
    """
    if not data:
        return "application/x-empty"
    return binary_type(data) or _text_type(data)


def binary_type(data: bytes) -> str | None:
    """The type where the bytes bear the mark of a binary format, None for text and the unknown."""
    for magic, name in _BY_FIRST.get(data[0], ()) if data else ():
        if data.startswith(magic) and (name not in _WEAK or _CONTROL.search(data, 0, 256)):
            return name
    head = data[:1024]
    if head.startswith(b"PK") and (head[2:4] in (b"\3\4", b"\5\6", b"\7\x08") or head[2:8] == b"00PK\3\4"):
        return _zip_type(data)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return _ole_type(data)
    if head.startswith(b"MZ") and _CONTROL.search(head) is not None:
        return "application/vnd.microsoft.portable-executable"
    if head[:1] == b"0" and b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01" in head[:24]:
        return _envelope_type(data)
    at = head.find(b"%PDF-")
    if at == 0 or (at > 0 and b"\n%%EOF" in data[-2048:]):
        return "application/pdf"
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return "image/heic" if head[8:11] in (b"hei", b"mif") else "video/mp4"
    if head[257:262] == b"ustar" or (head[107:108] in (b"\0", b" ") and _is_old_tar(head)):
        return "application/x-tar"
    if data[32_769:32_774] == b"CD001" or data[32_769:32_772] == b"BEA":
        return "application/x-iso9660-image"
    if head[:3] == b"]\0\0" and (head[5:13] == b"\xff" * 8 or head[9:13] == b"\0\0\0\0"):
        return "application/x-lzma"
    if head[:6] in (b"070707", b"070701", b"070702"):
        return "application/x-cpio"
    if head[7:14] == b"**ACE**":
        return "application/x-ace"
    if head[2:7] in (b"-lh0-", b"-lh5-", b"-lh6-", b"-lh7-"):
        return "application/x-lha"
    return None


def type_by_name(content_type: str, name: str, data: bytes) -> str:
    """The detected type of a file, or that of a message where the bytes may be one and the name says so."""
    if content_type != "text/plain" or extension_of(name) not in _MESSAGE_NAMES:
        return content_type
    field = _FIELD.match(data[:SNIFFED_BYTES].lstrip())
    return content_type if field is None else "message/rfc822"


def _is_old_tar(head: bytes) -> bool:
    """A header of the tar format before it had a mark: octal numbers, the sum of its bytes among them."""
    written = _OCTAL.fullmatch(head[148:156]) if _OCTAL.fullmatch(head[100:108]) else None
    return written is not None and sum(head[:148]) + sum(head[156:512]) + 8 * 32 == int(written[1], 8)


def has_zip_behind(data: bytes) -> bool:
    """Whether a file of another kind ends as a ZIP does: what unpacks those reads it from its end."""
    return data[-22:-18] == b"PK\5\6"


def _envelope_type(data: bytes) -> str | None:
    """CMS (RFC 8551 section 3.2): a signature of what stands elsewhere, or an envelope with its content."""
    from mailwarden.ingest.containers.signed import read_envelope

    found = read_envelope(data)
    if found is None:
        return None
    return "application/pkcs7-signature" if found.kind == "detached" else "application/pkcs7-mime"


def _zip_type(data: bytes) -> str:
    names = list(_zip_names(data))
    lower = {name.lower() for name in names}
    macros = any(name.endswith(b"vbaproject.bin") for name in lower)
    for folder, kind, legacy in (
        (b"word/", "wordprocessingml.document", "word.document"),
        (b"xl/", "spreadsheetml.sheet", "excel.sheet"),
        (b"ppt/", "presentationml.presentation", "powerpoint.presentation"),
    ):
        if any(name.startswith(folder) for name in lower):
            return f"application/vnd.ms-{legacy}.macroenabled.12" if macros else f"{_OOXML}.{kind}"
    if data[30:38] == b"mimetype":
        declared = data[38:138].split(b"PK", 1)[0]
        if re.fullmatch(rb"application/[a-z0-9.+-]+", declared):
            return declared.decode("ascii")
    if b"androidmanifest.xml" in lower:
        return "application/vnd.android.package-archive"
    if b"meta-inf/manifest.mf" in lower:
        return "application/java-archive"
    if any(name.endswith(b".appxmanifest") or name == b"appxmanifest.xml" for name in lower):
        return "application/appx"
    return "application/zip"


def _zip_names(data: bytes, most: int = 500) -> Iterator[bytes]:
    """Names in the central directory, or, where that cannot be found, in the local headers."""
    at = data.rfind(b"PK\5\6", max(0, len(data) - 65_600))
    position = -1
    if at >= 0 and at + 20 <= len(data):
        size, offset = struct.unpack_from("<II", data, at + 12)
        # Bytes put before an archive shift it; the directory still ends where its end record begins.
        fits = at >= size and data[at - size : at - size + 4] == b"PK\1\2"
        position = at - size if fits else offset
    if position >= 0 and data[position : position + 4] == b"PK\1\2":
        for _ in range(most):
            if data[position : position + 4] != b"PK\1\2" or position + 46 > len(data):
                return
            name, extra, comment = struct.unpack_from("<HHH", data, position + 28)
            yield data[position + 46 : position + 46 + min(name, _MAX_NAME)]
            position += 46 + name + extra + comment
        return
    position = data.find(b"PK\3\4")
    for _ in range(most):
        if position < 0 or position + 30 > len(data):
            return
        (name,) = struct.unpack_from("<H", data, position + 26)
        yield data[position + 30 : position + 30 + min(name, _MAX_NAME)]
        position = data.find(b"PK\3\4", position + 30)


def _ole_type(data: bytes) -> str:
    for stream, name in _OLE_STREAMS:
        if stream.encode("utf-16-le") in data:
            return name
    return "application/x-msi" if _MSI_CLASS in data else "application/x-ole-storage"


def _text_type(data: bytes) -> str:
    for bom in _BOMS:
        if data.startswith(bom):
            data = data[len(bom) :]
            if bom != b"\xef\xbb\xbf":
                data = data[:SNIFFED_BYTES].replace(b"\0", b"")
            break
    head = data[:SNIFFED_BYTES]
    if _CONTROL.search(head) is not None:
        return OCTETS
    start = head.lstrip()
    upper = start[:64].upper()
    if upper.startswith(b"BEGIN:VCALENDAR"):
        return "text/calendar"
    if upper.startswith(b"BEGIN:VCARD"):
        return "text/vcard"
    if start.startswith(b"#!"):
        return "text/x-shellscript"
    if start.startswith(b"-----BEGIN "):
        return "application/pgp-encrypted" if upper.startswith(b"-----BEGIN PGP") else "application/x-pem-file"
    if upper.startswith((b"[INTERNETSHORTCUT]", b"[{000214A0-")):
        return "application/x-mswinurl"
    lower = start.lower()
    for words, pattern, name in _SCRIPTS:
        if any(word in lower for word in words) and pattern.search(start) is not None:
            # A web page that scripts is a web page; what runs outside a browser is a program.
            if name == "text/javascript" and start[:1] == b"<":
                continue
            return name
    if b":" in head[:70] and _is_message(start):
        return "message/rfc822"
    if start[:1] == b"<":
        markup = _xml_type(start)
        if markup is not None:
            return markup
    return "text/plain" if start else "application/x-empty"


def _is_message(start: bytes) -> bool:
    """Whether a text is a message with a body: fields of mail that end with an empty line and something behind it.

    A patch as git writes it looks so too, and is a patch; headers alone are a bounce's.
    """
    if start.startswith((b"From ", b">From ")) and b"Mon Sep 17 00:00:00 2001" in start[:80]:
        return False
    at = start.find(b"\n") + 1 if start.startswith((b"From ", b">From ")) else 0
    names: set[bytes] = set()
    saved = False
    for _ in range(200):
        field = _FIELD.match(start, at)
        if field is None:
            break
        name = field[1].lower()
        names.add(name)
        saved = saved or (name in (b"content-type", b"from") and any(mark in field[0].lower() for mark in _OF_PAGES))
        at = field.end()
    if saved and b"mime-version" in names:
        return True
    if len(names & _OF_MAIL) < 3 or b"from" not in names:
        return False
    # Either it goes on behind its headers, or these are longer than what is looked at.
    rest = start[at:]
    return (bool(rest.strip()) and rest[:2].lstrip(b"\r")[:1] == b"\n") or (not rest and len(start) > 8_000)


def _xml_type(start: bytes) -> str | None:
    lower = start[:2048].lower()
    if lower.startswith(b"<svg") or (lower.startswith((b"<?xml", b"<!doctype svg", b"<!--")) and b"<svg" in lower):
        return "image/svg+xml"
    if _HTML_START.match(start) or (lower.startswith((b"<!--", b"<?xml")) and _HTML_START.search(start)):
        return "text/html"
    if b"<librarydescription" in lower or b"<persistedquery" in lower:
        return "application/windows-library+xml"
    if b"<pcsettings" in lower:
        return "application/x-ms-settingcontent"
    if not lower.startswith(b"<?xml") and _ANY_MARKUP.match(start):
        return "text/html"
    return "text/xml" if lower.startswith(b"<?xml") else None
