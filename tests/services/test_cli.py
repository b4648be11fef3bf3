"""The command line: what it teaches, what it prints for scripts, and exit codes that they can trust."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailwarden.simulation.corpus import write_corpus
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.spool import Spool
from mailwarden_services.bootstrap import Platform

Run = Callable[..., tuple[int, str, str]]
COMMANDS = (
    "ingest", "reparse", "materialize", "starter", "train", "evaluate", "serve", "score", "skew", "status", "replay",
    "demo", "bench",
)  # fmt: skip


@pytest.fixture
def corpus(simulated: list[SimulatedMessage], tmp_path: Path) -> Path:
    """A folder of twenty messages, the last of them spam, with an index."""
    return write_corpus(tmp_path / "corpus", [*simulated[:19], _spam(simulated)])


def _spam(simulated: list[SimulatedMessage]) -> SimulatedMessage:
    return next(m for m in simulated[19:] if m.label == "SP")


def test_help_teaches_each_command(run: Run) -> None:
    code, text, _ = run("--help")
    assert code == 0
    assert all(f" {name} " in text for name in COMMANDS)
    assert "MAILWARDEN_HOME" in text and "Exit codes" in text
    for name in COMMANDS:
        code, text, _ = run(name, "--help")
        assert code == 0 and "Usage:" in text and f"mailwarden {name} " in text
        # Each option says what it is for.
        assert len(text.split()) > 25, name


def test_help_needs_neither_spark_nor_feast() -> None:
    """It must come at once."""
    script = (
        "import sys; sys.argv = ['mailwarden', '--help']\n"
        "from mailwarden_services.cli.application import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'pyspark', 'feast', 'catboost', 'sklearn'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_mail_is_ingested_once_and_what_is_missing_is_reported(run: Run, corpus: Path, warden: Any) -> None:
    with corpus.open("a") as index:
        index.write("spam mail/not-there.eml\n")
    words = ("ingest", str(corpus.parent), "--labels", str(corpus), "--tenant", "acme")
    code, text, errors = run(*words)
    assert code == 0, errors
    assert "20 messages read: 20 added, 0 known already; 20 labels" in text
    assert "1 labelled messages are missing" in text and "not-there.eml" in errors
    code, text, _ = run(*words)
    assert code == 0 and "0 added, 20 known already; 0 labels" in text
    assert len(warden.events()) == 40
    assert Platform(warden.settings).labels.count("acme") == 20


def test_a_label_counts_from_a_day_after_its_message_on_unless_its_index_says_when(
    run: Run, corpus: Path, warden: Any
) -> None:
    lines = corpus.read_text().splitlines()
    first, second = lines[0], lines[1]
    corpus.write_text("\n".join([f"{first}\t2026-04-01T00:00:00Z\tuser", f"{second}\taudit/50", *lines[2:]]) + "\n")
    code, text, errors = run("ingest", str(corpus.parent), "--labels", str(corpus), "--tenant", "acme")
    assert code == 0, errors
    assert "19 of 20 labels say no time, and count from 1 days after their mail on (--label-delay)" in text
    labels = {event.message_id: event for event in warden.events() if event.kind == "label"}
    messages = [event for event in warden.events() if event.kind == "message"]
    told = [labels[event.message_id] for event in messages]
    assert [(label.label_source, label.stands_for) for label in told[:3]] == [("user", 0), ("audit", 50), ("index", 0)]
    assert told[0].known_at_us == 1_775_001_600_000_000
    delays = {label.known_at_us - label.received_at_us for label in told[1:]}
    assert delays == {86_400_000_000}
    sources = {record.source for record in Platform(warden.settings).labels.page("acme")}
    assert sources == {"user", "audit", "index"}


def test_what_people_said_survives_another_ingest(run: Run, corpus: Path, warden: Any) -> None:
    words = ("ingest", str(corpus.parent), "--labels", str(corpus), "--tenant", "acme")
    assert run(*words)[0] == 0
    target = next(e for e in warden.events() if e.kind == "label")
    other = "SP" if target.label == "ham" else "ham"
    with warden.api() as api:
        assert api.label(message_id=target.message_id, label=other, known_at="2026-04-01T00:00:00Z").status_code == 201
    warden.drain()
    code, _, errors = run(*words)
    assert code == 0, errors
    sources = [(r.label, r.source) for r in Platform(warden.settings).labels.history("acme", target.message_id)]
    assert sorted(sources) == sorted([(target.label, "index")] * 2 + [(other, "analyst")])


def test_whoever_believes_nobody_is_told_whose_results_the_mail_bears(run: Run, corpus: Path) -> None:
    words = ("ingest", str(corpus.parent), "--tenant")
    code, _, errors = run(*words, "unsaid")
    told = " ".join(errors.split())
    assert code == 0 and "unsaid believes nobody's" in told
    server = told.partition(" --id ")[2].partition(";")[0]
    assert server and f"tenant trust unsaid --id {server}; mailwarden reparse" in told
    code, _, errors = run(*words, "said", "--trust", server)
    assert code == 0, errors
    assert "believes nobody's" not in errors


def test_a_new_tenant_is_made_with_its_domains(run: Run, corpus: Path, warden: Any) -> None:
    code, _, errors = run("ingest", str(corpus.parent), "--tenant", "newcomer")
    assert code == 0 and "no domain of the tenant is known" in errors
    assert run("ingest", str(corpus.parent), "--tenant", "newcomer", "--domain", "New.Example")[0] == 0
    assert Platform(warden.settings).tenants.get("newcomer").domains == ("new.example",)


@pytest.mark.parametrize(("words", "code", "said"), [
    (("ingest", "{folder}/nowhere"), 65, "nowhere"),
    (("ingest", "{folder}/empty"), 65, "no mail"),
    (("ingest", "{corpus}", "--labels", "{folder}/no-index"), 65, "no-index"),
    (("ingest", "{corpus}", "--labels", "{folder}/bad-index"), 65, "line 2"),
    (("score", "{folder}/two.mbox", "--tenant", "acme"), 65, "2 messages"),
    (("score", "{folder}/timeless.eml", "--tenant", "acme"), 65, "no time"),
    (("score", "{folder}/one.eml", "--tenant", "nobody"), 66, "nobody"),
    (("train", "no_such_detector"), 66, "no_such_detector"),
    (("tenant", "key", "nobody"), 66, "nobody"),
    (("replay", "{corpus}", "--labels", "x", "--out", "{folder}/o", "--train-until", "soon"), 78, "soon"),
    (("replay", "{corpus}", "--labels", "x", "--out", "{folder}/o", "--pretrain", "y"), 78, "--pretrain-labels"),
    (("replay", "{corpus}", "--labels", "x", "--out", "{folder}/o", "--reparse"), 78, "--retrain"),
    (("ingest",), 2, "Missing argument"),
    (("nonsense",), 2, "nonsense"),
])  # fmt: skip
def test_exit_codes_can_be_trusted(
    run: Run, corpus: Path, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad-index").write_text("ham mail/a.eml\nwhatever\n")
    (tmp_path / "one.eml").write_bytes(b"From: a@x.example\r\nDate: Mon, 2 Mar 2026 10:00:00 +0000\r\n\r\nhi\r\n")
    (tmp_path / "timeless.eml").write_bytes(b"From: a@x.example\r\nSubject: when\r\n\r\nhi\r\n")
    one = b"From a@x.example Mon Mar  2 10:00:00 2026\nFrom: a@x.example\nSubject: hi\n\nhi\n\n"
    (tmp_path / "two.mbox").write_bytes(one * 2)
    filled = [word.format(folder=tmp_path, corpus=corpus.parent) for word in words]
    found, text, errors = run(*filled)
    assert found == code, (text, errors)
    assert said in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(("name", "value"), [
    ("MAILWARDEN_PROJECT", "Not A Name"), ("MAILWARDEN_MAX_MESSAGE_BYTES", "many"), ("MAILWARDEN_REDIS_URL", "http://x"),
    ("MAILWARDEN_MAX_MESSAGE_BYTES", "-1"), ("MAILWARDEN_REDIS_TIMEOUT_SECONDS", "0"),
    ("MAILWARDEN_SPARK_SHUFFLE_PARTITIONS", "0"), ("MAILWARDEN_READING_SECONDS", "nan"),
])  # fmt: skip
def test_wrong_settings_are_told_by_name(run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    code, _, errors = run("status")
    assert code == 78, errors
    assert name in errors and "Traceback" not in errors


def test_a_path_that_cannot_be_is_words_and_69(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MAILWARDEN_HOME", str(tmp_path / "file" / "home"))
    code, _, errors = run("status")
    assert code == 69 and str(tmp_path / "file") in errors and "Traceback" not in errors


def test_a_redis_that_is_away_is_69(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAILWARDEN_REDIS_URL", f"unix://{tmp_path}/none.sock")
    code, _, errors = run("status")
    assert code == 69 and "Redis" in errors


def test_ingest_keeps_out_while_the_api_runs_or_the_spool_is_not_logged(
    run: Run, corpus: Path, warden: Any, simulated: list[SimulatedMessage]
) -> None:
    with Spool(warden.settings.spool_path, fsync=False):
        code, _, errors = run("ingest", str(corpus.parent), "--tenant", "acme")
        assert code == 69 and "another process" in errors
    with warden.api() as api:
        api.send(simulated[0])
    code, _, errors = run("ingest", str(corpus.parent), "--tenant", "acme")
    assert code == 69 and "not logged" in errors
    assert warden.events() == []


def test_status_for_scripts_and_for_people(run: Run, warden: Any, simulated: list[SimulatedMessage]) -> None:
    with warden.api() as api:
        for message in simulated[:3]:
            api.send(message)
    code, text, _ = run("status", "--json")
    assert code == 0
    found = json.loads(text)
    assert found["events"] == 0 and found["spool_bytes_not_logged"] > 0
    warden.drain()
    code, text, _ = run("status", "--json")
    found = json.loads(text)
    assert found["events"] == 3 and found["spool_bytes_not_logged"] == 0
    assert found["home"] == str(warden.settings.root)
    assert found["model"]["version"] == 1 and found["model"]["metrics"]["roca"] is not None
    assert found["tenants"]["acme"] == {"last_seq": 3, "online_seq": 3, "decisions": 3, "labels": 0}
    assert found["tenants"]["other"]["online_seq"] is None
    code, text, _ = run("status")
    assert code == 0 and "bundle 1 serves" in text and "acme" in text


def test_status_of_nothing_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAILWARDEN_HOME", str(tmp_path / "fresh"))
    code, text, _ = run("status")
    assert code == 0 and "mailwarden train" in text
    (tmp_path / "one.eml").write_bytes(b"From: a@x.example\r\nDate: Mon, 2 Mar 2026 10:00:00 +0000\r\n\r\nhi\r\n")
    assert run("tenant", "create", "t1")[0] == 0
    # By the rules alone, and it says so.
    code, text, _ = run("score", str(tmp_path / "one.eml"), "--tenant", "t1", "--json")
    answer = json.loads(text)
    assert code == 0 and (answer["starter"], set(answer["detectors"])) == ("rules", {"header_rules"})


def test_score_answers_as_the_api_does_and_leaves_no_trace(
    run: Run, warden: Any, seen_through: SimulatedMessage, tmp_path: Path
) -> None:
    chosen, file = seen_through, tmp_path / "attack.eml"
    file.write_bytes(chosen.raw)
    code, text, errors = run("score", str(file), "--tenant", "acme", "--json")
    assert code == 0, errors
    answer = json.loads(text)
    assert answer["path"] == str(file) and answer["decision_id"] is None
    with warden.api() as api:
        served = api.score(chosen.raw, path="/v1/score?observe=false").json()
    assert {k: v for k, v in answer.items() if k != "path"} == served
    assert warden.events() == [] and warden.online() == {}
    code, text, _ = run("score", str(file), str(file), "--tenant", "acme")
    assert code == 0 and text.count(answer["verdict"] + "  score") == 2
    assert all(signal["words"] in text for signal in answer["signals"])


def test_keys_are_shown_once_and_work(run: Run, warden: Any) -> None:
    assert run("tenant", "create", "t1", "--domain", "t1.example")[0] == 0
    code, text, _ = run("tenant", "key", "t1")
    assert code == 0
    assert Platform(warden.settings).tenants.authenticate(text.strip()).tenant == "t1"
    code, text, _ = run("tenant", "list")
    assert code == 0 and "t1.example" in text and "mw_" not in text
    assert run("tenant", "create", "t1")[0] == 65


def test_a_script_sees_words_and_a_code(warden: Any, tmp_path: Path) -> None:
    environment = {**os.environ, "MAILWARDEN_HOME": str(tmp_path / "fresh")}
    found = subprocess.run(
        [sys.executable, "-m", "mailwarden_services.cli", "ingest", str(tmp_path / "nowhere")],
        env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert found.returncode == 65
    assert found.stdout == ""
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("DataError: ") and "nowhere" in last and "Traceback" not in found.stderr


def test_whom_a_tenant_trusts_is_shown_and_changed(run: Run, warden: Any) -> None:
    assert run("tenant", "create", "t1", "--trust", "mx.t1.example")[0] == 0
    code, text, _ = run(
        "tenant", "trust", "t1", "--hop", ".cloud.example", "--topmost", "1", "--sealer", "list.example"
    )
    assert code == 0 and "mx.t1.example" in text and ".cloud.example" in text
    trust = Platform(warden.settings).tenants.get("t1").trusts
    assert (trust.topmost, trust.behind) == (1, 0)
    assert (
        run("tenant", "trust", "t1", "--remove", "mx.t1.example", "--remove", ".cloud.example", "--topmost", "0")[0]
        == 0
    )
    trust = Platform(warden.settings).tenants.get("t1").trusts
    assert not trust.believes and trust.sealers == {"list.example"}
    assert run("tenant", "trust", "t1", "--behind", "1")[0] == 65
    assert run("tenant", "trust", "nobody")[0] == 66
