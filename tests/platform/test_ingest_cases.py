"""Small messages that were read wrongly once, one of each kind of fault, where they are at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mailwarden.domain.mail.message import Message
from mailwarden.ingest.parse import parse_message

CASES = Path(__file__).parents[3] / "shared" / "cases"

Right = Callable[[Message], bool]


def says(*words: str) -> Right:
    return lambda message: all(word in message.new_text for word in words)


def leads_to(host: str) -> Right:
    return lambda message: host in {url.host for url in message.urls}


PHISH = (says("Verify your password"), leads_to("login.evil-host.example"))

RIGHT: dict[str, tuple[Right, ...]] = {
    "03": (*PHISH, says("Hello Bob")),
    "04a": (*PHISH, lambda message: message.html and not message.attachments),
    "05a": (*PHISH, lambda message: "text_begins_as_file" in {defect.code for defect in message.defects}),
    "12": (*PHISH, says("Your subscription renews today", "+1 800 555 0100")),
    "18": PHISH,
    "24": (says("明日の会議の資料を①確認してください"),),
    "32": PHISH,
}


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no messages in {CASES}")
@pytest.mark.parametrize("case", RIGHT)
def test_it_is_read_as_its_reader_sees_it(case: str) -> None:
    (path,) = CASES.glob(f"{case}-*.eml")
    message = parse_message(path.read_bytes())
    for number, right in enumerate(RIGHT[case]):
        assert right(message), (path.name, number, message.new_text)
