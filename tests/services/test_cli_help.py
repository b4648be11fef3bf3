"""What the command line teaches, and its commands for tenants' policies and keys."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from mailwarden import __version__
from mailwarden.ingest.parse import parse_message
from mailwarden.simulation.corpus import write_corpus
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.bootstrap import Platform
from mailwarden_services.cli import application, progress

Run = Callable[..., tuple[int, str, str]]


def commands(group: Any, *above: str) -> list[tuple[str, ...]]:
    """Every command of the application, by its words."""
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found += commands(command, *above, name) if hasattr(command, "commands") else [(*above, name)]
    return found


ALL = commands(typer.main.get_command(application.app))


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_help_has_an_example_whose_options_are_there(run: Run, words: tuple[str, ...]) -> None:
    code, text, _ = run(*words, "--help")
    assert code == 0
    assert re.search(r"Examples?:", text), text
    examples = [line for line in text.splitlines() if f"mailwarden {' '.join(words)}" in line and "Usage" not in line]
    assert examples, text
    # What stands in the table of options.
    known = set(re.findall(r"│[ *]+(--[a-z-]+)", text))
    for line in examples:
        own = [part for part in re.split(r"\||&&", line) if f"mailwarden {' '.join(words)}" in part]
        used = set(re.findall(r"--[a-z-]+", " ".join(own)))
        assert used <= known, (line, known)


def test_all_commands_are_found() -> None:
    assert {("ingest",), ("bench",), ("tenant", "policy"), ("tenant", "keys"), ("tenant", "revoke")} <= set(ALL)


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"mailwarden {__version__}\n", "")


def test_score_says_that_its_tenant_must_exist(run: Run) -> None:
    assert "Must exist" in run("score", "--help")[1]
    assert "made where it is new" in run("ingest", "--help")[1]


def test_missing_labelled_mail_fails_only_where_that_was_asked_for(
    run: Run, simulated: list[SimulatedMessage], tmp_path: Path, warden: Any
) -> None:
    index = write_corpus(tmp_path / "corpus", simulated[:5])
    with index.open("a") as file:
        file.write("spam mail/not-there.eml\n")
    words = ("ingest", str(index.parent), "--labels", str(index), "--tenant", "acme")
    code, text, errors = run(*words, "--strict")
    assert code == 65 and "1 messages" in errors and "5 added" in text
    assert len(warden.events()) == 10
    assert run(*words)[0] == 0


def test_a_policy_is_set_shown_and_taken_back(run: Run, warden: Any) -> None:
    tenants = Platform(warden.settings).tenants
    words = ("tenant", "policy", "acme")
    code, text, _ = run(*words)
    assert code == 0 and "allowed senders" in text and tenants.get("acme").policy == {}
    code, text, errors = run(*words, "--allow", "Partner.Example", "--block", "mallory@bad.example", "--budget", "0.01")
    assert code == 0, errors
    assert "partner.example" in text and "mallory@bad.example" in text and "0.01" in text
    assert run(*words, "--block", "more.example")[0] == 0
    assert tenants.get("acme").policy == {
        "allow_senders": ["partner.example"],
        "block_senders": ["mallory@bad.example", "more.example"],
        "false_positive_budget": 0.01,
    }
    assert run(*words, "--block", "partner.example", "--remove", "more.example")[0] == 0
    assert tenants.get("acme").policy["allow_senders"] == []
    assert tenants.get("acme").policy["block_senders"] == ["mallory@bad.example", "partner.example"]
    assert run(*words, "--budget", "2")[0] == 65
    assert run(*words, "--allow", "x.example", "--block", "x.example")[0] == 2
    assert run("tenant", "policy", "nobody")[0] == 66


def test_a_blocked_sender_is_held_back(run: Run, warden: Any, simulated: list[SimulatedMessage]) -> None:
    """A policy that is set by the command is the one that decides."""
    message = next(m for m in simulated if m.label == "ham")
    sender = parse_message(message.raw, message.envelope).sender.address
    with warden.api() as api:
        before = api.score(message.raw, path="/v1/score?observe=false").json()
    assert run("tenant", "policy", "acme", "--block", sender)[0] == 0
    with warden.api() as api:
        after = api.score(message.raw, path="/v1/score?observe=false").json()
    assert before["verdict"] != "quarantine" and after["verdict"] == "quarantine"


def test_keys_are_listed_and_revoked(run: Run, warden: Any) -> None:
    tenants = Platform(warden.settings).tenants
    key = run("tenant", "key", "acme", "--label", "gateway")[1].strip()
    code, text, _ = run("tenant", "keys", "acme")
    assert code == 0 and "gateway" in text and key not in text and "mw_" not in text
    code, text, _ = run("tenant", "revoke", "acme", "--label", "gateway")
    assert code == 0 and "gateway" in text
    assert tenants.authenticate(key) is None
    assert run("tenant", "revoke", "acme", "--label", "gateway")[0] == 66
    assert run("tenant", "keys", "nobody")[0] == 66
    assert run("tenant", "key", "acme", "--label", "gateway")[0] == 0


def test_bars_on_a_terminal_move_with_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    with open(os.devnull, "w") as nowhere:
        console = Console(file=nowhere, force_terminal=True, record=True, width=100)
        monkeypatch.setattr(progress, "console", console)
        with progress.ticker("counting", 3) as tick:
            for done in (1, 2, 3):
                tick(done)
        with progress.ticker("passing a guess", 2) as tick:
            tick(5)
        with progress.stages("working") as begins:
            begins("first [part]")
            begins("second")
        text = console.export_text()
    assert "3/3" in text and "5/5" in text and "2/2" in text


def test_without_a_terminal_each_stage_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    with open(os.devnull, "w") as nowhere:
        console = Console(file=nowhere, record=True, width=100)
        monkeypatch.setattr(progress, "console", console)
        with progress.stages("working", 2) as begins:
            begins("first")
            begins("second")
    assert console.export_text().split() == ["·", "working", "·", "first", "·", "second"]
