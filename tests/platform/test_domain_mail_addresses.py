from __future__ import annotations

import subprocess
import sys
import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailwarden.domain.mail.addresses import (
    address_domain,
    is_ip_literal,
    normalise_address,
    normalise_host,
    registrable_domain,
)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("Ann.Lee@Example.COM", "ann.lee@example.com"),
        (" <ann@example.com.> ", "ann@example.com"),
        ("mailto:ann@example.com", "ann@example.com"),
        ("@relay.example:ann@example.com", "ann@example.com"),
        ('"ann"@example.com', "ann@example.com"),
        ('"ann lee"@example.com', '"ann lee"@example.com'),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@[192.0.2.1]", "ann@[192.0.2.1]"),
        ("ann+tag@example.com", "ann+tag@example.com"),
        ("MAILER-DAEMON", ""),
        ("", ""),
        ("@example.com", ""),
        ("ann@", ""),
        ("ann lee@example.com", ""),
        ("a" * 400 + "@example.com", ""),
    ],
)
def test_an_address_has_one_form(written: str, normal: str) -> None:
    assert normalise_address(written) == normal


@given(st.text(max_size=80))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise_address(text)
    assert normalise_address(once) == once


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("mail.news.example.co.uk", "example.co.uk"),
        ("example.com", "example.com"),
        ("a.b.parts.example", "parts.example"),
        ("shop.github.io", "shop.github.io"),
        ("www.blogspot.com", "www.blogspot.com"),
        ("blogspot.com", "blogspot.com"),
        ("co.uk", ""),
        ("localhost", ""),
        ("192.0.2.1", ""),
        ("[192.0.2.1]", ""),
        ("2001:db8::1", ""),
        ("BÜCHER.example.org.", "example.org"),
        ("a..b", "a.b"),
        ("", ""),
    ],
)
def test_registrable_domain(host: str, domain: str) -> None:
    assert registrable_domain(host) == domain


def test_the_unicode_and_the_ascii_spelling_are_one_host() -> None:
    assert normalise_host("bücher.example") == normalise_host("XN--BCHER-KVA.EXAMPLE") == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("großbank.example", "xn--grobank-2va.example"),
        ("GROẞBANK.example", "xn--grobank-2va.example"),
        ("grossbank.example", "grossbank.example"),
        ("βόλος.example", "xn--nxasmm1c.example"),
        ("ΒΌΛΟΣ.example", "xn--nxasmq6b.example"),
        ("نامه\u200cای.example", "xn--mgba3gch31f060k.example"),
        ("i❤.example", "xn--i-7iq.example"),
        ("ｅｘａｍｐｌｅ．ｃｏｍ", "example.com"),
        ("例え。example。", "xn--r8jz45g.example"),
        ("pay\u00adpal.example", "paypal.example"),
        ("_dmarc.bücher.example", "_dmarc.xn--bcher-kva.example"),
        ("a..bücher", "a..xn--bcher-kva"),
    ],
)
def test_two_names_have_two_forms_and_one_name_has_one(written: str, normal: str) -> None:
    assert normalise_host(written) == normal
    assert normalise_address(f"Ann@{written}") == f"ann@{normal}"


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("a\u200cb.bücher.example", "a\u200cb.xn--bcher-kva.example"),  # a joiner out of its context
        ("bank＠evil.example", "bank＠evil.example"),
        ("\u0301a.example", "\u0301a.example"),
        ("אa.example", "אa.example"),
        ("\u00ad.example", "\u00ad.example"),
        ("Xn--Ü.example", "xn--ü.example"),
        ("Ü" * 63 + ".example", "ü" * 63 + ".example"),
        ("xn--.example", "xn--.example"),
        ("XN--BCHER-KVA-.example", "xn--bcher-kva-.example"),  # decodes to nothing
    ],
)
def test_what_uts_46_refuses_stays_as_written_and_loses_nothing(written: str, normal: str) -> None:
    assert normalise_host(written) == normal
    assert normalise_address(f"ann@{written}") == f"ann@{normal}"


LABELS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


@example("0.\r.\r")
@example("a。 。")
@given(st.lists(LABELS, min_size=1, max_size=4).map(".".join))
def test_a_host_normalised_twice_changes_nothing(host: str) -> None:
    once = normalise_host(host)
    assert normalise_host(once) == once
    assert len(once) <= 253


@given(st.lists(st.text("abcßçéüσςд한국例え-é", min_size=1, max_size=12), min_size=1, max_size=3), st.data())
def test_the_forms_of_one_name_have_one_form(labels: list[str], data: st.DataObject) -> None:
    name = unicodedata.normalize("NFC", ".".join(labels))
    normal = normalise_host(name)
    if not normal.isascii():
        return
    for label, ascii_label in zip(name.split("."), normal.split("."), strict=False):
        if ascii_label.startswith("xn--"):
            assert ascii_label[4:].encode().decode("punycode") == label.lower()
    assert normalise_host(normal.upper()) == normal
    assert normalise_host(unicodedata.normalize("NFD", name)) == normal
    for dot in "\u3002\uff0e\uff61":
        assert normalise_host(name.replace(".", dot)) == normal
    wide = "".join(chr(ord(c) + 0xFEE0) if c.isascii() and data.draw(st.booleans()) else c for c in name)
    assert normalise_host(wide) == normal
    capitals = "".join(c.upper() if c not in "ßς" and data.draw(st.booleans()) else c for c in name)
    assert normalise_host(capitals) == normal


def test_a_name_written_in_its_smallest_parts_is_not_too_long() -> None:
    name = ".".join(["한" * 40] * 4)
    assert normalise_host(unicodedata.normalize("NFD", name)) == normalise_host(name)
    assert normalise_host(name).startswith("xn--")


def test_hostile_names_take_no_longer_than_their_length() -> None:
    hosts = [
        "ü" * 1_000_000 + ".example",
        "ü." * 500,
        ".".join(["\u0627\u200c" * 30] * 8),
        "\u094d" * 1_000,
        "a" + "\u0301" * 1_000,
        ".".join(chr(0x4E00 + i) * 63 for i in range(15)),
    ]
    start = time.process_time()
    for host in hosts:
        assert len(normalise_host(host)) <= 253
        normalise_address(f"ann@{host}")
    assert time.process_time() - start < 0.25


def test_parts_and_kinds() -> None:
    assert address_domain("ann@mail.example.com") == "mail.example.com"
    assert address_domain("") == ""
    assert is_ip_literal("192.0.2.1")
    assert is_ip_literal("2001:db8::1")
    assert not is_ip_literal("abc")
    assert not is_ip_literal("cafe.de")


def test_no_look_up_leaves_the_machine() -> None:
    program = (
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('network')\n"
        "socket.socket.connect = refuse\n"
        "from mailwarden.domain.mail.addresses import registrable_domain\n"
        "print(registrable_domain('a.b.example.co.jp'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "example.co.jp"
