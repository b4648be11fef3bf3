"""Files are opened: what lies in them is found, honest ones show nothing odd, and what cannot be read says so."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import lzma
import random
import resource
import struct
import zlib
from email.message import EmailMessage
from itertools import count

import pytest
import zstandard
from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mailwarden.domain.mail.inner import InnerFile, Trait
from mailwarden.domain.mail.message import Message
from mailwarden.domain.status import Status
from mailwarden.ingest.parse import parse_message
from mailwarden.testing.made_files import (
    compound,
    enveloped,
    foreign_of,
    locked_zip,
    macro_project,
    onenote_of,
    package,
    packed_source,
    page_of,
    signed,
    tar_of,
    tnef_of,
    zip_of,
)

PROGRAM = b"MZ\x90\0\3\0\0\0" + bytes(100)
LINK = "https://pay.far.example/v"
MACRO = b'Sub AutoOpen()\r\nCreateObject("WScript.Shell").Run "x"\r\nEnd Sub\r\n'
ELSEWHERE = (
    b'<Relationships><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/%s"'
    b' Target="%s" TargetMode="External"/></Relationships>'
)
MAIL = b"From: IT <it@far.example>\r\nTo: bob@company.example\r\nSubject: Password expires\r\n"
MAIL += (
    b"Date: Mon, 5 Jan 2026 10:00:00 +0000\r\nContent-Type: text/html\r\n\r\n<p>Verify <a href='"
    + LINK.encode()
    + b"'>here</a></p>\r\n"
)


def with_file(data: bytes, name: str = "file", kind: str = "application/octet-stream") -> Message:
    message = EmailMessage()
    message["From"] = "ann@far.example"
    message.set_content("As promised, see the file.")
    main, _, sub = kind.partition("/")
    message.add_attachment(data, maintype=main, subtype=sub, filename=name)
    return parse_message(bytes(message))


def inside(data: bytes, name: str = "file") -> tuple[InnerFile, ...]:
    return with_file(data, name).inner


def traits(data: bytes, name: str = "file") -> set[Trait]:
    return {trait for file in inside(data, name) for trait in file.traits}


def rich(objects: bytes = b"", before: bytes = b"") -> bytes:
    return b"{\\rtf1\\ansi" + before + b"{\\fonttbl{\\f0 Arial;}}Please sign, caf\\'e9\\par " + objects + b"}"


def rich_object(name: str, data: bytes) -> bytes:
    native = package(name, data)[4:]
    raw = struct.pack("<II", 0x501, 2) + struct.pack("<I", 8) + b"Package\0" + bytes(8) + struct.pack("<I", len(native))
    return b"{\\object\\objemb{\\*\\objdata " + (raw + native).hex().encode() + b"}}"


def lying_zip() -> bytes:
    """A ZIP file behind other bytes: its end counts them, its entries do not, or the other way about."""
    made = bytearray(b"GIF89a" + bytes(50) + zip_of({"invoice.exe": PROGRAM}))
    entry = made.index(b"PK\1\2")
    made[entry + 42 : entry + 46] = struct.pack("<I", 56)
    return bytes(made)


def gz_named(name: bytes, data: bytes = b"?") -> bytes:
    made = gzip.compress(data)
    return made[:3] + b"\x08" + made[4:10] + name + b"\0" + made[10:]


def old_tar(data: bytes) -> bytes:
    head = bytearray(tar_of({"invoice.exe": data}))
    head[257:265] = bytes(8)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head[:512])
    return bytes(head)


PACKED = {
    "zip": zip_of({"docs/invoice.exe": PROGRAM}),
    "zip stored": zip_of({"invoice.exe": PROGRAM}, packed=False),
    "zip behind other bytes": b"GIF89a" + bytes(50) + zip_of({"invoice.exe": PROGRAM}),
    "zip without its directory": zip_of({"invoice.exe": PROGRAM})[:-80],
    "zip in zip in zip": zip_of({"a.zip": zip_of({"b.zip": zip_of({"invoice.exe": PROGRAM})})}),
    "zip before another": zip_of({"invoice.exe": PROGRAM}) + zip_of({"minutes.txt": b"We met."}),
    "zip behind another": zip_of({"minutes.txt": b"We met."}) + zip_of({"invoice.exe": PROGRAM}),
    "zip whose end lies about where it begins": lying_zip(),
    "zip of the first of several disks": b"PK00" + zip_of({"invoice.exe": PROGRAM}),
    "tar": tar_of({"invoice.exe": PROGRAM}),
    "old tar": old_tar(PROGRAM),
    "lzma": lzma.compress(PROGRAM, lzma.FORMAT_ALONE),
    "gz in pieces": gzip.compress(b"") + gzip.compress(PROGRAM),
    "bz2 in pieces": bz2.compress(b"") + bz2.compress(PROGRAM),
    "xz in pieces": lzma.compress(b"") + lzma.compress(PROGRAM),
    "tar of a long name": tar_of({"a/" * 90 + "invoice.exe": PROGRAM}),
    "tar.gz": gzip.compress(tar_of({"invoice.exe": PROGRAM})),
    "gz": gzip.compress(PROGRAM),
    "bz2": bz2.compress(PROGRAM),
    "xz": lzma.compress(PROGRAM),
    "zst": zstandard.compress(PROGRAM),
    "7z": foreign_of("7zip", {"invoice.exe": PROGRAM}),
    "iso": foreign_of("iso9660", {"invoice.exe": PROGRAM}),
    "cpio": foreign_of("cpio_newc", {"invoice.exe": PROGRAM}),
    "iso in zip": zip_of({"disk.iso": foreign_of("iso9660", {"invoice.exe": PROGRAM})}),
    "winmail.dat": tnef_of({"invoice.exe": PROGRAM}),
    "word": compound({"WordDocument": bytes(600), "ObjectPool/_1/\x01Ole10Native": package("invoice.exe", PROGRAM)}),
    "docx": zip_of(
        {
            "word/document.xml": b"",
            "word/embeddings/oleObject1.bin": compound({"\x01Ole10Native": package("invoice.exe", PROGRAM)}),
        }
    ),
    "rtf": rich(rich_object("invoice.exe", PROGRAM)),
    "pdf": page_of(b"", (b"/Type/EmbeddedFile", PROGRAM), b"<</Type/Filespec/F(invoice.exe)/EF<</F 6 0 R>>>>"),
    "one": onenote_of([PROGRAM], "Open invoice.exe"),
    "p7m": signed(PROGRAM),
    "p7m streamed": signed(PROGRAM, streamed=True),
    "msg": compound(
        {
            "__substg1.0_0037001F": "Pay".encode("utf-16-le"),
            "__attach_version1.0_#00000000/__substg1.0_37010102": PROGRAM,
            "__attach_version1.0_#00000000/__substg1.0_3707001F": "invoice.exe".encode("utf-16-le"),
        }
    ),
    "html that smuggles": b"<html><script>var d='" + base64.b64encode(PROGRAM * 5) + b"';new Blob([atob(d)])</script>",
}


@pytest.mark.parametrize("kind", PACKED)
def test_a_program_is_found_in_whatever_holds_it(kind: str) -> None:
    found = with_file(PACKED[kind])
    programs = [file for file in found.inner if file.content_type == "application/vnd.microsoft.portable-executable"]
    assert programs and all("executable" in file.traits and file.depth for file in programs)
    assert found.status_of(["inner"]) is Status.PRESENT or kind == "zip without its directory"


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in PACKED
        if kind
        not in (
            "gz",
            "bz2",
            "xz",
            "zst",
            "lzma",
            "gz in pieces",
            "bz2 in pieces",
            "xz in pieces",
            "p7m",
            "p7m streamed",
            "one",
            "html that smuggles",
        )
    ],
)
def test_the_name_that_the_container_has_is_kept(kind: str) -> None:
    assert any(file.name.endswith("invoice.exe") and file.depth for file in inside(PACKED[kind]))


ODD: dict[str, tuple[bytes, Trait]] = {
    "macros": (
        compound({"WordDocument": bytes(600), "Macros/VBA/_VBA_PROJECT": b"x", "Macros/VBA/dir": b"x"}),
        "macros",
    ),
    "macros that start": (macro_project(MACRO), "auto_macros"),
    "macros that call": (macro_project(MACRO), "macro_calls"),
    "macros of docm": (zip_of({"word/document.xml": b"", "word/vbaProject.bin": macro_project(MACRO)}), "auto_macros"),
    "macros in a part of any name": (
        zip_of(
            {"[Content_Types].xml": b"<Override ContentType='application/vnd.ms-office.vbaProject'/>", "word/a.x": b""}
        ),
        "macros",
    ),
    "macros by another name": (zip_of({"xl/workbook.xml": b"", "xl/macrosheets/sheet1.xml": b""}), "macros"),
    "macros of 1992": (compound({"Workbook": struct.pack("<HHIBB", 0x85, 8, 0, 0, 1) + b"aa"}), "macros"),
    "template": (
        zip_of(
            {
                "word/document.xml": b"",
                "word/_rels/settings.xml.rels": ELSEWHERE % (b"attachedTemplate", b"https://far.example/t.dotm"),
            }
        ),
        "remote_template",
    ),
    "object elsewhere": (
        zip_of(
            {
                "word/document.xml": b"",
                "word/_rels/document.xml.rels": ELSEWHERE
                % (b"oleObject", b"mhtml:https://far.example/a!x-usc:https://far.example/a"),
            }
        ),
        "remote_template",
    ),
    "template of rtf": (rich(before=b"{\\*\\template https://far.example/t.dot}"), "remote_template"),
    "image elsewhere": (
        zip_of(
            {
                "word/document.xml": b"",
                "word/_rels/document.xml.rels": ELSEWHERE % (b"image", b"https://far.example/a.png"),
            }
        ),
        "external_link",
    ),
    "dde": (zip_of({"word/document.xml": b'<w:instrText>DDEAUTO "c:\\\\x" "cmd"</w:instrText>'}), "dde"),
    "object of rtf": (rich(rich_object("a.txt", b"hello")), "embedded_file"),
    "pdf script": (page_of(b"", b"<</S/JavaScript/JS(app.alert\\(1\\))>>"), "javascript"),
    "pdf script in other letters": (page_of(b"", b"<</S/Java#53cript/#4aS(x)>>"), "javascript"),
    "pdf script in an object stream": (
        page_of(b"", (b"/Type/ObjStm/N 1/First 4", b"9 0 <</S/JavaScript/JS(x)>>")),
        "javascript",
    ),
    "pdf that acts": (
        page_of(b"", b"<</S/URI/URI(https://far.example/)>>", catalog=b"/OpenAction 6 0 R"),
        "auto_action",
    ),
    "pdf page that acts": (
        page_of(b"", b"<</S/JavaScript/JS(x)>>", page=b"/AA<</O 6 0 R>>"),
        "auto_action",
    ),
    "pdf that acts when closed": (page_of(b"", catalog=b"/AA<</WC<</S/URI/URI(x)>>>>"), "auto_action"),
    "dde in a field of many pieces": (
        zip_of(
            {
                "word/document.xml": b"<w:document>"
                + b"".join(b"<w:r><w:instrText>%s</w:instrText></w:r>" % one for one in (b"DD", b"EAU", b'TO "c:"'))
            }
        ),
        "dde",
    ),
    "dde in a formula": (
        zip_of({"xl/worksheets/sheet1.xml": b"<worksheet><c><f>cmd|&apos;/c calc&apos;!A0</f></c></worksheet>"}),
        "dde",
    ),
    "dde in a link of a book": (
        zip_of({"xl/workbook.xml": b"<a/>", "xl/externalLinks/externalLink1.xml": b"<ddeLink ddeService='cmd'/>"}),
        "dde",
    ),
    "macros by kind in another form of Unicode": (
        zip_of(
            {
                "[Content_Types].xml": "\ufeff<Override ContentType='application/vnd.ms-office.vbaProject'/>".encode(
                    "utf-16-le"
                ),
                "word/document.xml": b"",
            }
        ),
        "macros",
    ),
    "name in gz": (gz_named(b"invoice.pdf.exe"), "double_extension"),
    "pdf that starts": (page_of(b"", b"<</S/Launch/F(cmd.exe)>>"), "launch"),
    "pdf that sends": (page_of(b"", b"<</S/SubmitForm/F(https://far.example/)>>"), "form"),
    "pdf picture": (
        page_of(b"", (b"/Subtype/Image/Width 9/Height 9/BitsPerComponent 8/ColorSpace/DeviceGray", bytes(81))),
        "image_only",
    ),
    "form": (b"<span>Wait</span><form action='https://far.example/'><input type=text></form>", "form"),
    "password": (b"<div>x</div><INPUT class=a TYPE='password'>", "password_field"),
    "refresh": (b"<meta http-equiv=Refresh content='0; url=https://far.example/'>", "redirect"),
    "location": (b"<script>window.location.href = 'https://far.example/'</script>", "redirect"),
    "svg": (
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>location.replace('https://far.example/')</script></svg>",
        "redirect",
    ),
    "writes itself": (b"<script>document.write(unescape('" + b"%3c%62%3e" * 40 + b"'))</script>", "obscured_script"),
    "smuggles": (
        b"<script>var a=atob('"
        + base64.b64encode(zip_of({"a.exe": PROGRAM * 9}, packed=False))
        + b"');saveAs(URL.createObjectURL(new Blob([a])))</script>",
        "smuggling",
    ),
    "shortcut": (b"L\0\0\0\x01\x14\x02\0" + bytes(60) + "powershell -enc".encode("utf-16-le"), "launch"),
    "link file": (b"[InternetShortcut]\r\nURL=file://far.example/a.exe\r\n", "launch"),
    "script in zip": (zip_of({"invoice.js": b"eval(x)"}), "script"),
    "name in zip": (zip_of({"invoice.pdf.exe": b"?"}), "double_extension"),
    "reversed name in zip": (zip_of({"invoice\u202efdp.scr": b"?"}), "disguised_name"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_odd_in_a_file_is_a_trait_of_it(kind: str) -> None:
    data, trait = ODD[kind]
    assert trait in traits(data)


TEXT = b"".join(b"<w:p><w:r><w:t>Dear Bob, the minutes of our meeting are below.</w:t></w:r></w:p>" for _ in range(50))
HONEST = {
    "docx": zip_of(
        {
            "[Content_Types].xml": b"<Types/>",
            "word/document.xml": TEXT,
            "word/_rels/document.xml.rels": ELSEWHERE % (b"hyperlink", b"https://company.example/"),
            "word/media/image1.png": b"\x89PNG\r\n\x1a\n",
        }
    ),
    "docx after a template on its author's disk": zip_of(
        {
            "word/document.xml": TEXT,
            "word/_rels/settings.xml.rels": ELSEWHERE
            % (b"attachedTemplate", b"file:///C:\\Users\\ann\\Templates\\letter.dotx"),
        }
    ),
    "xlsx": zip_of({"xl/workbook.xml": b"<a/>", "xl/sharedStrings.xml": b"<si><t>Total</t></si>"}),
    "doc": compound(
        {
            "WordDocument": b"\xec\xa5"
            + bytes(22)
            + struct.pack("<II", 1_536, 1_600)
            + bytes(1_504)
            + b"The minutes of our meeting, and who will do what by Friday 3.3",
            "1Table": bytes(5_000),
        }
    ),
    "xls": compound({"Workbook": struct.pack("<HHIBB", 0x85, 8, 0, 0, 0) + b"aa" + bytes(5_000)}),
    "pdf": page_of(
        b"BT /F1 12 Tf 0 0 Td (Dear Bob, these are the minutes of our meeting.) Tj ET",
        b"<</S/URI/URI(https://company.example/)>>",
        catalog=b"/OpenAction[3 0 R /Fit]/PageLayout/OneColumn",
    ),
    "pdf that checks its fields": page_of(
        b"BT (Name of the applicant, in capitals, and the date of birth) Tj ET",
        b"<</FT/Tx/T(name)/AA<</F<</S/URI/URI(https://company.example/)>>>>>>",
    ),
    "xlsx of formulas": zip_of(
        {
            "xl/worksheets/sheet1.xml": b"<worksheet><f>SUM(A1:A9)</f><f>IF(B2&gt;0,&quot;a|b&quot;,C1)</f>"
            b'<c t="inlineStr"><is><t>Total of the year</t></is></c></worksheet>'
        }
    ),
    "docx under other names": zip_of(
        {
            "[Content_Types].xml": b"<Types><Override PartName='/word/d2.xml' ContentType='application/"
            b"vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml'/></Types>",
            "word/d2.xml": TEXT,
        }
    ),
    "docx of fields": zip_of(
        {"word/document.xml": TEXT + b"<w:instrText>PAGE</w:instrText><w:instrText>DATE</w:instrText>"}
    ),
    "docx in UTF-16": zip_of({"word/document.xml": b"\xff\xfe" + TEXT.decode().encode("utf-16-le")}),
    "gz with a name": gz_named(b"minutes.txt", b"We met."),
    "gz in pieces": gzip.compress(b"We met. ") * 3,
    "gz padded": gzip.compress(b"We met. ") + bytes(600),
    "pdf of a form": page_of(
        b"BT (Name of the applicant, in capitals, and the date of birth) Tj ET",
        b"<</FT/Tx/T(name)>>",
        catalog=b"/AcroForm<</Fields[6 0 R]>>",
    ),
    "zip": zip_of(
        {"photos/1.jpg": b"\xff\xd8\xff\xe0" + bytes(9_000), "read me.txt": b"Enjoy!", "minutes.csv": b"a,b\n"}
    ),
    "tar.gz": gzip.compress(tar_of({"src/main.c": b"int main(void) { return 0; }\n"})),
    "rtf": rich(),
    "winmail": tnef_of({"minutes.txt": b"We met."}, "See the minutes."),
    "page": b"<!doctype html><html><body><h1>Minutes</h1><a href='https://company.example/'>more</a></body></html>",
    "drawing": b"<svg xmlns='http://www.w3.org/2000/svg'><circle r='5'/></svg>",
    "epub": zip_of({"mimetype": b"application/epub+zip", "a.xhtml": b"<html><body><p>Once</p></body></html>"}),
    "7z": foreign_of("7zip", {"minutes.txt": b"We met."}),
    "zip of long logs": zip_of({f"{n}.log": b"2026-01-05 10:00:00 started\n" * 200_000 for n in range(9)}),
    "patch": b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-var a\n+let a\n",
    "signed file": signed(b"Minutes of our meeting.\n"),
    "odt": zip_of(
        {"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": b"<text:p>Minutes</text:p>"},
        packed=False,
    ),
}


@pytest.mark.parametrize("kind", HONEST)
def test_an_honest_file_shows_nothing_odd_and_is_read_in_full(kind: str) -> None:
    found = with_file(HONEST[kind], "minutes")
    assert {trait for file in found.inner for trait in file.traits} <= {"archive"}
    assert found.status_of(["inner", "text", "links", "attachments"]) is Status.PRESENT
    assert found.new_text.strip() == "As promised, see the file."


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("docx", "minutes of our meeting"),
        ("xlsx", "Total"),
        ("doc", "minutes of our meeting"),
        ("rtf", "Please sign, café"),
        ("pdf", "minutes of our meeting"),
        ("winmail", "See the minutes."),
        ("page", "Minutes"),
        ("odt", "Minutes"),
        ("xlsx of formulas", "Total of the year"),
        ("docx under other names", "minutes of our meeting"),
        ("docx in UTF-16", "minutes of our meeting"),
    ],
)
def test_what_a_reader_of_a_file_sees_is_its_text(kind: str, words: str) -> None:
    assert words in " ".join(inside(HONEST[kind])[0].text.split())
    assert not inside(HONEST[kind])[0].text.startswith("Arial")


@pytest.mark.parametrize(
    "data",
    [
        page_of(b"", b"<</S/URI/URI(%s)>>" % LINK.encode()),
        page_of(b"", b"<</S/URI/URI<%s>>>" % LINK.encode().hex().encode()),
        page_of(b"", (b"/Type/ObjStm/N 1/First 4", b"9 0 <</S/URI/URI(%s)>>" % LINK.encode())),
        zip_of({"word/document.xml": b"", "word/_rels/document.xml.rels": ELSEWHERE % (b"hyperlink", LINK.encode())}),
        compound({"WordDocument": bytes(600) + b'HYPERLINK "' + LINK.encode() + b'"'}),
        compound({"WordDocument": bytes(600) + LINK.encode("utf-16-le")}),
        rich(b'{\\field{\\*\\fldinst HYPERLINK "' + LINK.encode() + b'"}{\\fldrslt here}}'),
        b"<p>x</p><a href='%s'>here</a>" % LINK.encode(),
        b"<p>x</p><form action='%s'></form>" % LINK.encode(),
        b"<svg><a href='%s'>here</a></svg>" % LINK.encode(),
        b"[InternetShortcut]\nURL=%s\n" % LINK.encode(),
        b"[InternetShortcut]\nURL=%s\n" % LINK.encode(),
        zip_of({"a.html": b"<html><a href='%s'>here</a>" % LINK.encode()}),
        onenote_of([], LINK),
        tnef_of({"a.htm": b"<html><a href='%s'>here</a>" % LINK.encode()}),
        page_of(b"", b"<</S/URI/URI 7 0 R>>", b"(%s)" % LINK.encode()),
        page_of(b"BT (See %s now) Tj ET" % LINK.encode()),
        page_of(b"", b"<</S/JavaScript/JS(app.launchURL\\('%s'\\))>>" % LINK.encode()),
        page_of(b"", b"<</S/JavaScript/JS 7 0 R>>", (b"", b"app.launchURL('%s')" % LINK.encode())),
        zip_of(
            {
                "word/document.xml": b'<w:p><w:instrText>HYPERLINK "%s</w:instrText><w:instrText>%s"</w:instrText>'
                % (LINK[:20].encode(), LINK[20:].encode())
            }
        ),
        zip_of({"xl/worksheets/sheet1.xml": b'<worksheet><f>HYPERLINK("%s","x")</f></worksheet>' % LINK.encode()}),
        zip_of({"word/document.xml": b"", "word/chunk.html": b"<html><a href='%s'>here</a>" % LINK.encode()}),
        b"Dear Bob,\nsee %s\n" % LINK.encode(),
        b"line\n" * 90_000 + b"see %s\n" % LINK.encode(),
        zip_of({"a.ics": b"BEGIN:VCALENDAR\r\nDESCRIPTION:See https://pay.far.exa\r\n mple/v\r\nEND:VCALENDAR\r\n"}),
        b"BEGIN:VCARD\r\nURL:%s\r\nEND:VCARD\r\n" % LINK.encode(),
        gzip.compress(b"<svg><a href='%s'>here</a></svg>" % LINK.encode()),
        f"\ufeff<html><a href='{LINK}'>here</a></html>".encode("utf-16-le"),
    ],
    ids=map(str, count()),
)
def test_links_in_files_are_found_and_are_not_the_bodys(data: bytes) -> None:
    found = with_file(data)
    assert LINK in [url.url for file in found.inner for url in file.urls]
    assert found.urls == ()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (MAIL, "notice.eml"),
        (MAIL, "notice.dat"),
        (MAIL.partition(b"Date")[0] + MAIL[MAIL.index(b"Content-Type") :], "notice.eml"),
        (zip_of({"notice.eml": MAIL}), "a.zip"),
        (signed(MAIL), "smime.p7m"),
        (tnef_of({"notice.eml": MAIL}), "winmail.dat"),
        (b"From a@b Mon Jan  5 10:00:00 2026\n" + MAIL, "notice.mbox"),
    ],
    ids=map(str, count()),
)
def test_a_message_as_a_file_is_read_as_one(data: bytes, name: str) -> None:
    found = with_file(data, name)
    assert [nested.subject for nested in found.nested] == ["Password expires"]
    assert [url.url for url in found.nested[0].urls] == [LINK]


PATCH = b"From 1f2e3d4c5b6a79880f1e2d3c4b5a69788f0e1d2c Mon Sep 17 00:00:00 2001\nFrom: A <a@b.example>\nDate: x\n"
PATCH += b"Subject: [PATCH] x\n\n---\n"


@pytest.mark.parametrize(
    "data",
    [
        PATCH,
        b">" + PATCH,
        MAIL.partition(b"Content-Type")[0],
        b"Note: read this\n\nSubject: to change\n",
        b"name: x\nfrom: y\n\njobs:\n",
    ],
    ids=map(str, count()),
)
def test_a_text_that_looks_like_one_is_a_text(data: bytes) -> None:
    found = with_file(data, "a.txt")
    assert (found.nested, found.attachments[0].content_type) == ((), "text/plain")


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    "kind", ["application/pkcs7-mime; smime-type=signed-data", "application/x-pkcs7-mime; name=smime.p7m"]
)
def test_what_was_signed_is_the_body(kind: str, streamed: bool) -> None:
    content = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
        b"<p>Verify <a href='%s'>here</a>" % LINK.encode()
    )
    content += b"\r\n--b\r\nContent-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    content += base64.encodebytes(PACKED["zip"]) + b"--b--\r\n"
    wrapped = base64.encodebytes(signed(content, streamed=streamed)).decode()
    found = parse_message(
        f"From: ann@far.example\nContent-Type: {kind}\nContent-Transfer-Encoding: base64\n\n{wrapped}".encode()
    )
    assert found.new_text == "Verify here"
    assert [url.url for url in found.urls] == [LINK]
    assert [attachment.filename for attachment in found.attachments] == ["a.zip"]
    assert any("executable" in file.traits for file in found.inner)


def test_layers_of_signatures_are_taken_off_so_far_and_no_further() -> None:
    def layered(layers: int) -> bytes:
        made = b"Content-Type: text/plain\n\nhi\n"
        for _ in range(layers):
            made = b"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: binary\n\n" + signed(made)
        return b"From: ann@far.example\n" + made

    assert parse_message(layered(3)).new_text.strip() == "hi"
    deep = parse_message(layered(30))
    assert (deep.new_text, deep.status_of(["text"])) == ("", Status.OVER_BUDGET)


UNOPENED = (
    b"\x1f\x9d\x90", b"LZIP\1", b"\x04\x22\x4d\x18", b"MSWIM\0\0\0", b"xar!\0\x1c", b"KDMV\1", b"\xed\xab\xee\xdb",
)  # fmt: skip


@pytest.mark.parametrize("text", ["LZIP is a format", "xar! and more", "KDMV", "PK00 is a mark", "]] is no LZMA"])
def test_words_that_begin_as_an_archive_are_words(text: str) -> None:
    found = with_file(text.encode(), "a.txt")
    assert found.attachments[0].content_type == "text/plain" and found.status_of(["inner"]) is Status.PRESENT


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (locked_zip(), Status.ENCRYPTED),
        (enveloped(), Status.ENCRYPTED),
        (compound({"EncryptedPackage": bytes(5_000), "EncryptionInfo": b"x"}), Status.ENCRYPTED),
        (compound({"Workbook": struct.pack("<HH", 0x2F, 4) + bytes(5_000)}), Status.ENCRYPTED),
        (compound({"WordDocument": b"\xec\xa5" + bytes(8) + b"\0\1" + bytes(5_000)}), Status.ENCRYPTED),
        (
            page_of(b"", b"<</Filter/Standard/V 2/R 3/Length 128/P -4/O(a)/U(b)>>") + b"trailer<</Encrypt 6 0 R>>",
            Status.ENCRYPTED,
        ),
        (PACKED["zip stored"][:60], Status.DAMAGED),
        (gzip.compress(random.Random(1).randbytes(900))[:400], Status.DAMAGED),
        (foreign_of("7zip", {"a.txt": b"hello" * 99})[:-20], Status.DAMAGED),
        (compound({"WordDocument": bytes(5_000)})[:600], Status.DAMAGED),
        (bytes(7) + b"**ACE**" + bytes(99), Status.DAMAGED),
        (b"conectix" + bytes(600), Status.DAMAGED),
        (b"!BDN" + bytes(600), Status.DAMAGED),
        *((mark + bytes(600), Status.DAMAGED) for mark in UNOPENED),
        (HONEST["pdf"][:-9], Status.DAMAGED),
        (tnef_of({"a.txt": b"hello" * 99})[:-300], Status.DAMAGED),
        (gzip.compress(b"<html>" + b" " * (40 << 20)), Status.OVER_BUDGET),
        (zip_of({f"{n}.zip": zip_of({"a": b""}) for n in range(1_500)}), Status.OVER_BUDGET),
    ],
    ids=map(str, count()),
)
def test_what_cannot_be_read_says_so(data: bytes, status: Status) -> None:
    found = with_file(data)
    assert found.status_of(["inner"]) is status
    assert found.status_of(["text", "links", "headers"]) is Status.PRESENT
    assert any({"encrypted", "damaged", "over_budget", "unopened"} & set(file.traits) for file in found.inner)


@pytest.mark.parametrize("name", ["plan.zip", "plan.IMG", "plan.pdf", "plan.rar."])
def test_bytes_that_nobody_knows_by_the_name_of_a_container_say_so(name: str) -> None:
    unknown = random.Random(3).randbytes(2_000)
    assert with_file(unknown, name).status_of(["inner"]) is Status.DAMAGED
    assert with_file(unknown, "plan.dat").status_of(["inner"]) is Status.PRESENT


def test_what_is_deep_is_opened_to_a_bound() -> None:
    made = zip_of({"a.exe": PROGRAM})
    for _ in range(12):
        made = zip_of({"a.zip": made})
    found = with_file(made)
    assert found.status_of(["inner"]) is Status.OVER_BUDGET
    assert max(file.depth for file in found.inner) < 12


def test_files_before_the_body_take_nothing_from_it() -> None:
    bomb = base64.encodebytes(zip_of({f"{n}.html": b"<p>a " * 60_000 for n in range(60)})).decode()
    raw = (
        "From: ann@far.example\nContent-Type: multipart/mixed; boundary=b\n\n--b\n"
        "Content-Type: application/zip; name=a.zip\nContent-Disposition: attachment\n"
        f"Content-Transfer-Encoding: base64\n\n{bomb}\n--b\nContent-Type: text/html\n\n"
        f"<p>Verify <a href='{LINK}'>here</a></p>\n--b--\n"
    )
    found = parse_message(raw.encode())
    assert (found.new_text, [url.url for url in found.urls]) == ("Verify here", [LINK])
    assert found.status_of(["text", "links"]) is Status.PRESENT


def test_what_lies_in_a_file_is_the_same_each_time() -> None:
    for kind in PACKED:
        raw = b"From: a@b.example\nContent-Type: application/x\nContent-Transfer-Encoding: base64\n\n"
        raw += base64.encodebytes(PACKED[kind])
        assert parse_message(raw) == parse_message(raw)


@pytest.mark.parametrize("kind", [*PACKED, *HONEST])
def test_broken_bytes_raise_nothing(kind: str) -> None:
    data = bytearray((PACKED | HONEST)[kind])
    chance = random.Random(kind)
    for _ in range(12):
        broken = bytearray(data)
        for _ in range(chance.randrange(1, 12)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        found = with_file(bytes(broken[: chance.randrange(len(broken) // 2, len(broken) + 1)]))
        assert not {"parser_failed", "inner_unreadable"} & {defect.code for defect in found.defects}


def test_an_archive_that_asks_for_memory_is_refused_it_and_nobody_else_is() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    header = b"\x01\x05\xf0\xff\xff\xff\x05\x0e\x01" + bytes(200)
    start = struct.pack("<QQI", 0, len(header), zlib.crc32(header))
    found = with_file(b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(start)) + start + header)
    assert found.status_of(["inner"]) is Status.DAMAGED
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_macros_are_unpacked_with_their_copies() -> None:
    # A copy token of [MS-OVBA] 2.4.1.3.19: three bytes back, six more of them.
    body = b"\x08abc" + struct.pack("<H", (2 << 12) | 3)
    chunk = struct.pack("<H", 0xB000 | (len(body) - 1)) + body
    from mailwarden.ingest.budget import Budget
    from mailwarden.ingest.containers.contents import Contents
    from mailwarden.ingest.containers.macros import unpack_source
    from mailwarden.ingest.reading import Reading

    contents = Contents(Reading(Budget()), 0)
    assert unpack_source(b"\x01" + chunk, contents) == b"abcabcabc"
    assert unpack_source(packed_source(MACRO * 300), contents).endswith(MACRO)


def test_the_map_of_a_pdf_font_gives_its_text() -> None:
    table = b"1 beginbfrange <0003> <0005> <0041> endbfrange 1 beginbfchar <0009> <00660069> endbfchar"
    font = b"<</Type/Font/Subtype/Type0/ToUnicode 7 0 R>>"
    data = page_of(b"BT /F2 9 Tf <000300040005> Tj <0009> Tj ET", font, (b"", table))
    assert inside(data.replace(b"/F1 5 0 R", b"/F2 6 0 R"))[0].text == "ABCfi"


def test_pictures_in_files_wait_to_be_read_for_codes() -> None:
    row = b"\0" + bytes(40)
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in (
            (b"IHDR", struct.pack(">IIBBBBB", 40, 40, 8, 0, 0, 0, 0)),
            (b"IDAT", zlib.compress(row * 40)),
        )
    )
    assert with_file(zip_of({"a.png": png})).pending == ("qr",)
    head = b"/Subtype/Image/Width 40/Height 40/BitsPerComponent "
    for picture in (
        (head + b"8/ColorSpace/DeviceGray", bytes(1_600)),
        (head + b"2/ColorSpace/DeviceGray", bytes(400)),
        (head + b"4/ColorSpace/DeviceGray", bytes(800)),
        (head + b"1/ColorSpace[/Indexed/DeviceRGB 1<000000ffffff>]", bytes(200)),
        (head + b"8/ColorSpace[/Indexed/DeviceRGB 1(abcdef)]", bytes(1_600)),
    ):
        assert with_file(page_of(b"", picture)).pending == ("qr",)
    photo = (
        b"/Subtype/Image/Width 40/Height 40/BitsPerComponent 8/ColorSpace/DeviceRGB",
        bytes.fromhex("ffd8ffc0000b080028002801011100ffda0008010100003f00") + bytes(99),
    )
    behind = page_of(b"", photo).replace(b"/Filter/FlateDecode/Subtype", b"/Filter[/FlateDecode/DCTDecode]/Subtype")
    assert with_file(behind).pending == ("qr",)
    assert with_file(HONEST["zip"]).pending == ()


def locked_pdf(*, aes: bool) -> bytes:
    """A PDF file with a link, encrypted with an empty password as ISO 32000-1 7.6.3 has it (revision 3 or 4)."""
    padding = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")
    owner, identifier = bytes(range(32)), b"0123456789abcdef"
    key = hashlib.md5(padding + owner + struct.pack("<i", -4) + identifier).digest()
    for _ in range(50):
        key = hashlib.md5(key).digest()
    proof = rc4(key, hashlib.md5(padding + identifier).digest())
    for turn in range(1, 20):
        proof = rc4(bytes(byte ^ turn for byte in key), proof)

    def locked(number: int, plain: bytes) -> bytes:
        own = hashlib.md5(key + struct.pack("<I", number)[:3] + b"\0\0" + (b"sAlT" if aes else b"")).digest()
        if not aes:
            return rc4(own, plain)
        fill = 16 - len(plain) % 16
        vector = bytes(range(16))
        cipher = Cipher(algorithms.AES(own), modes.CBC(vector)).encryptor()
        return vector + cipher.update(plain + bytes([fill]) * fill)

    drawn = locked(4, b"BT (Pay your invoice) Tj ET")
    kind = b"/V 4/R 4/CF<</StdCF<</CFM/AESV2/Length 16>>>>/StmF/StdCF/StrF/StdCF" if aes else b"/V 2/R 3/Length 128"
    objects = (
        b"<</Type/Page/Contents 4 0 R>>",
        b"<</S/URI/URI<%s>>>" % locked(2, LINK.encode()).hex().encode(),
        b"<</Filter/Standard/P -4%s/O<%s>/U<%s>>>" % (kind, owner.hex().encode(), (proof + bytes(16)).hex().encode()),
        b"<</Length %d>>\nstream\n%s\nendstream" % (len(drawn), drawn),
    )
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, made) for number, made in enumerate(objects, 1))
    return b"%%PDF-1.6\n%strailer<</Encrypt 3 0 R/ID[<%s><00>]>>\n%%%%EOF" % (body, identifier.hex().encode())


def rc4(key: bytes, data: bytes) -> bytes:
    return Cipher(ARC4(key), None).encryptor().update(data)


@pytest.mark.parametrize("aes", [False, True])
def test_a_pdf_that_wants_no_password_is_read(aes: bool) -> None:
    found = with_file(locked_pdf(aes=aes))
    assert (found.inner[0].text, [url.url for url in found.inner[0].urls]) == ("Pay your invoice", [LINK])
    assert found.status_of(["inner"]) is Status.PRESENT
