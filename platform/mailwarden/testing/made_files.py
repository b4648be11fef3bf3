"""Files as attackers and honest people attach them, made of nothing: containers of every kind that is opened."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise

from mailwarden.ingest.containers.foreign import load_library

_FREE, _END, _FAT_SECTOR = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def zip_of(files: Mapping[str, bytes], *, packed: bool = True) -> bytes:
    """A ZIP file of files by name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as file:
        for name, data in files.items():
            file.writestr(zipfile.ZipInfo(name), data, compress_type=file.compression)
    return out.getvalue()


def locked_zip(name: str = "plan.txt", data: bytes = b"x") -> bytes:
    """A ZIP file whose one file says that it is encrypted."""
    made = bytearray(zip_of({name: data}, packed=False))
    made[6] |= 1
    made[made.rindex(b"PK\1\2") + 8] |= 1
    return bytes(made)


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def foreign_of(form: str, files: Mapping[str, bytes]) -> bytes:
    """An archive as libarchive writes it. form: "7zip", "iso9660", "cpio_newc"."""
    libarchive = load_library()
    out: list[bytes] = []

    def write(data: bytes) -> int:
        out.append(bytes(data))
        return len(data)

    with libarchive.custom_writer(write, form) as archive:
        for name, data in files.items():
            archive.add_file_from_memory(name, len(data), data)
    return b"".join(out)


def compound(streams: Mapping[str, bytes]) -> bytes:
    """A compound file (OLE) of streams by path, folders joined by "/"; short ones lie in the small stream."""
    names: list[str] = ["Root Entry"]
    kinds, children, data = [5], [[]], [b""]  # type: list[int], list[list[int]], list[bytes]
    numbers = {"": 0}
    for path, content in streams.items():
        folder = ""
        for step in path.split("/")[:-1]:
            inside = f"{folder}/{step}" if folder else step
            if inside not in numbers:
                numbers[inside] = len(names)
                children[numbers[folder]].append(len(names))
                names.append(step)
                kinds.append(1)
                children.append([])
                data.append(b"")
            folder = inside
        children[numbers[folder]].append(len(names))
        names.append(path.split("/")[-1])
        kinds.append(2)
        children.append([])
        data.append(content)
    return _compound(names, kinds, children, data)


def _compound(
    names: Sequence[str], kinds: Sequence[int], children: Sequence[Sequence[int]], data: list[bytes]
) -> bytes:
    fat: list[int] = []
    sectors: list[bytes] = []

    def store(content: bytes) -> int:
        count = (len(content) + 511) // 512
        if not count:
            return _END
        start = len(sectors)
        for number in range(count):
            sectors.append(content[number * 512 : number * 512 + 512].ljust(512, b"\0"))
            fat.append(start + number + 1 if number + 1 < count else _END)
        return start

    starts = [_END] * len(names)
    small, small_fat = b"", list[int]()
    for number, content in enumerate(data):
        if kinds[number] != 2 or not content:
            continue
        if len(content) >= 4_096:
            starts[number] = store(content)
            continue
        starts[number] = len(small_fat)
        count = (len(content) + 63) // 64
        small_fat += [len(small_fat) + step + 1 for step in range(count - 1)] + [_END]
        small += content.ljust(count * 64, b"\0")
    starts[0] = store(small)
    small_start = store(
        struct.pack(f"<{len(small_fat)}I", *small_fat).ljust((len(small_fat) * 4 + 511) & ~511, b"\xff")
    )
    after = [_FREE] * len(names)
    for inside in children:
        for first, second in pairwise(inside):
            after[first] = second
    directory = b""
    for number, name in enumerate(names):
        wide = name.encode("utf-16-le")
        size = len(small) if number == 0 else len(data[number])
        child = children[number][0] if children[number] else _FREE
        directory += struct.pack("<64sHBBIII36xIQ", wide, len(wide) + 2, kinds[number], 1, _FREE, after[number], child,
                                 starts[number], size)  # fmt: skip
    directory_start = store(directory)
    own = 1
    while (len(fat) + own) > own * 128:
        own += 1
    first_own = len(fat)
    fat += [_FAT_SECTOR] * own
    raw = struct.pack(f"<{len(fat)}I", *fat).ljust(own * 512, b"\xff")
    sectors += [raw[at : at + 512] for at in range(0, len(raw), 512)]
    table = [first_own + number for number in range(min(own, 109))] + [_FREE] * (109 - min(own, 109))
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    head += struct.pack("<HHHHH6xII", 0x3E, 3, 0xFFFE, 9, 6, 0, own)
    head += struct.pack("<IIIIIII", directory_start, 0, 4_096, small_start, 1, _END, 0)
    return head + struct.pack("<109I", *table) + b"".join(sectors)


def macro_project(source: bytes) -> bytes:
    """A VBA project of one module with that source; see `packed_source`."""
    return compound(
        {"VBA/dir": b"\x01\0\0", "VBA/_VBA_PROJECT": b"\xcc\x61", "VBA/Module1": bytes(40) + packed_source(source)}
    )


def packed_source(source: bytes) -> bytes:
    """A container as [MS-OVBA] 2.4.1 has it, of letters alone."""
    whole = b'Attribute VB_Name = "Module1"\r\n' + source
    out = bytearray(b"\x01")
    for at in range(0, len(whole), 3_600):
        piece = whole[at : at + 3_600]
        packed = b"".join(b"\0" + piece[step : step + 8] for step in range(0, len(piece), 8))
        out += struct.pack("<H", 0xB000 | (len(packed) - 1)) + packed
    return bytes(out)


def package(name: str, data: bytes) -> bytes:
    """The native stream of a file that was packed into a document."""
    title = name.encode("latin-1") + b"\0"
    inside = struct.pack("<H", 2) + title + title + struct.pack("<HHI", 0, 3, len(title)) + title
    inside += struct.pack("<I", len(data)) + data
    return struct.pack("<I", len(inside)) + inside


def tnef_of(files: Mapping[str, bytes], body: str = "") -> bytes:
    """A winmail.dat."""
    out = bytearray(struct.pack("<IH", 0x223E9F78, 1))

    def add(level: int, attribute: int, kind: int, value: bytes) -> None:
        out.extend(struct.pack("<BHHI", level, attribute, kind, len(value)) + value)
        out.extend(struct.pack("<H", sum(value) & 0xFFFF))

    add(1, 0x9006, 8, struct.pack("<I", 0x10000))
    if body:
        add(1, 0x800C, 2, body.encode("cp1252") + b"\0")
    for name, data in files.items():
        add(2, 0x9002, 6, bytes(14))
        add(2, 0x8010, 1, name.encode("cp1252") + b"\0")
        add(2, 0x800F, 6, data)
    return bytes(out)


def signed(content: bytes, *, streamed: bool = False) -> bytes:
    """CMS signed data without signers (RFC 5652 section 5.2), as S/MIME wraps a message. streamed: in pieces (BER)."""
    name = bytes.fromhex("06092a864886f70d010701")
    outer = bytes.fromhex("06092a864886f70d010702")
    if streamed:
        pieces = b"".join(_der(0x04, content[at : at + 100]) for at in range(0, len(content), 100))
        data = b"\x24\x80" + pieces + b"\0\0"
        inside = b"\x30\x80" + name + b"\xa0\x80" + data + b"\0\0\0\0"
        body = b"\x30\x80" + b"\x02\x01\x01" + b"\x31\x00" + inside + b"\x31\x00\0\0"
        return b"\x30\x80" + outer + b"\xa0\x80" + body + b"\0\0\0\0"
    inside = _der(0x30, name + _der(0xA0, _der(0x04, content)))
    return _der(0x30, outer + _der(0xA0, _der(0x30, b"\x02\x01\x01" + b"\x31\x00" + inside + b"\x31\x00")))


def enveloped() -> bytes:
    """CMS enveloped data, as far as its outside says."""
    return _der(0x30, bytes.fromhex("06092a864886f70d010703") + _der(0xA0, _der(0x30, b"\x02\x01\0" + bytes(100))))


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    raw = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(raw))) + raw + content


def pdf_of(objects: Sequence[bytes | tuple[bytes, bytes]], *, trailer: bytes = b"") -> bytes:
    """A PDF file of objects 1, 2 ... as they are written; of a pair the second is a stream, which is deflated."""
    out = b"%PDF-1.5\n"
    for number, item in enumerate(objects, 1):
        if isinstance(item, bytes):
            out += b"%d 0 obj\n%s\nendobj\n" % (number, item)
        else:
            packed = zlib.compress(item[1])
            head = b"<</Length %d/Filter/FlateDecode%s>>" % (len(packed), item[0])
            out += b"%d 0 obj\n%s\nstream\n%s\nendstream\nendobj\n" % (number, head, packed)
    return out + b"trailer\n<</Root 1 0 R%s>>\n%%%%EOF\n" % trailer


def page_of(drawn: bytes, *extra: bytes | tuple[bytes, bytes], catalog: bytes = b"", page: bytes = b"") -> bytes:
    """A PDF file of one page (object 3), with further objects from 6 on."""
    return pdf_of(
        (
            b"<</Type/Catalog/Pages 2 0 R%s>>" % catalog,
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>%s>>" % page,
            (b"", drawn),
            b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
            *extra,
        )
    )


def onenote_of(files: Sequence[bytes], words: str = "") -> bytes:
    """A OneNote section with embedded files."""
    out = bytes.fromhex("e4525c7b8cd8a74daeb15378d02996d3") + bytes(100) + words.encode("utf-16-le") + bytes(16)
    for data in files:
        out += bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac") + struct.pack("<QIQ", len(data), 0, 0) + data
    return out
