"""Names of files as the system that starts them reads them."""

from __future__ import annotations

import pytest

from mailwarden.domain.mail.file_names import EXECUTABLE_NAMES, extension_of, is_disguised, is_double


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("invoice.exe", "exe"),
        ("invoice.exe.", "exe"),
        ("invoice.exe. . .", "exe"),
        ("invoice.exe \u00a0", "exe"),
        ("invoice.EXE", "exe"),
        ("invoice\u202efdp.exe", "exe"),
        ("invoice.ex\u200be", "exe"),
        ("invoice.exe::$DATA", "exe"),
        ("invoice.exe:shown.pdf", "exe"),
        ("a/b\\c.scr", "scr"),
        ("x.settingcontent-ms", "settingcontent-ms"),
        ("notes", ""),
        ("notes.", ""),
        ("Dr. Smith", ""),
        ("report v1.2", "2"),
        ("10:30 minutes.pdf", "pdf"),
        ("", ""),
    ],
)
def test_the_extension_is_the_one_that_decides(name: str, extension: str) -> None:
    assert extension_of(name) == extension


@pytest.mark.parametrize(
    "name", ["invoice.pdf.exe", "invoice.pdf      .exe", "photo.jpg.scr.", "scan.pdf.html", "a.docx_.js", "x.txt.lnk"]
)
def test_a_second_extension_is_told(name: str) -> None:
    assert is_double(name)


@pytest.mark.parametrize(
    "name",
    [
        "backup.tar.gz",
        "plan.pdf.p7m",
        "plan.pdf.asc",
        "mail.txt.eml",
        "a.jpg.jpg",
        "jquery.min.js",
        "v1.2.pdf",
        "x.csv.zip",
    ],
)
def test_an_honest_second_extension_is_none(name: str) -> None:
    assert not is_double(name)


@pytest.mark.parametrize(
    "name", ["invoice\u202efdp.exe", "invoice.exe.", "invoice.exe ", "invoice.pdf" + " " * 80 + ".exe", "a.txt:b.exe"]
)
def test_a_name_that_hides_its_end_is_disguised(name: str) -> None:
    assert is_disguised(name)


@pytest.mark.parametrize(
    "name",
    [
        "invoice.pdf.",
        "Minutes  of   the meeting.docx",
        "10:30 minutes.pdf",
        "Re: src/list.h: why is it in this folder?",
        "a" * 400 + ".pdf",
        "\u0641\u0627\u06a9\u062a\u0648\u0631.pdf",
        "\u05d7\u05e9\u05d1\u05d5\u05e0\u05d9\u05ea\u200f.pdf",
        "setup.exe",
    ],
)
def test_an_honest_name_is_not(name: str) -> None:
    assert not is_disguised(name)


def test_what_runs_is_in_lower_case() -> None:
    assert all(name == name.lower() for name in EXECUTABLE_NAMES)
