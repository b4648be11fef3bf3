from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
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
