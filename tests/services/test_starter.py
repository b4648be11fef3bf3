"""What serves before anybody has trained: rules alone, then models of the simulated world; and that all say so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mailwarden.domain.detection.tail import Tail
from mailwarden.settings import Settings
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.simulation.site_lists import write_lists
from mailwarden.stores.lists import load_lists
from mailwarden.stores.sql.keys import TENANT_ROLES
from mailwarden.training.own_good import raised_by
from mailwarden.training.prepare import TrainingInput
from mailwarden.training.thresholds import Budgets
from mailwarden.training.train import Trained
from mailwarden_detectors import discover
from mailwarden_services.bootstrap import Platform
from mailwarden_services.loop import Loop
from mailwarden_services.serving import announced
from mailwarden_services.starter.build import build_starter
from mailwarden_services.starter.rules import have_rules_serve
from mailwarden_services.starter.world import World, WorldRows, world_rows

Run = Callable[..., tuple[int, str, str]]
SMALL = World(seed=3, days=10, messages_per_day=60)


@contextlib.contextmanager
def quiet(*_: object) -> Iterator[Callable[[Any], None]]:
    """A bar that shows nothing."""
    yield lambda _: None


@pytest.fixture
def bare(warden: Any, warden_type: Any, tmp_path: Path) -> Any:
    """A home with a tenant and no model."""
    settings = warden.settings.model_copy(update={"home": tmp_path / "bare"})
    platform = Platform(settings)
    platform.tenants.create("acme", domains=("example-corp.example",), created_us=1)
    return warden_type(settings, {"acme": platform.tenants.issue_key("acme", "tests", 1, TENANT_ROLES)})


def test_an_empty_home_is_served_by_rules_in_monitor_and_every_answer_says_so(
    bare: Any, simulated: list[SimulatedMessage], trained_bundle: Trained
) -> None:
    platform = Platform(bare.settings)
    record = have_rules_serve(platform, at_us=5)
    assert record is not None and platform.starter() == "rules"
    assert any("rules alone, nothing is learned" in line for line in announced(platform, "here", None))
    phishing = next(m for m in simulated if m.label == "CP")
    with bare.api() as api:
        answer = api.send(phishing)
        assert (answer["starter"], answer["model_version"], answer["action"]) == ("rules", record.version, "accept")
        assert answer["detectors"].keys() == {"header_rules"} and answer["signals"] and not answer["degraded"]
        parts = api.score(phishing.raw, phishing.envelope, path="/v1/mail").json()["tenants"]
        assert [part["starter"] for part in parts] == ["rules"]
        said = api.client.get("/readyz", headers=bare.headers()).json()
        assert said["starter"] == "rules"
        assert api.client.get(f"/v1/messages/{answer['message_id']}").json()["decision"]["starter"] == "rules"
    # A tenant's own training takes over, and no start takes it back.
    bare.promote(trained_bundle)
    assert have_rules_serve(Platform(bare.settings), at_us=6) is None
    with bare.api() as api:
        assert api.send(next(m for m in simulated if m.label == "SC"))["starter"] is None


def test_headers_and_rspamd_name_a_starter(bare: Any, simulated: list[SimulatedMessage]) -> None:
    platform = Platform(bare.settings)
    have_rules_serve(platform, at_us=5)
    message = next(m for m in simulated if m.label == "CP")
    platform.tenants.update("acme", policy={"mode": "enforce"})
    with bare.api() as api:
        sent = {"rcpt": "u@example-corp.example", "from": "a@b.example"}
        found = api.client.post("/checkv2", content=message.raw, headers=sent).json()
        assert found["symbols"]["MW_STARTER"]["options"] == ["rules"]
        assert found["milter"]["add_headers"]["X-Mailwarden-Starter"]["value"] == "rules"


def test_rules_are_registered_once_and_again_where_they_changed(bare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = Platform(bare.settings)
    first, again = have_rules_serve(platform, at_us=5), have_rules_serve(platform, at_us=6)
    assert first is not None and again is not None and first.version == again.version
    monkeypatch.setattr(platform.detectors["header_rules"], "version", 99)
    later = have_rules_serve(platform, at_us=7)
    assert later is not None and later.version == first.version + 1 == platform.serving_version()


def test_nothing_of_a_starter_is_kept_beside_what_is_trained(bare: Any) -> None:
    platform = Platform(bare.settings)
    have_rules_serve(platform, at_us=5)
    assert Loop(platform)._kept(["behaviour"], []) == (None, {})


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> WorldRows:
    """A small world as rows."""
    platform = Platform(Settings(home=tmp_path_factory.mktemp("world")))
    return world_rows(platform, SMALL, discover(), lambda _: None)


def test_a_world_is_read_with_its_history_and_labels_count_from_a_day_on(small: WorldRows) -> None:
    rows, table = small.found.rows, small.found.features["behaviour"]
    mail = list(SMALL.mail())
    assert small.messages == len(mail) == rows.n_messages
    first = rows.of_messages()
    assert [rows.labels[row] for row in first] == [message.label for message in mail]
    known = table.columns["sender_activity:history"]
    # The first message of all meets nobody who is known, and most mail later comes from somebody who is.
    assert not known[0] and np.mean(known[rows.n // 2 :] > 0) > 0.5
    labelled = [name for name in table.columns if "labelled" in name or "bad_share" in name or "reported" in name]
    day_us = 86_400_000_000
    early = rows.at_us < rows.at_us[0] + day_us
    for name in labelled:
        assert not np.nan_to_num(table.columns[name][early]).any(), name


def test_a_starter_is_built_of_the_world_alone_and_its_inputs_are_named_by_hash(bare: Any, small: WorldRows) -> None:
    built = build_starter(bare.settings, SMALL, now_us=9, seed=1, force=False, ticker=quiet, stages=quiet)
    platform = Platform(bare.settings)
    assert platform.starter() == "simulation" and platform.serving_version() == built["version"]
    assert built["world"] == {"seed": 3, "days": 10, "messages_per_day": 60, "sha256": small.sha256,
                              "messages": small.messages}  # fmt: skip
    assert built["event_log_version"] is None and built["history"] == 0
    record, bundle = platform.bundle()
    assert record.record.parameters["world"]["sha256"] == bundle.record["world"]["sha256"] == small.sha256
    assert platform.content_changed() == () and not platform.champion().away
    # The rules keep their say, however well the world can be told by what is learned of it.
    assert bundle.fusion.weights["header_rules"] > 0.2
    # It stays where it is until own training takes over, and goes back before that only by force.
    assert have_rules_serve(platform, at_us=10) is None


def test_own_training_is_not_replaced_by_a_starter_unasked(warden: Any, run: Run) -> None:
    code, _, errors = run("starter")
    assert (
        code == 65 and "bundle 1, which serves, was trained on this home's own mail" in errors and "--force" in errors
    )


def _as_good(world: WorldRows, index: NDArray[np.intp]) -> TrainingInput:
    """Rows of a world as a home's own mail that bears the label of good mail."""
    rows = world.found.rows
    per_row = ("tenant", "message_id", "recipient", "seq", "at_us", "weight")
    chosen = replace(
        rows,
        **{name: getattr(rows, name)[index] for name in per_row},
        labels=["ham"] * len(index),
        message=np.unique(rows.message[index], return_inverse=True)[1],
    )
    return TrainingInput(chosen, {name: table.take(index) for name, table in world.found.features.items()})


def test_own_good_mail_raises_thresholds_and_teaches_nothing(small: WorldRows, trained_bundle: Trained) -> None:
    classes = discover()
    bad = small.found.rows.bad
    # Mail that the models take for bad, and that the home says is good.
    index = np.flatnonzero(bad)
    own = _as_good(small, index)
    raised = raised_by(trained_bundle, classes, own, Budgets())
    assert raised.bundle.thresholds.junk > trained_bundle.bundle.thresholds.junk
    assert raised.detectors == trained_bundle.detectors and raised.bundle.fusion == trained_bundle.bundle.fusion
    known = raised.bundle.whole.thresholds_of("any")
    assert known == raised.bundle.thresholds and known.junk < np.inf
    assert {found.thresholds_of("any").junk for found in raised.bundle.without.values()} == {np.inf}
    assert raised_by(trained_bundle, classes, _as_good(small, index[:3]), Budgets()) is trained_bundle


def test_own_good_mail_lowers_no_threshold_of_a_site_never_seen(small: WorldRows, trained_bundle: Trained) -> None:
    tail = Tail(at=40.0, scale=1.0, spread=2.0, budgets=(1e-2, 1e-3, 1e-4))
    bundle = trained_bundle.bundle
    sited = replace(trained_bundle, bundle=replace(bundle, whole=replace(bundle.whole, tail=tail)))
    before = sited.bundle.whole.thresholds_of("any")
    own = _as_good(small, np.flatnonzero(small.found.rows.bad))
    after = raised_by(sited, discover(), own, Budgets()).bundle.whole.thresholds_of("any")
    assert before.junk > bundle.thresholds.junk
    assert (after.banner, after.junk, after.quarantine) == (before.banner, before.junk, before.quarantine)


def test_a_sites_own_lists_stay_beside_the_worlds_names(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "free_mail.txt").write_text("# name: free_mail\n# version: 1\n# mode: extend\n\nours.example")
    found = load_lists(write_lists(tmp_path / "both", beside=own))
    assert found.holds("free_mail", "ours.example")
    alone = load_lists(write_lists(tmp_path / "alone"))
    assert not alone.holds("free_mail", "ours.example")


def test_a_replay_that_cannot_train_says_so_before_it_ingests(
    run: Run, tmp_path: Path, simulated: list[SimulatedMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mailwarden_services.replay.experiment.with_redis", lambda *_, **__: pytest.fail("it began to work")
    )
    folder = tmp_path / "mail"
    folder.mkdir()
    lines = []
    good = [m for m in simulated if m.label == "ham"][:30]
    bad = [m for m in simulated[simulated.index(good[-1]) :] if m.label != "ham"][:6]
    for number, message in enumerate([*good, *bad]):
        (folder / f"{number}.eml").write_bytes(message.raw)
        lines.append(f"{message.label} {number}.eml\n")
    index = folder / "INDEX"

    def replayed(text: str, *words: str) -> str:
        index.write_text(text)
        code, _, errors = run("replay", str(folder), "--labels", str(index), "--out", str(tmp_path / "out"), *words)
        assert code == 65 and "Traceback" not in errors, errors
        return errors

    said = replayed("".join(lines[:30]), "--label-delay", "0")
    assert "nothing can be trained at the split, before which 22 of 36 messages came" in said
    assert "22 good and 0 bad messages have a label" in said and "--train-until" in said
    said = replayed("".join(lines), "--label-delay", "3000")
    assert "No message has a label" in said
    said = replayed("".join(lines), "--train-until", "0")
    assert "--pretrain" in said
    other = ("--train-until", "0", "--pretrain", str(folder), "--pretrain-labels", str(index))
    said = replayed("".join(lines[:30]), *other)
    assert "--pretrain-labels names 30 good and 0 bad messages" in said
