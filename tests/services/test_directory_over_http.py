"""A tenant's directory from the command line to the answers of the scoring API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.mail.message import Envelope
from mailwarden.simulation.company import company
from mailwarden.training.train import Trained
from mailwarden_services.scoring_api import access

Run = Callable[..., tuple[int, str, str]]
OWN = company(7).domains[0]
ANN, BOB = f"ann.lee@{OWN}", f"bob.stone@{OWN}"
AT_US = 1_780_000_000_000_000


@pytest.fixture(autouse=True)
def looked_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "KEY_CACHE_SECONDS", 0.0)


@pytest.fixture
def people(tmp_path: Path) -> str:
    file = tmp_path / "people.csv"
    file.write_text(
        "address,name,aliases,role,department,manager,vip\n"
        f"{ANN},Ann Lee,ann@lee-family.example,Chief Financial Officer,Finance,,yes\n"
        f"{BOB},Bob Stone,,Accountant,Finance,{ANN},no\n"
    )
    return str(file)


def letter(sender: str) -> tuple[bytes, Envelope]:
    address = sender.rpartition("<")[2].rstrip(">")
    raw = (
        f"From: {sender}\r\nTo: {BOB}\r\nSubject: Quick question\r\nDate: Thu, 28 May 2026 20:26:40 +0000\r\n"
        f"Message-ID: <q1@{address.rpartition('@')[2]}>\r\n\r\nAre you at your desk?\r\n"
    )
    return raw.encode(), Envelope(AT_US, address, (BOB,))


def said(api: Any, sender: str) -> set[str]:
    """Names of the reasons."""
    raw, envelope = letter(sender)
    response = api.score(raw, envelope, path="/v1/score?observe=false")
    assert response.status_code == 200, response.text
    return {signal["name"] for signal in response.json()["signals"]}


def with_history(trained: Trained) -> Trained:
    """The same models, to which histories are shown."""
    record = dict(trained.bundle.record)
    options = {**record["options"], "ablate": []}
    return replace(trained, bundle=replace(trained.bundle, record={**record, "options": options}))


def test_a_directory_tells_whose_name_is_borrowed_from_then_on(
    run: Run, warden: Any, trained_bundle: Trained, people: str
) -> None:
    warden.promote(with_history(trained_bundle))
    borrowed = "Ann Lee <ann.lee@mailbox.example>"
    with warden.api() as api:
        before = said(api, borrowed)
        code, _, errors = run("tenant", "directory", "acme", people)
        assert code == 0, errors
        after = said(api, borrowed)
        her_own = said(api, "Ann Lee <ann@lee-family.example>")
        a_stranger = said(api, "Carl Wood <carl.wood@mailbox.example>")
        assert run("tenant", "directory", "acme", "--clear")[0] == 0
        cleared = said(api, borrowed)
    assert "vip_name_elsewhere" in after
    for others in (before, her_own, a_stranger, cleared):
        assert "vip_name_elsewhere" not in others, others
