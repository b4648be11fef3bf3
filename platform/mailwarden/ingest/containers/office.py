"""Office files: macros, what they take from elsewhere, packed objects, text and links.

Source: [MS-DOC], [MS-XLS] 2.4.28, [MS-OLEDS] 2.2.4, ECMA-376 part 2, OpenDocument 1.3.
"""

from __future__ import annotations

import codecs
import re
import struct
from functools import partial
from itertools import islice

from mailwarden.domain.status import Status
from mailwarden.ingest.containers.compound import Compound, Stream
from mailwarden.ingest.containers.contents import Contents, Member, member_of
from mailwarden.ingest.containers.macros import judge_source, read_macros
from mailwarden.ingest.containers.outlook import is_outlook, open_outlook
from mailwarden.ingest.containers.plain import MAX_TEXT, links_in_bytes, text_in_bytes, text_of_xml
from mailwarden.ingest.containers.zips import Entry, entries_of, read_entry
from mailwarden.ingest.entities import undo_entities

MAX_PART = 2 << 20
"""Bytes of one part of a document that are read."""
MAX_PARTS = 60
"""Parts with text that are read, and parts with relationships."""
MAX_TEXT_PART = 1 << 19
"""Bytes of a part whose words are read."""
_MAX_INSTRUCTIONS = 1 << 18
MAX_RECORDS = 20_000

_RELATIONSHIP = re.compile(rb"<(?:\w{1,20}+:)?+Relationship\s([^<>]{1,6000}+)>", re.IGNORECASE)
_TARGET = re.compile(rb"\bTarget\s{0,9}+=\s{0,9}+[\"']([^\"']{1,4000}+)")
_KIND = re.compile(rb"\bType\s{0,9}+=\s{0,9}+[\"']([^\"']{1,400}+)")
_EXTERNAL = re.compile(rb"\bTargetMode\s{0,9}+=\s{0,9}+[\"']External", re.IGNORECASE)
_DDE = re.compile(rb"\bDDE(?:AUTO)?\b\s{0,9}+[\"\\a-z]|<(?:\w{1,20}+:)?+ddeLink\b|\|\s{0,4}+'\s{0,4}+/[cC] ")
_INSTRUCTION = re.compile(rb"<(?:\w{1,20}+:)?+instrText[^<>]{0,200}+>([^<]{0,2000}+)|\binstr=\"([^\"<>]{0,2000}+)\"")
_INSTRUCTION_TEXT = re.compile(rb"<(?:\w{1,20}+:)?+instrText[^<>]{0,200}+>[^<]{0,20000}+")
_FORMULA = re.compile(rb"<(?:\w{1,20}+:)?+f(?:\s[^<>]{0,400}+)?+>([^<]{1,9000}+)")
_CELL_TEXT = re.compile(rb"<(?:\w{1,20}+:)?+t(?:\s[^<>]{0,400}+)?+>([^<]{1,33000}+)")
_OVERRIDE = re.compile(rb"<(?:\w{1,20}+:)?+Override\s([^<>]{1,2000}+)>")
_PART_NAME = re.compile(rb"\bPartName\s{0,9}+=\s{0,9}+[\"']/?+([^\"']{1,500}+)")
_OF_TEXT = re.compile(
    rb"(?:wordprocessingml|ms-word)[.\w]{0,80}main\+xml|sharedStrings\+xml|presentationml\.slide\+xml|ml\.worksheet\+xml"
)
_CHUNKS = (".mht", ".mhtml", ".htm", ".html", ".xhtml", ".rtf", ".eml", ".docx", ".docm")
_HREF = re.compile(rb"\bxlink:href=\"((?:https?|ftp|file):[^\"<>]{1,4000}+)\"")
_TEXT_PARTS = re.compile(
    r"(?:word/(?:document|footnotes|header\d{0,3}|footer\d{0,3})\.xml|xl/sharedStrings\.xml|xl/worksheets/sheet\d{1,3}\.xml"
    r"|ppt/slides/slide\d{1,3}\.xml|content\.xml|xl/drawings/drawing\d{1,3}\.xml)\Z",
    re.IGNORECASE,
)
_FROM_ELSEWHERE = (b"attachedTemplate", b"oleObject", b"frame", b"subDocument", b"control", b"customUI")
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_WORD_ENCRYPTED = 0x0100


def open_ooxml(data: bytes, contents: Contents) -> None:
    """A document of Office Open XML or OpenDocument."""
    read = 0
    entries = entries_of(data, contents)
    mains = _kinds(data, entries, contents)
    for entry in entries:
        name = entry.name.replace("\\", "/")
        lower = name.lower()
        if lower.endswith(".rels") and read < MAX_PARTS:
            read += 1
            _relationships(_read_xml(data, entry, contents), contents)
        elif lower.endswith((".bin", ".ole")) and ("vbaproject" in lower or lower.count("/") == 1):
            project = read_entry(data, entry, contents, MAX_PART)
            if project.startswith(b"\xd0\xcf\x11\xe0"):
                contents.traits.add("macros")
                _attempt_macros(project, contents)
        elif "macrosheets/" in lower or lower.startswith("basic/"):
            contents.traits.add("macros")
            if lower.startswith("basic/"):
                judge_source(read_entry(data, entry, contents, MAX_PART), contents)
        elif "/embeddings/" in lower or "/activex/" in lower or lower.startswith(("object ", "objectreplacements/")):
            if not lower.endswith((".xml", ".rels", "/")):
                contents.traits.add("embedded_file")
                contents.members.append(_member(data, entry, contents))
        elif "/media/" in lower or lower.startswith("pictures/"):
            if entry.size < 1 << 20 and len(contents.images) < 5:
                contents.images.append(read_entry(data, entry, contents, 1 << 20))
        elif (lower in mains or _TEXT_PARTS.search(name) is not None) and read < MAX_PARTS:
            read += 1
            _text_part(_read_xml(data, entry, contents), lower, contents)
        elif "externallinks/" in lower and read < MAX_PARTS:
            read += 1
            if b"ddeLink" in _read_xml(data, entry, contents):
                contents.traits.add("dde")
        elif lower.endswith(_CHUNKS) and not lower.startswith("docprops/"):
            # Documents of other kinds that are shown as part of this one.
            contents.members.append(_member(data, entry, contents))
        elif lower == "meta-inf/manifest.xml" and b"encryption-data" in read_entry(data, entry, contents, MAX_PART):
            contents.unread(Status.ENCRYPTED)


def _kinds(data: bytes, entries: list[Entry], contents: Contents) -> set[str]:
    """Names in lower case of the parts with text, which may have any name: their kinds stand in a part of its own."""
    entry = next((entry for entry in entries if entry.name.lower() == "[content_types].xml"), None)
    if entry is None:
        return set()
    kinds = _read_xml(data, entry, contents)
    if b"vbaProject" in kinds or b"macrosheet" in kinds:
        contents.traits.add("macros")
    named = (_PART_NAME.search(tag) for tag in islice(_OVERRIDE.findall(kinds), MAX_RECORDS) if _OF_TEXT.search(tag))
    return {name[1].decode("utf-8", "replace").lower() for name in named if name is not None}


def _read_xml(data: bytes, entry: Entry, contents: Contents) -> bytes:
    """A part in UTF-8, in whichever form of Unicode it is written."""
    raw = read_entry(data, entry, contents, MAX_PART)
    if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return raw.decode("utf-16", "replace").encode("utf-8", "replace")
    return raw


def _member(data: bytes, entry: Entry, contents: Contents) -> Member:
    return Member(entry.name, entry.size, partial(read_entry, data, entry, contents), entry.encrypted)


def _attempt_macros(project: bytes, contents: Contents) -> None:
    try:
        read_macros(Compound(project, contents), contents)
    except (ValueError, struct.error):
        contents.unread(Status.DAMAGED)


def _relationships(raw: bytes, contents: Contents) -> None:
    if b"External" not in raw and b"EXTERNAL" not in raw and b"external" not in raw:
        return
    for found in _RELATIONSHIP.finditer(raw):
        attributes = found[1]
        target, kind = _TARGET.search(attributes), _KIND.search(attributes)
        if target is None or _EXTERNAL.search(attributes) is None:
            continue
        where = undo_entities(target[1].decode("utf-8", "replace"), contents.reading, contents.part)
        last = kind[1].rpartition(b"/")[2] if kind else b""
        if last != b"hyperlink":
            _from_elsewhere(where, last, contents)
        contents.links.append((where, ""))


def _from_elsewhere(where: str, kind: bytes, contents: Contents) -> None:
    lower = where.lower()
    remote = lower.startswith(("http:", "https:", "ftp:", "mhtml:", "\\\\", "file://\\\\", "file:////", "//", "ms-"))
    # A path on its author's disk, or a template that came with Office, leads nowhere on the reader's.
    if remote and kind in _FROM_ELSEWHERE:
        contents.traits.add("remote_template")
    elif remote:
        contents.traits.add("external_link")


def _text_part(raw: bytes, name: str, contents: Contents) -> None:
    if b"ddeLink" in raw:
        contents.traits.add("dde")
    if b"instr" in raw:
        # One field may stand in many pieces.
        instructions = b"".join(a or b for a, b in islice(_INSTRUCTION.findall(raw[:_MAX_INSTRUCTIONS]), 500))
        if _DDE.search(instructions) is not None:
            contents.traits.add("dde")
        contents.links += links_in_bytes(instructions.replace(b"&quot;", b'"'))
        raw = _INSTRUCTION_TEXT.sub(b"", raw)
    if name.endswith("content.xml"):
        for found in islice(_HREF.finditer(raw), 200):
            contents.links.append((undo_entities(found[1].decode("utf-8", "replace"), contents.reading), ""))
    if b"<worksheet" in raw[:1_000] or b":worksheet" in raw[:1_000]:
        _sheet(raw, contents)
    elif sum(map(len, contents.texts)) < MAX_TEXT:
        contents.texts.append(text_of_xml(raw[:MAX_TEXT_PART], contents))


def _sheet(raw: bytes, contents: Contents) -> None:
    """Words that stand in the cells themselves, and formulas: where they lead, and what they start."""
    if b"<f" in raw or b":f" in raw:
        formulas = b"\n".join(islice(_FORMULA.findall(raw[:_MAX_INSTRUCTIONS]), 5_000))
        for written, char in ((b"&quot;", b'"'), (b"&apos;", b"'"), (b"&#39;", b"'"), (b"&amp;", b"&")):
            formulas = formulas.replace(written, char)
        contents.links += links_in_bytes(formulas)
        if _DDE.search(formulas) is not None:
            contents.traits.add("dde")
    if b"inlineStr" in raw and sum(map(len, contents.texts)) < MAX_TEXT:
        cells = b"\n".join(islice(_CELL_TEXT.findall(raw[:MAX_TEXT_PART]), 5_000))
        contents.texts.append(text_of_xml(cells, contents))


def open_compound(data: bytes, contents: Contents) -> None:
    """A document of the older kind, an Outlook message, or any other compound file."""
    try:
        storage = Compound(data, contents)
    except (ValueError, struct.error):
        contents.unread(Status.ENCRYPTED if _ENCRYPTED in data else Status.DAMAGED)
        return
    if is_outlook(storage):
        open_outlook(storage, contents)
        return
    read_macros(storage, contents)
    for stream in storage.streams:
        name = stream.path.rpartition("/")[2]
        if name in ("EncryptedPackage", "EncryptedSummary"):
            contents.unread(Status.ENCRYPTED)
        elif name == "\x01Ole10Native":
            _package(storage.read(stream, contents, MAX_PART), contents)
        elif name in ("WordDocument", "Workbook", "Book", "PowerPoint Document"):
            _main_stream(storage, stream, name, contents)
        elif name in ("Package", "CONTENTS") and stream.size > 100:
            contents.traits.add("embedded_file")
            contents.members.append(Member(name, stream.size, partial(storage.read, stream, contents)))


def _main_stream(storage: Compound, stream: Stream, name: str, contents: Contents) -> None:
    raw = storage.read(stream, contents, MAX_PART)
    if name == "WordDocument" and len(raw) > 12 and struct.unpack_from("<H", raw, 10)[0] & _WORD_ENCRYPTED:
        contents.unread(Status.ENCRYPTED)
        return
    if name in ("Workbook", "Book") and not _sheets(raw, contents):
        return
    if b"DDEAUTO" in raw or b"D\0D\0E\0A\0U\0T\0O\0" in raw or (name == "WordDocument" and b"\x13 DDE " in raw):
        contents.traits.add("dde")
    contents.links += links_in_bytes(raw)
    if name == "WordDocument" and len(raw) > 32:
        # Where the text stands ([MS-DOC] 2.5.1, fcMin and fcMac); pictures of the same stream are none.
        begin, end = struct.unpack_from("<II", raw, 24)
        contents.texts.append(text_in_bytes(raw[begin:end] or raw[512:], latin=True))
    else:
        contents.texts.append(text_in_bytes(raw))


def _sheets(raw: bytes, contents: Contents) -> bool:
    """Whether a workbook may be read; a sheet of macros (Excel 4.0) counts as such."""
    at = 0
    for _ in range(MAX_RECORDS):
        if at + 4 > len(raw):
            return True
        kind, size = struct.unpack_from("<HH", raw, at)
        if kind == 0x2F:
            contents.unread(Status.ENCRYPTED)
            return False
        if kind == 0x85 and raw[at + 9 : at + 10] == b"\x01":
            contents.traits.add("macros")
        at += 4 + size
    return True


def _package(raw: bytes, contents: Contents) -> None:
    """A file packed into a document by the Packager ([MS-OLEDS] 2.3.6)."""
    contents.traits.add("embedded_file")
    at = 6
    names: list[str] = []
    for _ in range(2):
        end = raw.find(b"\0", at, at + 1_000)
        if end < 0:
            contents.members.append(member_of("", raw[4:]))
            return
        names.append(raw[at:end].decode("latin-1"))
        at = end + 1
    (path,) = struct.unpack_from("<I", raw, at + 4)
    at += 8 + min(path, 4_000)
    (size,) = struct.unpack_from("<I", raw, at)
    contents.members.append(member_of(names[0] or names[1], raw[at + 4 : at + 4 + size]))


def open_object(data: bytes, contents: Contents) -> None:
    """The native data of an object in RTF or TNEF: a compound file, a package, or a file as it stands."""
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        open_compound(data, contents)
    else:
        _package(struct.pack("<I", len(data)) + data, contents)
