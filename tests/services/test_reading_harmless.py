"""Text of hostile mail made harmless to look at."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwarden_services.reading.harmless import harmless


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see http://evil.example/a.b?c=d.e now", "see hxxp://evil[.]example/a.b?c=d.e now"),
        ("HTTPS://A.example:8080", "hxxps://A[.]example:8080"),
        ("https://user@evil.example", "hxxps://user@evil[.]example"),
        ("www.evil.example and evil.example/x", "www[.]evil[.]example and evil[.]example/x"),
        ("javascript:alert(1) data:text/html,x", "javascript[:]alert(1) data[:]text/html,x"),
        ("http:\\\\evil.example", "hxxp:\\\\evil.example"),
        ("Dear Bob, version 1.2 costs 3.50.", "Dear Bob, version 1.2 costs 3.50."),
        ("a\x1b]8;;http://x.example\x07b", "a⟨U+001B⟩]8;;hxxp://x[.]example⟨U+0007⟩b"),
        ("\x1b[31mhttp://x.example", "⟨U+001B⟩[31mhxxp://x[.]example"),
        ("abc\u202efdp.exe", "abc⟨U+202E⟩fdp.exe"),
        ("one\r\ntwo\rthree\tfour", "one\ntwo\nthree\tfour"),
    ],
)
def test_links_are_spoilt_and_what_steers_is_told(text: str, shown: str) -> None:
    assert harmless(text) == shown


PIECES = st.sampled_from(
    ["http", "https", "HTTP", ":", "/", "//", "\\", ".", "www.", "@", "x", " ", "\x1b", "\u202e", "\n"]
)


@given(st.lists(PIECES, max_size=20).map("".join) | st.text())
def test_nothing_live_is_left(text: str) -> None:
    found = harmless(text)
    assert not re.search(r"https?:[\\/]{1,2}", found, re.IGNORECASE)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", found)
