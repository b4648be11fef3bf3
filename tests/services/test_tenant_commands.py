"""Tenants changed and removed, and an ingest that leaves none behind when it fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailwarden.errors import DataError, NotFound
from mailwarden.simulation.corpus import write_corpus
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.spool import Spool
from mailwarden_services.bootstrap import Platform
from mailwarden_services.cli import ingest_command
from mailwarden_services.embedded import environment_of

Run = Callable[..., tuple[int, str, str]]


def test_a_tenants_domains_are_changed(run: Run, warden: Any) -> None:
    assert run("tenant", "create", "t1", "--domain", "t1.example")[0] == 0
    code, text, errors = run("tenant", "update", "t1", "--domain", "Zwölf.example", "--remove-domain", "T1.example")
    assert code == 0, errors
    tenants = Platform(warden.settings).tenants
    assert tenants.get("t1").domains == ("xn--zwlf-6qa.example",) and "xn--zwlf-6qa.example" in text
    code, _, errors = run("tenant", "update", "t1", "--remove-domain", "t2.example")
    assert code == 66 and "xn--zwlf-6qa.example" in errors
    assert run("tenant", "update", "t1", "--domain", "com")[0] == 65
    assert run("tenant", "update", "nobody", "--domain", "a.example")[0] == 66


def test_a_removed_tenant_has_no_key_and_no_policy_and_its_name_stays_taken(run: Run, warden: Any) -> None:
    assert run("tenant", "create", "t1", "--domain", "t1.example")[0] == 0
    key = run("tenant", "key", "t1")[1].strip()
    assert run("tenant", "policy", "t1", "--block", "bad.example")[0] == 0
    code, text, errors = run("tenant", "remove", "t1")
    assert code == 0 and "1 keys revoked" in text and "labels stay" in text, errors
    tenants = Platform(warden.settings).tenants
    assert tenants.authenticate(key) is None
    assert "t1" not in {tenant.name for tenant in tenants.list()} and "t1 " not in run("tenant", "list")[1]
    with pytest.raises(NotFound, match="was removed"):
        tenants.get("t1")
    with pytest.raises(DataError, match="was removed, and what was logged"):
        tenants.create("t1", domains=[], created_us=1)
    assert run("tenant", "remove", "t1")[0] == 66
    # Its domain is free for another.
    assert run("tenant", "create", "t2", "--domain", "t1.example")[0] == 0


def test_while_mail_may_flow_removing_asks_for_yes(run: Run, warden: Any) -> None:
    assert run("tenant", "create", "t1")[0] == 0 and run("tenant", "create", "t2")[0] == 0
    assert run("tenant", "key", "t1")[0] == 0
    tenants = Platform(warden.settings).tenants
    with Spool(warden.settings.spool_path, fsync=False):
        code, _, errors = run("tenant", "remove", "t1")
        assert code == 78 and "--yes" in errors
        assert tenants.get("t1") and tenants.keys("t1")[0].revoked_us is None
        # One that nobody can call for is in nobody's way.
        assert run("tenant", "remove", "t2")[0] == 0
        assert run("tenant", "remove", "t1", "--yes")[0] == 0


def test_a_failed_ingest_leaves_no_tenant_and_changes_none(
    run: Run, warden: Any, simulated: list[SimulatedMessage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenants = Platform(warden.settings).tenants
    index = write_corpus(tmp_path / "corpus", simulated[:5])
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.pdf").write_bytes(b"%PDF-1.7 no mail")
    assert run("ingest", str(tmp_path / "nowhere"), "--tenant", "new1")[0] == 65
    assert run("ingest", str(empty), "--tenant", "new2")[0] == 65
    assert run("ingest", str(index.parent), "--labels", str(tmp_path / "none"), "--tenant", "new3")[0] == 65
    before = tenants.get("acme")
    assert run("ingest", str(empty), "--tenant", "acme", "--domain", "more.example")[0] == 65
    monkeypatch.setattr("mailwarden.ingest.pipeline.plan_of", interrupted)
    assert run("ingest", str(index.parent), "--tenant", "new4")[0] == 130
    assert {tenant.name for tenant in tenants.list()}.isdisjoint({"new1", "new2", "new3", "new4"})
    assert tenants.get("acme") == before


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_tenant_that_was_made_before_its_events_stays(warden: Any) -> None:
    tenants = Platform(warden.settings).tenants
    with (
        pytest.raises(RuntimeError),
        ingest_command.known_tenant(Platform(warden.settings), "t9", [], [], lambda: False),
    ):
        tenants.issue_key("t9", "gateway", 1)
        raise RuntimeError
    assert tenants.get("t9").name == "t9"


def test_files_that_are_no_mail_are_counted_and_named(
    run: Run, warden: Any, simulated: list[SimulatedMessage], tmp_path: Path
) -> None:
    index = write_corpus(tmp_path / "corpus", simulated[:5])
    for number in range(12):
        (index.parent / f"picture[{number}].png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, text, errors = run("ingest", str(index.parent), "--labels", str(index), "--tenant", "acme")
    assert code == 0, errors
    # The index itself is one, and so is the truth beside it.
    assert "5 added" in text and "14 files are no mail" in text
    assert errors.count("no mail:") == 10 and "picture[0].png" in errors


def test_a_piped_table_is_whole(warden: Any) -> None:
    domains = [f"a-domain-with-a-long-name-{number:03}.example" for number in range(40)]
    Platform(warden.settings).tenants.create("wide", domains=domains, created_us=1)
    environment = environment_of(warden.settings)
    environment.pop("COLUMNS", None)
    found = subprocess.run(
        [sys.executable, "-m", "mailwarden_services.cli", "tenant", "list"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in found.stdout.splitlines() if "wide" in line]
    assert ", ".join(domains) in line
