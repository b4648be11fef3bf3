"""Rules of a tenant from the command line to the answers of the scoring API, and what rules are worth."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.accepted import RULE_LOGGED
from mailwarden_detectors.header_rules.detector import RULES
from mailwarden_services.bootstrap import Platform

Run = Callable[..., tuple[int, str, str]]
Mail = list[SimulatedMessage]

OF_PATTERN = r"""
name: receipt_{name}
words: Its subject speaks of a receipt in {{content_text:subject_len}} characters.
severity: high
action: {action}
category: VF
when:
  text: content_text:subject
  matches: ['(?i)\breceipts?\b', '(?i)\bkvitto\b']
cases:
  - fires: a receipt
    with: {{content_text:subject: Your receipt}}
  - silent: a lunch
    with: {{content_text:subject: Lunch}}
"""
ABOUT = re.compile(rb"(?m)^Subject: .*\b[Rr]eceipts?\b")
OURS = {found.name for found in RULES.rules}


def rule(folder: Path, name: str, action: str) -> str:
    file = folder / f"receipt_{name}.yaml"
    file.write_text(OF_PATTERN.format(name=name, action=action))
    return str(file)


def rows_of(warden: Any, name: str) -> list[dict[str, Any]]:
    rows = Platform(warden.settings).scores.scan().read_all().to_pylist()
    return [row for row in rows if row["detector"] == f"{RULE_LOGGED}{name}"]


@pytest.fixture
def receipt(simulated: Mail) -> SimulatedMessage:
    """Mail that nobody calls bad, about a receipt."""
    return next(m for m in simulated if m.label == "ham" and ABOUT.search(m.raw) and b"dmarc=pass" in m.raw)


def test_a_rule_that_is_on_gives_its_verdict_over_http(
    run: Run, warden: Any, receipt: SimulatedMessage, simulated: Mail, tmp_path: Path
) -> None:
    code, text, errors = run("rules", "add", rule(tmp_path, "held", "quarantine"), "--tenant", "acme")
    assert code == 0 and "rule receipt_held of acme is on" in text, errors
    with warden.api() as api:
        found = api.send(receipt)
        other = api.send(next(m for m in simulated if m.label == "ham" and not ABOUT.search(m.raw)))
    assert (found["verdict"], found["category"], found["degraded"]) == ("quarantine", "VF", False)
    assert found["signals"][0]["name"] == "receipt_held" and found["signals"][0]["weight"] == 0.0
    assert found["signals"][0]["words"].startswith("Its subject speaks of a receipt in ")
    assert "{" not in found["signals"][0]["words"]
    assert "receipt_held" not in {signal["name"] for signal in other["signals"]}
    # What the detectors say is theirs.
    assert run("rules", "off", "receipt_held", "--tenant", "acme")[0] == 0
    with warden.api() as api:
        after = api.score(receipt.raw, receipt.envelope, path="/v1/score?observe=false").json()
    assert after["score"] == found["score"] and after["verdict"] != "quarantine"
    assert "receipt_held" not in {signal["name"] for signal in after["signals"]}


def test_a_rule_in_shadow_is_logged_and_does_nothing(
    run: Run, warden: Any, receipt: SimulatedMessage, tmp_path: Path
) -> None:
    with warden.api() as api:
        before = api.score(receipt.raw, receipt.envelope, path="/v1/score?observe=false").json()
    assert run("rules", "add", rule(tmp_path, "seen", "quarantine"), "--tenant", "acme", "--shadow")[0] == 0
    assert run("rules", "add", rule(tmp_path, "other", "quarantine"), "--tenant", "other")[0] == 0
    with warden.api() as api:
        found = api.send(receipt)
    warden.drain()
    assert found["verdict"] == before["verdict"] and found["signals"] == before["signals"]
    logged = rows_of(warden, "receipt_seen")
    assert [row["raw"] for row in logged] == [1.0] * len(receipt.envelope.rcpt_to)
    assert {(row["model"], row["calibrated"], row["missing"]) for row in logged} == {(None, None, None)}
    assert rows_of(warden, "receipt_other") == []


def test_a_rule_delivers_only_who_is_authenticated(
    run: Run, warden: Any, receipt: SimulatedMessage, tmp_path: Path
) -> None:
    everything = rule(tmp_path, "free", "deliver")
    assert run("tenant", "policy", "acme", "--unread", "deliver")[0] == 0
    assert run("rules", "add", everything, "--tenant", "acme")[0] == 0
    forged = receipt.raw.replace(b"dmarc=pass", b"dmarc=fail").replace(b"dkim=pass", b"dkim=fail")
    forged = forged.replace(b"spf=pass", b"spf=fail")
    with warden.api() as api:
        proven = api.send(receipt)
        unproven = api.score(forged, receipt.envelope, path="/v1/score?observe=false").json()
    assert proven["verdict"] == "deliver" and proven["signals"][0]["name"] == "receipt_free"
    assert "receipt_free" not in {signal["name"] for signal in unproven["signals"]}
    # What holds back is stronger than what delivers.
    assert run("rules", "add", rule(tmp_path, "junk", "junk"), "--tenant", "acme")[0] == 0
    with warden.api() as api:
        held = api.score(receipt.raw, receipt.envelope, path="/v1/score?observe=false").json()
    assert held["verdict"] == "junk" and held["signals"][0]["name"] == "receipt_junk"
    assert "receipt_free" not in {signal["name"] for signal in held["signals"]}


def test_a_rule_of_the_platform_is_turned_off_for_one_tenant(
    run: Run, warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [m for m in simulated if m.label != "ham"][-60:]

    def asked(tenant: str) -> list[dict[str, Any]]:
        with warden.api(tenant) as api:
            path = "/v1/score?observe=false"
            return [api.score(m.raw, m.envelope, path=path).json() for m in bad]

    before = asked("acme")
    names = [signal["name"] for answer in before for signal in answer["signals"]]
    name = next(name for name in names if name in OURS)
    assert run("rules", "off", name, "--tenant", "acme")[0] == 0
    after = asked("acme")
    fell = [
        (b["score"], a["score"])
        for b, a in zip(before, after, strict=True)
        if name in {signal["name"] for signal in b["signals"]}
    ]
    assert fell and all(now < then for then, now in fell)
    assert all(name not in {signal["name"] for signal in answer["signals"]} for answer in after)
    # What a detector says of a message is its own, whoever's rules are off.
    assert [a["detectors"] for a in after] == [b["detectors"] for b in before]
    assert run("rules", "on", name, "--tenant", "acme")[0] == 0
    assert [a["score"] for a in asked("acme")] == [b["score"] for b in before]
    assert Platform(warden.settings).tenants.get("acme").rules == []


def test_a_rule_of_the_platform_in_shadow_is_logged(run: Run, warden: Any, simulated: Mail) -> None:
    path = "/v1/score?observe=false"
    with warden.api() as api:
        told = [(m, api.score(m.raw, m.envelope, path=path).json()) for m in simulated[-100:]]
    message, name = next((m, s["name"]) for m, answer in told for s in answer["signals"] if s["name"] in OURS)
    assert run("rules", "shadow", name, "--tenant", "acme")[0] == 0
    with warden.api() as api:
        answer = api.send(message)
    warden.drain()
    assert name not in {signal["name"] for signal in answer["signals"]}
    assert [row["raw"] for row in rows_of(warden, name)] == [1.0] * len(message.envelope.rcpt_to)


def test_what_is_wrong_with_a_rule_is_said(run: Run, warden: Any, tmp_path: Path) -> None:
    file = Path(rule(tmp_path, "held", "quarantine"))
    good = file.read_text()
    assert run("rules", "check", str(file))[0] == 0
    for change, words in (
        (("text: content_text:subject\n", "text: content_text:subjct\n"), "Did you mean 'content_text:subject'"),
        (("breceipts", "bspoons"), "it is silent on the case 'a receipt'"),
        (("action: quarantine", "action: delete"), "action is 'delete'; write one of deliver, banner"),
        (("content_text:subject_len}", "content_text:new_text}"), "words: content_text:new_text is text"),
    ):
        file.write_text(good.replace(*change))
        code, _, errors = run("rules", "check", str(file))
        assert code == 65 and words in errors.replace("\n", " "), errors
        assert run("rules", "add", str(file), "--tenant", "acme")[0] == 65
    file = tmp_path / "new_sender.yaml"
    file.write_text(good.replace("receipt_held", "new_sender"))
    code, _, errors = run("rules", "add", str(file), "--tenant", "acme")
    assert code == 65 and "'new_sender' is a rule of the platform" in errors
    assert Platform(warden.settings).tenants.get("acme").rules == []


def test_rules_are_listed_switched_removed_and_audited(run: Run, warden: Any, tmp_path: Path) -> None:
    assert run("rules", "add", rule(tmp_path, "held", "junk"), "--tenant", "acme")[0] == 0
    assert run("rules", "off", "shouting", "--tenant", "acme")[0] == 0
    code, text, _ = run("rules", "list", "--tenant", "acme")
    lines = {line.split()[1]: line for line in text.splitlines() if line.startswith("│")}
    assert code == 0 and " junk " in lines["receipt_held"] and " off " in lines["shouting"]
    code, _, errors = run("rules", "off", "shoutng", "--tenant", "acme")
    assert code == 66 and "Did you mean 'shouting'" in errors
    assert run("rules", "remove", "shouting", "--tenant", "acme")[0] == 66
    assert run("rules", "remove", "receipt_held", "--tenant", "acme")[0] == 0
    assert [one["name"] for one in Platform(warden.settings).tenants.get("acme").rules] == ["shouting"]
    audit = run("audit", "list")[1]
    assert all(word in audit for word in ("rule.add", "rule.mode", "rule.remove"))


def test_a_rule_that_names_what_is_gone_is_flagged_and_costs_nothing(
    run: Run, warden: Any, receipt: SimulatedMessage, tmp_path: Path
) -> None:
    assert run("rules", "add", rule(tmp_path, "held", "junk"), "--tenant", "acme")[0] == 0
    platform = Platform(warden.settings)
    (kept,) = platform.tenants.get("acme").rules
    assert kept["rule"] is not None
    gone = {**kept["rule"], "name": "gone", "when": "content_retired:flag"}
    platform.tenants.update("acme", rules=[kept, {"name": "gone", "mode": "on", "rule": gone}])
    with warden.api() as api:
        answer = api.send(receipt)
    assert answer["verdict"] in ("junk", "quarantine") and "rule gone cannot be read here" in answer["flags"]
    assert answer["degraded"] is False


def test_hits_are_counted_over_labelled_mail(run: Run, warden: Any, simulated: Mail, tmp_path: Path) -> None:
    from mailwarden.simulation.corpus import write_corpus

    write_corpus(tmp_path / "mail", simulated[:400])
    code, _, errors = run("ingest", str(tmp_path / "mail"), "--labels", str(tmp_path / "mail" / "INDEX"),
                          "--tenant", "acme")  # fmt: skip
    assert code == 0, errors
    assert run("materialize")[0] == 0
    out = tmp_path / "hits.parquet"
    code, text, errors = run("rules", "hits", "--out", str(out))
    assert code == 0 and "new_sender" in text, errors
    rows = {row["rule"]: row for row in pq.read_table(out).to_pylist()}
    bad = sum(m.label != "ham" for m in simulated[:400])
    assert {(row["bad"], row["good"]) for row in rows.values()} == {(bad, 400 - bad)}
    one = rows["new_sender"]
    assert one["bad_hits"] == sum(one[f"hits_{label}"] for label in ("CP", "MW", "BE", "VF", "LA", "EA", "CB", "EX",
                                                                     "RC", "SC", "SP", "spam"))  # fmt: skip
    assert 0 < one["precision_low"] < one["precision"] < one["precision_high"] < 1
    assert one["unique_bad"] <= one["bad_hits"]
    tried = rule(tmp_path, "tried", "junk")
    code, text, errors = run("rules", "hits", "--rules", tried)
    assert code == 0 and "receipt_tried" in text and "new_sender" not in text, errors
    assert run("rules", "hits", "--out", str(out))[0] == 65
