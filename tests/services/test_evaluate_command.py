"""`mailwarden evaluate` on a small home: what it finds is what the API answered, and what it refuses is said."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from mailwarden.materialize.content import materialize_content
from mailwarden.settings import Settings
from mailwarden.simulation.company import company
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.content_code import content_set
from mailwarden.stores.lists import load_lists
from mailwarden.stores.online.client import open_client
from mailwarden.stores.online.server import RedisServer
from mailwarden.testing.content_models import train_on_content
from mailwarden.training.register import register
from mailwarden_detectors import discover as discover_detectors
from mailwarden_features import discover as discover_features
from mailwarden_services.bootstrap import Platform
from mailwarden_services.calibrating import calibrate_again, calibrated
from mailwarden_services.cli import application, progress
from mailwarden_services.evaluation import report
from mailwarden_services.loop import Loop, TenantParser

SEED = 7
MESSAGES = 150
KNOWN_AT = "2026-06-01T00:00:00Z"
HELD = ("junk", "quarantine")
Run = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Served:
    """A home whose API decided on messages. answers: by message_id. labels: of those that have one."""

    settings: Settings
    answers: dict[str, dict[str, Any]]
    labels: dict[str, str]
    forgotten: str


@pytest.fixture(scope="module")
def served(
    model_home: Any,
    redis_server: RedisServer,
    simulated: list[SimulatedMessage],
    tmp_path_factory: pytest.TempPathFactory,
    warden_type: Any,
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("evaluate")
    shutil.copytree(model_home.folder, folder / "home")
    with open_client(redis_server.url, timeout_seconds=10) as client:
        client.flushall()
    settings = Settings(
        home=folder / "home",
        redis_url=SecretStr(redis_server.url),
        redis_timeout_seconds=2.0,
        spool_fsync=False,
        spark_shuffle_partitions=2,
        spark_driver_memory="1g",
    )
    warden = warden_type(settings, model_home.keys)
    answers, labels = {}, {}
    with warden.api() as api:
        for number, message in enumerate(simulated[:MESSAGES]):
            answer = api.send(message)
            answers[answer["message_id"]] = answer
            if number % 10:
                given = {"message_id": answer["message_id"], "label": message.label, "known_at": KNOWN_AT}
                assert api.label(**given).status_code < 300
                labels[answer["message_id"]] = message.label
        # One label is taken back, one corrected, one message forgotten.
        back, corrected, forgotten = list(labels)[3], list(labels)[5], list(labels)[7]
        warden.drain()
        assert api.client.post(f"/v1/messages/{forgotten}/forget", json={}).status_code < 300
        assert api.client.delete(f"/v1/messages/{back}/label", params={"known_at": KNOWN_AT}).status_code < 300
        assert api.label(message_id=corrected, label="BE", known_at=KNOWN_AT).status_code < 300
        warden.drain()
    labels[corrected] = "BE"
    for gone in (back, forgotten):
        del labels[gone]
    yield Served(settings, answers, labels, forgotten)


@pytest.fixture(scope="module")
def two_bundles(served: Served, simulated: list[SimulatedMessage]) -> Served:
    """The same with content computed offline, and a second bundle, of two detectors, that does not serve."""
    platform = Platform(served.settings)
    names = ("header_rules", "message_text")
    trained = train_on_content(
        simulated,
        content_set(discover_features().content, load_lists()),
        {name: kind for name, kind in discover_detectors().items() if name in names},
        authserv_id=company(SEED).authserv_id,
        withheld=[view.name for view in discover_features().activity],
        seed=SEED,
    )
    register(trained, platform.registry, platform.artefacts, code_revision="tests", created_us=9)
    trusted = {tenant.name: tenant.trusts for tenant in platform.tenants.list()}
    materialize_content(Loop(platform).spark, served.settings, platform.content, TenantParser(trusted))
    return served


@pytest.fixture
def judge(command: Run) -> Run:
    """Runs `mailwarden evaluate ...` over that home: exit code, standard output, standard error."""
    return lambda *words: command("evaluate", *words)


@pytest.fixture
def command(served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `mailwarden ...` over that home: exit code, standard output, standard error."""
    for name in [name for name in os.environ if name.startswith("MAILWARDEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setattr(progress.out, "width", 250)
    monkeypatch.setenv("MAILWARDEN_HOME", str(served.settings.root))
    monkeypatch.setenv("MAILWARDEN_REDIS_URL", served.settings.redis_url.get_secret_value())
    monkeypatch.setenv("MAILWARDEN_SPARK_SHUFFLE_PARTITIONS", "2")
    monkeypatch.setenv("MAILWARDEN_SPARK_DRIVER_MEMORY", "1g")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mailwarden", *words])
        capsys.readouterr()
        try:
            application.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def read(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """evaluation.json, and the scored table by message_id."""
    rows = pq.read_table(folder / "scored.parquet").to_pylist()
    return json.loads((folder / "evaluation.json").read_text()), {row["message_id"]: row for row in rows}


def test_what_was_served_is_judged_as_it_was_answered(judge: Run, served: Served, tmp_path: Path) -> None:
    code, text, errors = judge("--served", "--out", str(tmp_path / "found"), "--slice", "first_contact")
    assert code == 0, errors
    found, rows = read(tmp_path / "found")
    assert set(rows) == set(served.answers) - {served.forgotten}
    for message_id, row in rows.items():
        answer = served.answers[message_id]
        assert (row["verdict"], row["category"]) == (answer["verdict"], answer["category"])
        assert row["log_odds"] == pytest.approx(answer["log_odds"], rel=1e-14)
        assert row["label"] == served.labels.get(message_id)
        for name, said in answer["detectors"].items():
            assert 1 / (1 + math.exp(-row[f"{name}__log_odds"])) == pytest.approx(said["score"])
            assert row[f"{name}__missing"] is None and row[f"{name}__milliseconds"] > 0
    bad = [m for m, label in served.labels.items() if label != "ham"]
    good = [m for m, label in served.labels.items() if label == "ham"]
    assert (found["bad"], found["good"], found["unlabelled"]) == (len(bad), len(good), len(rows) - len(served.labels))
    deployed = found["whole"]["deployed"]
    for name, of in (("bad_held_back", bad), ("good_held_back", good)):
        held = sum(served.answers[m]["verdict"] in HELD for m in of)
        assert (deployed[name]["hits"], deployed[name]["n"]) == (held, len(of))
        assert deployed[name]["low"] <= deployed[name]["rate"] <= deployed[name]["high"]
    labels = Counter(served.labels[m] for m in bad)
    assert {part["name"]: part["bad"] for part in found["by_category"]} == labels
    contacts = Counter(row["slice__first_contact"] for row in rows.values())
    assert {part["name"]: part["n"] for part in found["slices"]["first_contact"]} == contacts
    assert set(contacts) == {"first contact", "known"}
    assert {row["slice__authentication"] for row in rows.values()} >= {"authenticated"}
    assert "first contact" in text and f"{len(bad)} bad" in text and "ms a message, mean / p99" in text
    assert "are of messages that were forgotten" in errors and "not recorded which messages bundle 1 learned" in errors


def test_faults_are_tried_on_the_mail_that_is_labelled(judge: Run, two_bundles: Served, tmp_path: Path) -> None:
    code, text, errors = judge("--faults", "--out", str(tmp_path / "faults"))
    assert code == 0, errors
    found = json.loads((tmp_path / "faults" / "faults.json").read_text())
    good = sum(label == "ham" for label in two_bundles.labels.values())
    assert found["tenants"]["acme"][0] == good
    by_share = {one["share"]: one["faults"] for one in found["shares"]}
    assert set(by_share) == {0.05, 0.01, 0.002}
    assert {(one["fault"], one["of"]) for one in by_share[0.05]} >= {
        ("nothing", ""), ("away", "header_rules"), ("fires on everything", "message_text"),
        ("holds everything down", "spam"),
    }  # fmt: skip
    assert all(one["good_held"]["n"] == good for one in by_share[0.01])
    assert "fires on everything" in text and "set aside after" in text
    code, _, errors = judge("--faults", "--served")
    assert code == 78 and "--faults goes with" in errors


def test_the_report_has_its_pictures_and_says_how_it_came_about(judge: Run, served: Served, tmp_path: Path) -> None:
    out = tmp_path / "found"
    code, text, _ = judge("--served", "--out", str(out), "--budget", "0.2")
    assert code == 0 and str(out / "report.md") in text
    page = (out / "report.md").read_text()
    for picture in ("scores", "recall", "reliability"):
        assert f"({picture}.png)" in page and (out / f"{picture}.png").stat().st_size > 5_000
    assert "recall at 20% FPR" in page and "--served --out" in page and "By language" in page
    assert "@" not in page and not list(tmp_path.glob(".*"))
    assert json.loads((out / "evaluation.json").read_text())["budgets"] == [0.2]


def test_labelled_mail_judged_now_is_as_it_was_judged_then(
    judge: Run, two_bundles: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = two_bundles
    code, text, errors = judge("--against", "2", "--out", str(tmp_path / "found"), "--slice", "tenant=acme")
    assert code == 0, errors
    found, rows = read(tmp_path / "found")
    assert rows.keys() == served.labels.keys()
    for message_id, row in rows.items():
        assert row["log_odds"] == pytest.approx(served.answers[message_id]["log_odds"], rel=1e-12)
        assert (row["verdict"], row["category"], row["label"]) == (
            served.answers[message_id]["verdict"], served.answers[message_id]["category"], served.labels[message_id],
        )  # fmt: skip
    other = {row["message_id"]: row for row in pq.read_table(tmp_path / "found" / "against.parquet").to_pylist()}
    assert other.keys() == rows.keys() and {row["bundle"] for row in other.values()} == {2}
    flips = {message_id for message_id, row in rows.items() if row["verdict"] != other[message_id]["verdict"]}
    assert set(pq.read_table(tmp_path / "found" / "flips.parquet")["message_id"].to_pylist()) == flips
    comparison = found["comparison"]
    assert (comparison["first"], comparison["second"], comparison["flipped"]) == (2, 1, len(flips))
    assert sum(flip["messages"] for flip in comparison["flips"]) == len(flips)
    good = [m for m, label in served.labels.items() if label == "ham"]
    shares = [sum(table[m]["verdict"] in HELD for m in good) / len(good) for table in (other, rows)]
    assert comparison["good_held_back"]["difference"] == pytest.approx(shares[1] - shares[0])
    without = {one["name"]: one["without"] for one in found["detectors"]}
    bundle = Platform(served.settings).bundle(1)[1]
    for name, one in without.items():
        # The API's tenant is the one that they learned from.
        kept = bundle.without[name].serving(own="acme" in bundle.whole.known)
        lost = 0
        for row in rows.values():
            others = {n: row[f"{n}__log_odds"] for n in without if n != name}
            spoke = {n: value for n, value in others.items() if value is not None}
            left = kept.fusion.intercept + sum(
                kept.fusion.weights[n] * value + kept.fusion.offsets.get(n, 0.0) for n, value in spoke.items()
            )
            assert left == pytest.approx(row[f"without__{name}"])
            lost += row["label"] != "ham" and row["verdict"] in HELD and left < kept.thresholds.junk
        assert one["lost"]["hits"] == lost
    assert "Bundle 1 beside bundle 2" in text and "change their verdict" in text
    groups = {one["name"]: one for one in found["groups"]}
    # Its detectors were trained without histories.
    assert groups.keys() == {"message"}
    bad = [m for m, label in served.labels.items() if label != "ham"]
    for name, group in groups.items():
        column = f"hidden__{name.replace(' ', '_')}__verdict"
        for part, of in (("bad_held_back", bad), ("good_held_back", good)):
            held = sum(rows[m][column] in HELD for m in of)
            assert group[part]["second"] == pytest.approx(held / len(of))
            assert group[part]["first"] == pytest.approx(sum(rows[m]["verdict"] in HELD for m in of) / len(of))
        assert not group["outage"]
    assert any(row["hidden__message__log_odds"] != row["log_odds"] for row in rows.values())
    assert "What is lost without a group of features" in text
    page = (tmp_path / "found" / "report.md").read_text()
    assert "What is lost without a group of features" in page and "Errors and their gaps" in page
    kinds = {one["kind"]: one for one in found["gaps"]["kinds"]}
    errors = {
        "missed": {m for m in bad if rows[m]["verdict"] not in HELD},
        "wrongly held": {m for m in good if rows[m]["verdict"] in HELD},
    }
    listed = pq.read_table(tmp_path / "found" / "errors.parquet").to_pylist()
    for kind, own in errors.items():
        assert kinds[kind]["errors"] == len(own) == kinds[kind]["sampled"]
        assert {row["message_id"] for row in listed if row["kind"] == kind} == own
        of_gaps = sum(gap["errors"] for gap in found["gaps"]["gaps"] if gap["kind"] == kind)
        assert of_gaps + kinds[kind]["of_no_gap"] == len(own)
    rights = {m: rows[m]["verdict"] in HELD for m in rows if m not in errors["missed"] | errors["wrongly held"]}
    for row in listed:
        assert all(rights[m] == (row["kind"] == "wrongly held") for m in row["nearest_of_other_class"])
    with duckdb.connect() as database:
        monkeypatch.chdir(tmp_path / "found")
        database.execute(Path("views.sql").read_text())
        assert database.sql("SELECT count(*) FROM errors").fetchall() == [(len(listed),)]
        assert database.sql("SELECT count(*) FROM gaps").fetchall() == [(len(found["gaps"]["gaps"]),)]
        assert database.sql("SELECT count(*) FROM scored").fetchall() == [(len(rows),)]


@pytest.mark.parametrize(("words", "code", "said"), [
    (("--bundle", "9"), 66, "has no version 9. Versions there are: 1"),
    (("--served", "--bundle", "9"), 66, "has no version 9"),
    (("--out", "{folder}"), 65, "exists; choose another folder"),
    (("--slice", "langage"), 65, "no slice 'langage'. Did you mean 'language'"),
    (("--slice", "colour=red"), 65, "There are authentication, direction"),
    (("--served", "--slice", "tenant=other"), 65, "no message that was judged has tenant 'other'"),
    (("--served", "--slice", "label=ham"), 65, "labels, and all say good: recall within a false-positive budget needs"),
    (("--served", "--labels-known-by", "2026-01-01"), 65, "has a label; give labels"),
    (("--served", "--until", "2001-01-01"), 66, "nothing was decided yet of that time"),
    (("--served", "--tenant", "nobody"), 66, "nobody"),
    (("--served", "--against", "1"), 78, "judged by one bundle alone; leave --served out"),
    (("--budget", "2"), 78, "--budget 2 is no share of good mail"),
    (("--by", "campain"), 78, "Did you mean 'campaign'"),
    (("--from", "soon"), 65, "'soon' is no time"),
])  # fmt: skip
def test_bad_input_is_told_with_the_mend_before_spark_starts(
    judge: Run, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int,
    said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(Loop, "spark", property(lambda self: pytest.fail("Spark was started")))
    found, text, errors = judge(*(word.format(folder=tmp_path) for word in words))
    assert found == code, (text, errors)
    assert said in errors and "Traceback" not in errors


def test_a_home_without_models_or_decisions_says_what_to_do(
    judge: Run, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILWARDEN_HOME", str(tmp_path / "empty"))
    code, _, errors = judge("--served")
    assert code == 66 and "no model serves yet; run `mailwarden train`" in errors


def test_nothing_half_written_stays(
    judge: Run, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(out: Path, *_: Any) -> None:
        assert (out / "scored.parquet").exists()
        raise OSError(28, "No space left on device", str(out / "scores.png"))

    monkeypatch.setattr(report, "draw_pictures", breaks)
    code, _, errors = judge("--served", "--out", str(tmp_path / "found"))
    assert code == 69 and "No space left" in errors
    assert list(tmp_path.iterdir()) == []


def test_thresholds_of_a_tenant_are_found_by_its_own_mail(
    command: Run, two_bundles: Served, simulated: list[SimulatedMessage], tmp_path: Path
) -> None:
    """Last, since another bundle serves then."""
    platform, tenant = Platform(two_bundles.settings), "acme"
    trained = train_on_content(
        simulated,
        content_set(discover_features().content, load_lists()),
        {"header_rules": discover_detectors()["header_rules"]},
        authserv_id=company(SEED).authserv_id,
        withheld=[view.name for view in discover_features().activity],
        seed=SEED,
        tenant="elsewhere",
    )
    register(trained, platform.registry, platform.artefacts, code_revision="tests", created_us=10, promote="tests")
    record, bundle = platform.bundle(None)
    whole = bundle.whole
    assert whole.tail is not None and whole.learned == {"elsewhere"}
    unseen = whole.thresholds_of(tenant)
    code, text, _ = command("calibrate", "--tenant", tenant)
    assert code == 0 and "labels" in text
    promoted, moved = platform.bundle(None)
    assert promoted.version > record.version and f"bundle {promoted.version} serves" in text
    assert moved.members == bundle.members and moved.whole.thresholds_of(tenant) != unseen
    assert moved.whole.thresholds_of("another") == whole.thresholds_of("another")
    kept = moved.record["calibrated"]
    assert kept["of"] == record.version and kept["tenants"][tenant]["labelled"]
    # Judged by them, and nothing but thresholds differs.
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, version in ((one, record.version), (other, promoted.version)):
        assert command("evaluate", "--bundle", str(version), "--out", str(folder))[0] == 0
    before, after = read(one)[1], read(other)[1]
    steps = moved.whole.thresholds_of(tenant)
    for message_id, row in after.items():
        assert row["log_odds"] == before[message_id]["log_odds"]
        assert row["verdict"] == steps.verdict(row["log_odds"])
    assert command("calibrate", "--tenant", "nobody")[0] != 0
    # Another bundle that takes over knows nothing of the tenant until it is asked again.
    assert calibrated(platform) == (tenant,)
    register(trained, platform.registry, platform.artefacts, code_revision="tests", created_us=20, promote="tests")
    assert platform.bundle(None)[1].whole.thresholds_of(tenant) == unseen and calibrated(platform) == ()
    again = calibrate_again(Loop(platform), (tenant,), now_us=time.time_ns() // 1_000)
    assert again is not None and set(again["tenants"]) == {tenant}
    assert platform.bundle(None)[1].whole.thresholds_of(tenant) == steps
    # A tenant that it learned from has thresholds by that.
    assert calibrate_again(Loop(platform), ("elsewhere",), now_us=time.time_ns() // 1_000) is None
