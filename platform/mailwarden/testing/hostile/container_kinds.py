"""Kinds of hostile messages: files that unpack to more than anybody reads, or name more than there is."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib
from collections.abc import Callable
from random import Random

import zstandard

from mailwarden.testing.hostile.shapes import FIRST, Kind, attached, body, encoded, parts, run
from mailwarden.testing.made_files import (
    compound,
    foreign_of,
    onenote_of,
    package,
    page_of,
    pdf_of,
    signed,
    tar_of,
    tnef_of,
    zip_of,
)

_MOST_UNPACKED = 30_000_000
"""Bytes that a bomb is packed from: what makes one takes memory too, and limits lie below."""
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")


def _one_zip(packed: bytes, claims: int, names: int) -> bytes:
    """A ZIP whose entries are all the same bytes (after Fifield)."""
    local = _LOCAL.pack(b"PK\3\4", 20, 0, 8, 0, 0, 0, len(packed), claims, 1, 0) + b"a" + packed
    entries = b"".join(
        _ENTRY.pack(b"PK\1\2", 20, 20, 0, 8, 0, 0, 0, len(packed), claims, 7, 0, 0, 0, 0, 0, 0) + b"%07d" % number
        for number in range(names)
    )
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, names & 0xFFFF, names & 0xFFFF, len(entries), len(local), 0)
    return local + entries + end


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _bomb(pack: Callable[[bytes], bytes], ratio: int, unit: bytes = b"\0") -> Callable[[int, Random], bytes]:
    return lambda size, chance: pack(run(chance.choice((unit, b"<b>a")), min(size * ratio, _MOST_UNPACKED)))


def _overlapping(size: int, chance: Random) -> bytes:
    packed = _raw_deflate(bytes(min(size, 2_000_000)))
    return _one_zip(packed, 2_000_000, max(1, (size - len(packed)) // 60))


def _of_nothing(size: int, chance: Random) -> bytes:
    """Deflated bytes without end and without content, in every entry."""
    del chance
    return _one_zip(b"\0\0\0\xff\xff" * (size // 10), 1 << 30, size // 120)


def _zips_in_zips(size: int, chance: Random) -> bytes:
    made = zip_of({"a.html": b"<b>a" * 2_000})
    for _ in range(9):
        made = zip_of({f"{number}.zip": made for number in range(chance.choice((2, 8)))}, packed=False)
        if len(made) > size // 2:
            break
    return made


def _many_files(size: int, chance: Random) -> bytes:
    unit = chance.choice((b"", b"<a href=http://a.example/>", b"MZ\0"))
    each = 120 + len(unit)
    return zip_of({f"{number}.html": unit for number in range(min(60_000, max(1, size // each)))}, packed=False)


def _office(size: int, chance: Random) -> bytes:
    unit, name = chance.choice((
        (b"<w:p><w:r><w:t>a</w:t></w:r>", "word/document.xml"),
        (b"<w:p>" * 9, "word/document.xml"),
        (b'<Relationship Id="a" Type="x/oleObject" Target="http://a%d.example/" TargetMode="External"/>',
         "word/_rels/document.xml.rels"),
        (b"<w:instrText>DDE", "word/document.xml"),
        (b"&amp;", "xl/sharedStrings.xml"),
        (b"<", "word/document.xml"),
    ))  # fmt: skip
    inside = run(unit, min(size * 20, _MOST_UNPACKED))
    return zip_of({name: inside, **{f"word/header{n}.xml": inside[:3_000_000] for n in range(9)}})


def _compound_of_streams(size: int, chance: Random) -> bytes:
    count = max(1, min(size // 256, 20_000))
    name = chance.choice(("Macros/VBA/%d", "a%d/\x01Ole10Native", "__attach_%d/__substg1.0_37010102", "%d"))
    return compound({name % number: b"\0Attribut" * 3 for number in range(count)})


def _compound_of_loops(size: int, chance: Random) -> bytes:
    """Every sector leads to the one before, and every entry of the directory to itself."""
    del chance
    made = bytearray(compound({"WordDocument": bytes(max(size, 5_000)), "VBA/_VBA_PROJECT": b"x", "VBA/a": b"y"}))
    for at in range(512, len(made) - 128, 512):
        if made[at : at + 4] == b"\1\0\0\0":
            for step in range(0, 512, 4):
                struct.pack_into("<I", made, at + step, step // 8)
    return bytes(made)


def _macros(size: int, chance: Random) -> bytes:
    """A module of copies, each of which is the longest there is."""
    del chance
    chunk = b"\x02aa" + b"\0\x0f" * 2_045
    module = b"\x01" + (struct.pack("<H", 0xB000 | 0xFFF) + b"\0Attribut" + chunk[:4_089]) * max(1, size // 4_200)
    return compound({"VBA/_VBA_PROJECT": b"x", "VBA/dir": b"x", "VBA/a": module})


def _objects(size: int, chance: Random) -> bytes:
    unit = chance.choice((
        b"<</S/URI/URI(http://a.example/)>>", b"<<", b"<</F(", b"(" * 50,
        b"<</Type/Page/Parent 3 0 R/Resources 3 0 R>>", b"<</Type/Filespec/EF<</F 3 0 R>>>>",
        b"/#41#41", b"<</Subtype/Image/Width 9/Height 9>>",
    ))  # fmt: skip
    return pdf_of([unit] * max(1, size // (len(unit) + 20)))


def _object_streams(size: int, chance: Random) -> bytes:
    inside = b"".join(b"%d 0 " % number for number in range(20_000)) + b"<</S/URI/URI(http://a.example/)>>" * 9_000
    count = max(1, size // (len(zlib.compress(inside)) + 100))
    return pdf_of([(b"/Type/ObjStm/N 20000/First %d" % chance.choice((108_890, 0, 10**9)), inside)] * count)


def _drawn(size: int, chance: Random) -> bytes:
    unit = chance.choice(
        (b"(a) Tj ", b"/F1 1 Tf ", b"1 0 0 1 0 0 Tm ", b"((", b"<41", b"1 ", b"-500 ", b"[(a)-300(b)]TJ ")
    )
    return page_of(run(unit, min(size * 20, _MOST_UNPACKED)))


def _map(size: int, chance: Random) -> bytes:
    unit = chance.choice((b"<0000> <ffff> <0041>\n", b"<00> <0041>\n", b"beginbfrange\n", b"[<0041>", b"<"))
    table = b"beginbfrange\n" + run(unit, min(size * 10, _MOST_UNPACKED)) + b"\nendbfrange"
    font = b"<</Type/Font/Subtype/Type0/ToUnicode 7 0 R>>"
    page = b"/Resources<</Font<<%s>>>>" % b" ".join(b"/F%d 6 0 R" % n for n in range(30))
    made = page_of(b"/F1 1 Tf <0041> Tj " * 100, font, (b"", table), page=page)
    return made.replace(b"/Resources<</Font<</F1 5 0 R>>>>", b"")


def _bare_objects(size: int, chance: Random) -> bytes:
    unit = chance.choice((b"1 0 obj ", b"1 0 obj\nstream\n", b"1 1 1 1 ", b"stream", b"/Encrypt ", b"9 0 obj<<" * 3))
    return b"%PDF-1.4\n" + run(unit, size) + b"\n%%EOF"


def _encrypted_pdf(size: int, chance: Random) -> bytes:
    key = b"<</Filter/Standard/V 2/R 3/Length 128/P -4/O<%s>/U<%s>>>" % (b"00" * 32, b"00" * 32)
    return page_of(b"(a) Tj " * (size // 100), key) + b"trailer<</Encrypt 6 0 R/ID" + run(b"[(", size // 2) + b">>"


def _tnef_properties(size: int, chance: Random) -> bytes:
    one = chance.choice((struct.pack("<HHI", 3, 1, 0), struct.pack("<HHII", 30, 0x1000, 1, 0)))
    value = struct.pack("<I", 0x7FFFFFFF) + run(one, max(len(one), size // 40))
    record = struct.pack("<BHHI", 1, 0x9003, 6, len(value)) + value + b"\0\0"
    return struct.pack("<IH", 0x223E9F78, 1) + record * max(1, size // len(record))


def _tnef_rich_text(size: int, chance: Random) -> bytes:
    del chance
    packed = struct.pack("<II4sI", size, 0x7FFFFFFF, b"LZFu", 0) + b"\xff" + b"\0\x0f" * (size // 2)
    value = struct.pack("<IHHII", 1, 258, 0x1009, 1, len(packed)) + packed
    return struct.pack("<IH", 0x223E9F78, 1) + struct.pack("<BHHI", 1, 0x9003, 6, len(value)) + value + b"\0\0"


def _seven_zip_claims(size: int, chance: Random) -> bytes:
    """A directory of more files than there is memory for."""
    count = chance.choice((b"\xe0\xff\xff\x0f", b"\xf0\xff\xff\xff\x05"))
    header = b"\x01\x05" + count + b"\x0e" + b"\x01" + bytes(20) + b"\0\0" + bytes(min(size, 1_000))
    start = struct.pack("<QQI", max(0, size - 2_000), len(header), zlib.crc32(header))
    head = b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(start)) + start
    return head + bytes(max(0, size - 2_000)) + header


def _cabinet(size: int, chance: Random) -> bytes:
    files = min(65_535, max(1, size // 20))
    head = struct.pack("<4sIIIIIBBHHHHH", b"MSCF", 0, size, 0, 44, 0, 3, 1, 1, files, 0, 0, 0)
    return (
        head + struct.pack("<IHH", 60, 0xFFFF, chance.choice((0, 1, 3, 0x1503))) + run(bytes(14) + b"\x20\0a\0", size)
    )


def _smuggling(size: int, chance: Random) -> bytes:
    unit = chance.choice((
        b"data:text/html,<b>", b"data:text/html;base64,PGI+", b"<input type=password ", b"<meta http-equiv=refresh ",
        b"%41" * 40, b"\\x41" * 40, b"1, " * 80, b"<script>eval(atob('" + b"QUJD" * 200 + b"'))</script>", b"<script ",
    ))  # fmt: skip
    return b"<html><script>" + run(unit, size)


def _rich_text(size: int, chance: Random) -> bytes:
    unit = chance.choice((
        b"{\\object\\objdata 0105", b"{\\*\\a", b"\\u1?", b"\\'41", b"{",
        b"\\objdata " + b"0105" * 400, b"{\\fldinst DDE ", b"\\bin99999 ",
    ))  # fmt: skip
    return b"{\\rtf1 " + run(unit, size)


def _envelopes(size: int, chance: Random) -> bytes:
    """Opaque signed parts inside each other."""
    made = b"Content-Type: text/plain\n\n" + b"a" * (size // 2)
    for _ in range(chance.choice((20, 200))):
        made = b"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: binary\n\n" + signed(made)
    return FIRST + made


def _messages_as_files(size: int, chance: Random) -> bytes:
    made = FIRST + b"To: a@b.example\n\nhi\n"
    while len(made) < size // 2:
        made = FIRST + b"To: a@b.example\nContent-Type: application/octet-stream; name=%s\n\n%s" % (
            chance.choice((b"a.eml", b"a.txt")), made,
        )  # fmt: skip
    return made


CONTAINER_KINDS: dict[str, Kind] = {
    "zip that is a bomb": attached(_bomb(lambda data: zip_of({"a.html": data}), 100)),
    "zip of one file many times": attached(_overlapping),
    "zip of nothing": attached(_of_nothing),
    "zips in zips": attached(_zips_in_zips),
    "zip of many files": attached(_many_files),
    "zips of many files": attached(_many_files, 50),
    "gzip that is a bomb": attached(_bomb(lambda data: gzip.compress(gzip.compress(data, 6), 6), 100)),
    "bzip2 that is a bomb": attached(_bomb(lambda data: bz2.compress(data, 9), 20)),
    "xz that is a bomb": attached(_bomb(lambda data: lzma.compress(data, preset=0), 20)),
    "zstd that is a bomb": attached(_bomb(zstandard.compress, 100)),
    "tar of headers": attached(lambda size, chance: tar_of({f"{n}.html": b"<b>" for n in range(size // 1_030)})),
    "tar of junk": attached(
        lambda size, chance: run(
            tar_of({"a": b""})[:512].replace(b"\0000", b"\000" + chance.choice((b"L", b"x", b"0"))), size
        )
    ),
    "7-zip that is a bomb": attached(
        lambda size, chance: foreign_of("7zip", {"a.html": bytes(min(size * 4, 30_000_000))})
    ),
    "7-zip of many files": attached(
        lambda size, chance: foreign_of("7zip", {f"{n}.html": b"<b>" for n in range(min(20_000, size // 60))})
    ),
    "7-zip that claims files": attached(_seven_zip_claims),
    "iso of many files": attached(
        lambda size, chance: foreign_of(
            "iso9660", {f"{n % 50}/{n}.html": b"<b>" for n in range(min(1_500, size // 3_000))}
        )
    ),
    "iso of junk": attached(lambda size, chance: bytes(32_768) + run(b"\1CD001\1" + bytes(2_041), size)),
    "rar of junk": attached(
        lambda size, chance: (
            chance.choice((b"Rar!\x1a\x07\0", b"Rar!\x1a\x07\1\0"))
            + run(b"\xcf\x90\x73\0\0\x0d\0" + bytes(6) + b"\x8a\x23\x74\0\0\x20\0", size)
        )
    ),
    "cabinet of files": attached(_cabinet),
    "office parts": attached(_office),
    "office of many parts": attached(
        lambda size, chance: zip_of({f"word/embeddings/{n}.bin": package("a.exe", b"MZ") for n in range(size // 250)})
    ),
    "compound of streams": attached(_compound_of_streams),
    "compound of loops": attached(_compound_of_loops),
    "compound of one long stream": attached(lambda size, chance: compound({"Workbook": run(b"\x85\0\1\0\1", size)})),
    "macros of copies": attached(_macros),
    "pdf of objects": attached(_objects, 1, b"a.pdf"),
    "pdfs of objects": attached(_objects, 40, b"a.pdf"),
    "pdf of object streams": attached(_object_streams, 1, b"a.pdf"),
    "pdf pages drawn": attached(_drawn, 1, b"a.pdf"),
    "pdf maps of fonts": attached(_map, 1, b"a.pdf"),
    "pdf of bare words": attached(_bare_objects, 1, b"a.pdf"),
    "pdf encrypted": attached(_encrypted_pdf, 1, b"a.pdf"),
    "winmail of attributes": attached(
        lambda size, chance: tnef_of({f"{n}.html": b"<b>" for n in range(size // 80)}), 1, b"winmail.dat"
    ),
    "winmail of properties": attached(_tnef_properties, 1, b"winmail.dat"),
    "winmail of rich text": attached(_tnef_rich_text, 1, b"winmail.dat"),
    "envelope of pieces": attached(lambda size, chance: signed(b"a" * size, streamed=True), 1, b"a.txt.p7m"),
    "envelope of tags": attached(
        lambda size, chance: signed(b"", streamed=True)[:-12] + run(chance.choice((b"\x24\x80", b"\x04\0")), size),
        1,
        b"a.p7m",
    ),
    "envelopes in envelopes": _envelopes,
    "pages that smuggle": attached(_smuggling, 1, b"a.html"),
    "parts that smuggle": parts(b"Content-Type: application/x; name=a.html\n", b"<form><input type=password>", 900),
    "rich text": attached(_rich_text, 1, b"a.rtf"),
    "onenote of files": attached(lambda size, chance: onenote_of([b"<b>"] * (size // 40), ".exe " * 50), 1, b"a.one"),
    "onenote of names": attached(lambda size, chance: onenote_of([b"MZ"], "") + run(b"a.exe .hta.", size), 1, b"a.one"),
    "shortcuts": attached(
        lambda size, chance: b"[InternetShortcut]\n" + run(b"URL=http://a.example/\n", size), 1, b"a.url"
    ),
    "texts as files": parts(b"Content-Disposition: attachment; filename=a.txt\n", b"\xff\xaa\xd2", 900),
    "texts of links as files": parts(
        b"Content-Disposition: attachment; filename=a.txt\n", b"http://a%d.example/ ", 900
    ),
    "cards as files": parts(b"Content-Type: text/vcard; name=a.vcf\n", b"\n a", 900, before=b"BEGIN:VCARD\n"),
    "messages as files": attached(_messages_as_files, 1, b"a.eml"),
    "fields as a file": attached(
        lambda size, chance: run(chance.choice((b"To: a\n", b"a: b\n ", b"From: a\nTo:")), size)
    ),
    "envelope as body": body(b"application/pkcs7-mime", b"\x30\x80", b"0\x84\xff\xff\xff\xff"),
    "envelope in base64": encoded(
        b"base64", b"MIAG", b"MIAGCSqGSIb3DQEHAqCAMIAC", content_type=b"application/pkcs7-mime"
    ),
}
"""Name to kind."""
