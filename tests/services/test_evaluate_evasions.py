"""`mailwarden evaluate --evasions`: what is tried is scored as the API scored it, and leaves no trace."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from mailwarden.evaluation.evasions import share_of_groups
from mailwarden.settings import Settings
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.simulation.evasions.catalog import AS_IT_WAS, pairs, singles
from mailwarden.stores.online.client import open_client
from mailwarden.stores.online.server import RedisServer
from mailwarden_services.bootstrap import Platform
from mailwarden_services.cli import application, progress
from mailwarden_services.evaluation.evasions.attacks import in_turn
from mailwarden_services.evaluation.evasions.trials import Trying
from mailwarden_services.evaluation.evasions.walk import Acquaintances, Moment, walk

ATTACKS = 4
MOMENTS, MESSAGES = 15, 70
KNOWN_AT = "2026-06-01T00:00:00Z"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def home(
    model_home: Any,
    redis_server: RedisServer,
    simulated: list[SimulatedMessage],
    tmp_path_factory: pytest.TempPathFactory,
    warden_type: Any,
) -> Any:
    """A home whose API decided on messages, the first each folded before the next came, with labels of all; the
    answers, and the messages."""
    folder = tmp_path_factory.mktemp("evasions") / "home"
    shutil.copytree(model_home.folder, folder)
    with open_client(redis_server.url, timeout_seconds=10) as client:
        client.flushall()
    url = SecretStr(redis_server.url)
    settings = Settings(home=folder, redis_url=url, redis_timeout_seconds=10.0, spool_fsync=False)
    warden = warden_type(settings, model_home.keys)
    mail = [*simulated[:MOMENTS], *(one for one in simulated[MOMENTS:] if one.label != "ham")][:MESSAGES]
    answers: list[dict[str, Any]] = []
    with warden.api() as api:
        writer = None
        for number, message in enumerate(mail):
            answers.append(api.send(message))
            # The first are read again as they were read then, which takes that all was folded.
            writer = warden.drain(writer) if number < MOMENTS else writer
        for answer, message in zip(answers, mail, strict=True):
            assert api.label(message_id=answer["message_id"], label=message.label, known_at=KNOWN_AT).status_code < 300
        warden.drain(writer)
    return warden, answers, mail


@pytest.fixture
def evaluate(
    home: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `mailwarden evaluate --evasions ...`: exit code, standard output, standard error."""
    for name in [name for name in os.environ if name.startswith("MAILWARDEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setattr(progress.out, "width", 250)
    monkeypatch.setenv("MAILWARDEN_HOME", str(home[0].settings.root))

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mailwarden", "evaluate", "--evasions", *words])
        capsys.readouterr()
        try:
            application.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of all that lies in a home, but for locks."""
    found = (path for path in root.rglob("*") if path.is_file() and not path.name.endswith((".lock", "-shm", "-wal")))
    return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def test_attacks_are_shown_otherwise_and_what_becomes_of_each_is_told(home: Any, evaluate: Run, tmp_path: Path) -> None:
    warden, answers, mail = home
    before = files(warden.settings.root)
    words = ("--attacks", str(ATTACKS), "--pairs", "1", "--tenant", "acme")
    code, text, errors = evaluate(*words, "--out", str(tmp_path / "found"))
    assert code == 0, errors
    assert files(warden.settings.root) == before
    rows = pq.read_table(tmp_path / "found" / "trials.parquet").to_pylist()
    found = json.loads((tmp_path / "found" / "evasions.json").read_text())
    answered = {answer["message_id"]: (answer, message.label) for answer, message in zip(answers, mail, strict=True)}
    for row in rows:
        answer, label = answered[row["message_id"]]
        assert (row["verdict_before"], row["category"]) == (answer["verdict"], label)
        assert row["log_odds_before"] == pytest.approx(answer["log_odds"], rel=1e-12)
        assert answer["verdict"] in ("junk", "quarantine")
    tried = {row["message_id"] for row in rows}
    assert len(tried) == ATTACKS and len({row["category"] for row in rows}) == ATTACKS
    of = Counter(row["evasion"] for row in rows)
    assert of[AS_IT_WAS] == ATTACKS
    assert of.keys() <= {AS_IT_WAS, *(guise.name for guise in (*singles(), *pairs()))}
    assert {name: of[name] for name in ("hidden: display", "list headers: of a newsletter")} == {
        "hidden: display": ATTACKS, "list headers: of a newsletter": ATTACKS,
    }  # fmt: skip
    kinds = {one["name"]: one for one in found["by_kind"]}
    for name, one in kinds.items():
        own = [row for row in rows if row["kind"] == name and row["single"]]
        assert one["delivered"]["hits"] == sum(row["verdict"] == "deliver" for row in own)
        assert one["held"]["hits"] == sum(row["verdict"] in ("junk", "quarantine") for row in own)
        assert (one["trials"], one["attacks"]) == (len(own), len({row["message_id"] for row in own}))
        assert one["held"]["low"] <= one["held"]["rate"] <= one["held"]["high"]
    assert {"hidden", "warm-up", "thread", "attached"} <= kinds.keys()
    page = (tmp_path / "found" / "report.md").read_text()
    for picture in ("kinds", "categories", "pairs"):
        assert f"({picture}.png)" in page and (tmp_path / "found" / f"{picture}.png").stat().st_size > 5_000
    assert "@" not in page and "By kind of evasion" in text and "By kind of evasion" in page
    assert f"there are {ATTACKS} attacks that are caught" in errors
    again = tmp_path / "again"
    assert evaluate(*words, "--out", str(again))[0] == 0
    assert pq.read_table(again / "trials.parquet").to_pylist() == rows


def moments(platform: Platform, wanted: set[str]) -> Iterator[Moment]:
    view = platform.facts.view("acme")
    stops = {name: event.seq for name, event in view.find_all("acme", wanted).items()}
    return walk(view, "acme", platform.activity, stops, Acquaintances((), ()))


def test_a_moment_s_vector_is_the_one_that_served(home: Any) -> None:
    warden, answers, mail = home
    sent = {answer["message_id"]: message for answer, message in zip(answers[:MOMENTS], mail, strict=False)}
    platform = Platform(warden.settings)
    trying, tenant = Trying(platform, None), platform.tenants.get("acme")
    seen = 0
    for moment in moments(platform, set(sent)):
        event = moment.event
        row = platform.raw.of_messages("acme", {event.message_id: event.received_at_us})[event.message_id]
        reading = trying.reading(row.raw, row.envelope, tenant)
        asked = replace(reading.event, campaign=event.campaign)
        scored = trying.score(moment, reading, asked, tenant, ())
        assert moment.campaign_of(reading.event) == event.campaign
        logged = {
            one["recipient"]: one for one in platform.vectors.of_message("acme", event.message_id, event.received_at_us)
        }
        assert len(logged) == len(scored.rows) > 0
        for served in scored.rows:
            for view in platform.activity:
                names = [feature.name for feature in view.features]
                wanted = [logged[served.recipient][f"{view.name}__{name}"] for name in names]
                assert served.values[view.name] == wanted, view.name
                assert served.status[view.name] == logged[served.recipient][f"{view.name}__status"]
                seen += sum(value is not None for value in wanted)
    assert seen > 500


def test_who_knows_whom_is_found_in_the_past_alone(home: Any) -> None:
    warden, _, _ = home
    platform = Platform(warden.settings)
    bad = [name for name, label in platform.facts.view("acme").labels("acme").items() if label != "ham"]
    events = [event for event in warden.events() if event.tenant == "acme" and event.kind == "message"]
    # As if who got the first message had written it.
    first = events[0]
    writer, other = first.recipients[0], first.sender
    outbound = replace(
        first, direction="outbound", sender=writer, sender_domain=first.recipient_domains[0], recipients=(other,),
        recipient_domains=(first.sender_domain,),
    )  # fmt: skip
    known = Acquaintances([writer], bad)
    asked = replace(events[0], sender="x@attacker.example", sender_domain="attacker.example", recipients=(writer,))
    reply = replace(
        outbound, direction="inbound", sender=other, sender_domain=outbound.recipient_domains[0], recipients=(writer,),
        message_id="reply", seq=outbound.seq + 1,
    )  # fmt: skip
    assert known.partner(asked) is None
    known.add(outbound)
    assert known.partner(asked) is None and known.new_to(writer, [other, "n@n.example"]) == ("n@n.example",)
    known.add(reply)
    partner = known.partner(asked)
    assert partner is not None and partner.message_id == "reply"
    assert known.partner(replace(asked, sender_domain=reply.sender_domain)) is None
    assert known.colleague(asked) is None
    known.add(replace(outbound, direction="internal", sender="c@own.example", recipients=(writer,), message_id="i"))
    colleague = known.colleague(asked)
    assert colleague is not None and colleague.message_id == "i"
    known.add(replace(reply, message_id=bad[0], received_at_us=reply.received_at_us + 1))
    assert known.partner(asked) == partner


def test_attacks_are_drawn_by_category_in_turn_and_few_a_campaign() -> None:
    found = [("t", f"{label}{n}", n, label, n // 10 if label == "SP" else 100 + n, n % 2 == 0)
             for label in ("CP", "SP") for n in range(40)]  # fmt: skip
    chosen = in_turn(found, 3, 16, 2)
    assert [one[3] for one in chosen] == ["CP", "SP"] * 8
    assert max(Counter(one[4] for one in chosen).values()) == 2
    assert all(one[5] for one in chosen if one[3] == "CP")
    assert chosen == in_turn(list(reversed(found)), 3, 16, 2) != in_turn(found, 4, 16, 2)


def test_copies_of_one_campaign_widen_an_interval() -> None:
    hits, alone = np.array([True] * 30 + [False] * 30), np.arange(60)
    each, together = share_of_groups(hits, alone), share_of_groups(hits, alone // 10)
    assert (each.hits, each.n, each.rate) == (together.hits, together.n, together.rate) == (30, 60, 0.5)
    assert together.high - together.low > 2 * (each.high - each.low)
    assert share_of_groups(np.ones(60, bool), alone // 30).low < 0.4
    assert share_of_groups(np.zeros(0, bool), np.zeros(0, int)).n == 0


@pytest.mark.parametrize(("words", "code", "said"), [
    (("--served",), 78, "--evasions goes with --bundle"),
    (("--against", "1"), 78, "--evasions goes with --bundle"),
    (("--tenant", "other"), 65, "no attack is labelled; ingest mail with"),
    (("--bundle", "9"), 66, "has no version 9"),
])  # fmt: skip
def test_what_cannot_be_asked_is_told_with_the_mend(
    evaluate: Run, words: tuple[str, ...], code: int, said: str
) -> None:
    found, text, errors = evaluate(*words)
    assert found == code, (text, errors)
    assert said in errors and "Traceback" not in errors
