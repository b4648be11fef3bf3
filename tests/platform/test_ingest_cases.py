"""Small messages that were once read wrongly, beside the checkout: each is read as its reader sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mailwarden.domain.mail.message import Message
from mailwarden.ingest.parse import parse_message
from mailwarden.stores.lists import load_lists
from mailwarden_features.content_links.view import VIEW as LINKS

CASES = Path(__file__).parents[3] / "shared" / "cases"
LISTS = load_lists()


def links(message: Message, *names: str) -> list[object]:
    found = LINKS.compute(message, LISTS)
    return [found[name] for name in names]


RIGHT: dict[str, Callable[[Message], object]] = {
    "08-idna-sharp-s": lambda m: (m.urls[0].domain, m.sender.domain) == ("xn--grobank-2va.example",) * 2,
    "09-schemeless-url-in-text": lambda m: [u.host for u in m.urls] == ["login.evil-host.com"],
    "11-safelinks-rewritten": lambda m: {u.domain for u in m.urls} == {"partner.example"}
    and links(m, "url_text_differs", "url_rewritten", "url_has_recipient") == [0, 2, 0],
    "27-link-schemes": lambda m: [u.host for u in m.urls] == ["evil-host.example"] * 2
    and links(m, "url_file", "url_application", "url_script") == [1, 1, 1],
    "28a-base-with-colon": lambda m: [u.url for u in m.urls] == ["https://login.evil-host.example/v?a=b:c"],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_a_case_is_read_rightly(name: str) -> None:
    path = CASES / f"{name}.eml"
    if not path.exists():
        pytest.skip(f"no {path.name} in {CASES}")
    assert RIGHT[name](parse_message(path.read_bytes()))
