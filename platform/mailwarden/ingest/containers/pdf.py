"""PDF files: what they show, where they lead, what they do by themselves, and what is packed in them."""

from __future__ import annotations

import re
import struct
import zlib

from mailwarden.domain.status import Status
from mailwarden.ingest.budget import DOCUMENT_TOKENS
from mailwarden.ingest.containers.contents import MAX_WHOLE, Contents, Member
from mailwarden.ingest.containers.pdf_keys import is_encrypted, key_of
from mailwarden.ingest.containers.pdf_objects import (
    ESCAPE,
    Objects,
    hex_bytes,
    literal,
    raw_value,
    read_objects,
    references,
    unescape,
    unpack_objects,
)
from mailwarden.ingest.containers.pdf_text import MAX_PAGES, Font, text_of_page
from mailwarden.ingest.containers.plain import MAX_LINKS, MAX_TEXT, links_in_bytes

MAX_FILES = 100
MAX_IMAGES = 8
MAX_IMAGE = 2 << 20
_IMAGE_ONLY_TEXT = 40
"""Characters that a scanner's own mark may come to on pages that are pictures."""

_PAGE = re.compile(rb"/Type\s{0,9}+/Page(?![A-Za-z])")
_LINK = re.compile(
    rb"/(?:URI|F|UF)\s{0,9}+(?:\(((?:[^()\\]++|\\.|\([^()]{0,2000}+\)){0,4000}+)\)|<([0-9A-Fa-f\s]{2,8000}+)>)",
    re.DOTALL,
)
_LINK_ELSEWHERE = re.compile(rb"/URI\s{1,9}+(\d{1,9}+)\s{1,9}+\d{1,5}+\s{1,9}+R")
_JAVASCRIPT = re.compile(
    rb"/S\s{0,9}+/JavaScript|/JS\s{0,9}+[(<\d]|/JavaScript\s{0,9}+(?:\d|<<)|/Names\s{0,9}+\[\s{0,9}+\(JavaScript"
)
_LAUNCH = re.compile(rb"/S\s{0,9}+/Launch(?![A-Za-z])")
_DOES = re.compile(
    rb"/S\s{0,9}+/(?:JavaScript|Launch|URI|SubmitForm|GoToR|GoToE|ImportData)(?![A-Za-z])|/JS\s{0,9}+[(<\d]"
)
_SUBMITS = re.compile(rb"/S\s{0,9}+/SubmitForm(?![A-Za-z])")
_INDEXED = re.compile(
    rb"/Indexed\s{0,9}+(/\w{1,40}+|\[[^\[\]]{0,400}+\]|\d{1,9}+\s\d{1,5}+\sR)\s{0,9}+\d{1,3}+\s{0,9}+(.{1,8000}+)",
    re.DOTALL,
)
_FILE_NAME = re.compile(rb"/U?F\s{0,9}+\(((?:[^()\\]++|\\.){0,1000}+)\)", re.DOTALL)


def open_pdf(data: bytes, contents: Contents) -> None:
    """A PDF file."""
    objects = read_objects(data, contents)
    locked = False
    if is_encrypted(data):
        objects.decrypt = key_of(objects)
        locked = objects.decrypt is None
    if locked:
        contents.unread(Status.ENCRYPTED)
    else:
        unpack_objects(objects, contents)
    pages: list[bytes] = []
    images: list[int] = []
    files: dict[int, str] = {}
    links: dict[str, None] = {}
    for number, body in objects.bodies.items():
        if b"/Page" in body and _PAGE.search(body) is not None:
            pages.append(body)
        if b"/Image" in body and objects.has_stream(number) and raw_value(body, b"Subtype") == b"/Image":
            images.append(number)
        _judge(objects, number, links, contents)
        if b"/EF" in body:
            name = _FILE_NAME.search(body)
            for reference in references(objects.value(body, b"EF"), 4):
                files[reference] = "" if name is None else _string(objects, number, name[1])
        elif b"/EmbeddedFile" in body and raw_value(body, b"Type") == b"/EmbeddedFile" and objects.has_stream(number):
            files.setdefault(number, "")
    contents.links += ((link, "") for link in list(links)[:MAX_LINKS])
    for number, title in list(files.items())[:MAX_FILES]:
        if objects.has_stream(number):
            contents.traits.add("embedded_file")
            contents.members.append(_member(objects, number, title, contents))
    if not locked:
        _show(objects, pages, images, contents)
    if not objects.bodies or b"%%EOF" not in data:
        # Without its end mark it is cut off.
        contents.unread(Status.DAMAGED)


def _judge(objects: Objects, number: int, links: dict[str, None], contents: Contents) -> None:
    body = objects.bodies[number]
    if b"/URI" in body or b"/F" in body or b"/UF" in body:
        for plain, digits in _LINK.findall(body):
            if objects.decrypt is not None and not contents.take(1, DOCUMENT_TOKENS):
                break
            where = _string(objects, number, plain if plain else hex_bytes(digits))
            if "://" in where[:40] or where[:4].lower() == "www.":
                links[where] = None
        for reference in map(int, _LINK_ELSEWHERE.findall(body)):
            links[_string(objects, reference, literal(objects.bodies.get(reference, b"")))] = None
    if b"/J" in body and _JAVASCRIPT.search(body) is not None:
        contents.traits.add("javascript")
        _script(objects, number, contents)
    if b"/Launch" in body and _LAUNCH.search(body) is not None:
        contents.traits.add("launch")
    if b"/SubmitForm" in body and _SUBMITS.search(body) is not None:
        contents.traits.add("form")
    if b"/OpenAction" in body and _DOES.search(objects.value(body, b"OpenAction")) is not None:
        contents.traits.add("auto_action")
    if b"/AA" in body and (_PAGE.search(body) is not None or b"/Catalog" in body):
        # What a page or the whole does when it is opened or closed; fields of forms count and format by theirs.
        actions = objects.value(body, b"AA")
        if any(map(_DOES.search, (actions, *(objects.bodies.get(one, b"") for one in references(actions, 8))))):
            contents.traits.add("auto_action")


def _script(objects: Objects, number: int, contents: Contents) -> None:
    """Where a script leads, as far as that stands in it in the clear."""
    written = raw_value(objects.bodies[number], b"JS")
    if written[:1] in (b"(", b"<"):
        source = objects.string(number, literal(written))
    else:
        found = references(written, 1)
        if not found:
            return
        source = objects.stream(found[0], contents) or objects.string(
            found[0], literal(objects.bodies.get(found[0], b""))
        )
    contents.links += links_in_bytes(source)


def _string(objects: Objects, number: int, raw: bytes) -> str:
    raw = objects.string(number, ESCAPE.sub(unescape, raw) if b"\\" in raw else raw)
    return raw[2:].decode("utf-16-be", "replace") if raw.startswith(b"\xfe\xff") else raw.decode("latin-1")


def _member(objects: Objects, number: int, name: str, contents: Contents) -> Member:
    return Member(
        name, len(objects.packed(number)), lambda most: objects.stream(number, contents, min(most, MAX_WHOLE))
    )


def _show(objects: Objects, pages: list[bytes], images: list[int], contents: Contents) -> None:
    """Text of the first pages, and of forms drawn on them; pictures where that is all that there is."""
    fonts: dict[int, Font] = {}
    text = "\n".join(text_of_page(objects, page, contents, fonts) for page in pages[:MAX_PAGES])
    forms = [
        number for number, body in objects.bodies.items()
        if b"/Form" in body and objects.has_stream(number) and raw_value(body, b"Subtype") == b"/Form"
    ]  # fmt: skip
    for number in forms[:MAX_PAGES]:
        drawn = b"/Contents %d 0 R" % number + objects.bodies[number]
        text += "\n" + text_of_page(objects, drawn, contents, fonts)
    contents.texts.append(text[:MAX_TEXT])
    if len(text.strip()) < _IMAGE_ONLY_TEXT and images and pages:
        contents.traits.add("image_only")
    if len(text) < 1_000:
        for number in images[:MAX_IMAGES]:
            image = _image(objects, number, contents)
            if image:
                contents.images.append(image)


def _image(objects: Objects, number: int, contents: Contents) -> bytes:
    """A picture as a file of its own: JPEG as it stands, and of bare rows a PNG; b"" of other kinds."""
    body = objects.bodies[number]
    filters = objects.value(body, b"Filter")
    packed = objects.packed(number)
    if len(packed) > MAX_IMAGE:
        return b""
    if b"/DCT" in filters:
        return objects.stream(number, contents, MAX_IMAGE, image=True)
    sizes = [objects.value(body, key) for key in (b"Width", b"Height", b"BitsPerComponent")]
    width, height, bits = (int(size) if size.isdigit() and len(size) < 6 else 0 for size in sizes)
    space = objects.value(body, b"ColorSpace")
    palette = _palette(objects, number, space, contents) if b"/Indexed" in space else b""
    colours = 3 if b"RGB" in space and not palette else 1
    if b"ICCBased" in space and references(space, 1):
        profile = objects.bodies.get(references(space, 1)[0], b"")
        colours = 3 if raw_value(profile, b"N") == b"3" and not palette else 1
    if b"/ImageMask" in body and not bits:
        bits = 1
    if not width or not height or bits not in (1, 2, 4, 8) or width * height > 4_000_000 or b"CMYK" in space:
        return b""
    row = (width * bits * colours + 7) // 8
    predicted = raw_value(objects.value(body, b"DecodeParms"), b"Predictor")
    if not (predicted.isdigit() and int(predicted) >= 10):
        bare = objects.stream(number, contents, row * height)
        rows = (
            zlib.compress(b"".join(b"\0" + bare[at : at + row] for at in range(0, len(bare), row)), 1) if bare else b""
        )
    elif b"Flate" in filters and filters.count(b"/") == 1:
        rows = packed if objects.decrypt is None else objects.decrypt(number, packed)
    else:
        rows = zlib.compress(objects.stream(number, contents, (row + 1) * height), 1)
    if not rows:
        return b""
    kind = 3 if palette else 2 if colours == 3 else 0
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    table = _chunk(b"PLTE", palette) if palette else b""
    return b"\x89PNG\r\n\x1a\n" + head + table + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _palette(objects: Objects, number: int, space: bytes, contents: Contents) -> bytes:
    """The colours of an indexed picture, three bytes each (8.6.6.3); b"" where they are of another kind."""
    found = _INDEXED.search(space)
    if found is None:
        return b""
    written = found[2].strip()
    reference = references(written, 1)
    if written[:1] in (b"(", b"<"):
        # A string ends where its array does.
        table = objects.string(number, literal(written.rstrip(b"] \r\n\t")))
    elif reference:
        table = objects.stream(reference[0], contents, 768) or literal(objects.bodies.get(reference[0], b""))
    else:
        return b""
    if b"Gray" in found[1] or found[1] == b"G":
        return b"".join(bytes((grey,)) * 3 for grey in table[:256])
    return b"" if b"CMYK" in found[1] else table[: min(len(table) // 3, 256) * 3]


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
