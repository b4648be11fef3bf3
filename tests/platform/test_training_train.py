from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector, TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.domain.status import Status
from mailwarden.errors import ContractError, DataError
from mailwarden.scoring.categorising import Caller
from mailwarden.scoring.champion import Champion
from mailwarden.stores.bundle import Bundle
from mailwarden.stores.sql import open_engine, upgrade
from mailwarden.stores.sql.artefacts import ModelArtefacts
from mailwarden.stores.sql.registry import Registry
from mailwarden.training.dataset import LabelledRows, labelled_rows
from mailwarden.training.naming import TOGETHER
from mailwarden.training.register import register
from mailwarden.training.thresholds import Budgets
from mailwarden.training.train import Trained, TrainingOptions, train
from mailwarden_detectors import discover
from mailwarden_detectors.header_rules.detector import HeaderRules

DETECTORS = discover()
OPTIONS = TrainingOptions(seed=5, budgets=Budgets(0.05, 0.02, 0.01))
_WORDS = ["minutes", "meeting", "budget", "schedule", "review", "draft", "station", "lunch", "branch", "tests"]
_BAD_WORDS = ["verify", "account", "password", "suspended", "click", "login", "confirm", "mailbox"]


def _mail(n: int, seed: int) -> tuple[LabelledRows, dict[str, FeatureTable]]:
    """n messages of one or two recipients; wording and history each tell the classes apart, but not surely."""
    rng = np.random.default_rng(seed)
    message = np.repeat(np.arange(n), rng.integers(1, 3, n))
    bad = (rng.random(n) < 0.4)[message]
    code = np.where(np.arange(n) % 2 == 0, "CP", "BE")[message]
    shown = np.where(rng.random(n) < 0.1, ~bad[np.searchsorted(message, np.arange(n))], False)[message] ^ bad
    rows = len(message)
    columns: dict[str, NDArray[Any]] = {
        name: np.full(rows, np.nan) for kind in DETECTORS.values() for name in kind.features
    }
    history = np.where(rng.random(n) < 0.15, 1.0, 0.0)[message]
    columns["sender_activity:history"] = np.where(bad, history, 1.0 - history)
    columns["relationship:days_known"] = np.where(columns["sender_activity:history"] > 0, rng.random(rows) * 90, np.nan)
    texts = [" ".join(rng.choice(_BAD_WORDS + _WORDS if flag else _WORDS, 12)) for flag in shown]
    columns["content_text:subject"] = np.array(texts, dtype=object)
    columns["content_text:new_text"] = columns["content_text:subject"]
    columns["content_text:new_text_len"] = np.full(rows, 80.0)
    columns["content_text:gift_card_terms"] = ((code == "BE") & bad).astype(float)
    first, order = labelled_rows(
        tenant=["acme"] * rows,
        message_id=[f"{number:032x}" for number in message],
        recipient=[f"u{row}@acme.example" for row in range(rows)],
        seq=message + 1,
        at_us=message * 60_000_000,
        labels=[str(c) if b else "ham" for c, b in zip(code, bad, strict=True)],
        weight=1.0 / np.bincount(message)[message],
    )
    table = FeatureTable(columns, rows).take(order)
    return first, {
        name: FeatureTable({feature: table.columns[feature] for feature in kind.features}, rows)
        for name, kind in DETECTORS.items()
    }


@pytest.fixture(scope="module")
def mail() -> tuple[LabelledRows, dict[str, FeatureTable]]:
    return _mail(1200, 1)


@pytest.fixture(scope="module")
def trained(mail: tuple[LabelledRows, dict[str, FeatureTable]]) -> Trained:
    return train(*mail, DETECTORS, OPTIONS)


def _table(features: Mapping[str, FeatureTable], names: Collection[str]) -> FeatureTable:
    """The first row of all that these detectors read."""
    columns = {feature: column for name in names for feature, column in features[name].columns.items()}
    return FeatureTable(columns, features["header_rules"].n).take(np.array([0]))


def _fused(trained: Trained, features: Mapping[str, FeatureTable]) -> NDArray[np.float64]:
    bundle = Bundle.from_bytes(trained.bundle.to_bytes())
    said = {name: one.score(features[name]) for name, one in bundle.load(DETECTORS, trained.fetch).items()}
    return bundle.fusion.logit(
        {name: one.raw for name, one in said.items()}, {name: one.abstains for name, one in said.items()}
    )


def test_the_bundle_judges_unseen_mail_better_than_any_of_its_detectors(trained: Trained) -> None:
    fused = trained.evaluations["fused"].roca
    alone = [trained.evaluations[name].roca for name in DETECTORS]
    assert fused is not None
    assert all(roca is not None and fused < roca for roca in alone)
    rows, features = _mail(600, 2)
    logit = _fused(trained, features)
    assert np.mean(logit[rows.bad] >= trained.bundle.thresholds.banner) > 0.6
    assert np.mean(logit[~rows.bad] >= trained.bundle.thresholds.banner) < 0.1


def test_sites_are_scored_by_detectors_that_saw_none_of_them(
    mail: tuple[LabelledRows, dict[str, FeatureTable]],
) -> None:
    rows, features = mail
    site = np.array(["a", "b", "c"], dtype=object)[rows.message % 3]
    learned: list[str] = []
    sited = replace(rows, tenant=site)
    bundle = train(sited, features, DETECTORS, OPTIONS, history=["sender_activity"], progress=learned.append).bundle
    # Two fits of each detector, and one for each site that is left out.
    assert sum(stage.startswith("fit header_rules") for stage in learned) == 5
    for name, combination in {"": bundle.whole, **bundle.without}.items():
        assert combination.learned == {"a", "b", "c"} == set(combination.tenants), name
        assert combination.tail is not None
        # Of a site that was learned from more is known than of one never seen.
        assert combination.tenants["a"].variance < combination.tail.unseen.variance / 2
        assert combination.known == {"a", "b", "c"}
        assert combination.own is not None and set(combination.own.tenants) == combination.known
    read = Bundle.from_bytes(bundle.to_bytes())
    assert (read.whole, read.without) == (bundle.whole, bundle.without)
    alone = train(rows, features, DETECTORS, OPTIONS).bundle.whole
    assert alone.own is not None and alone.known == alone.learned == {"acme"}
    assert alone.thresholds_of("acme") == alone.own.thresholds
    assert alone.thresholds_of("new") != alone.thresholds


def test_what_good_mail_is_called_is_known_of_every_way_to_be_away(trained: Trained) -> None:
    bundle = Bundle.from_bytes(trained.bundle.to_bytes())
    for away, found in {"": bundle.whole, **bundle.without}.items():
        for named in (found.named, found.own and found.own.named):
            assert named is not None and named.budget == OPTIONS.budgets.junk, away
            assert set(named.shares) == set(CATEGORIES) and min(named.shares.values()) > 0.0
            assert sum(named.shares.values()) == pytest.approx(1.0)
    # There are attacks of two kinds, and good mail looks like one of these or like nothing.
    shares = bundle.whole.named.shares  # type: ignore[union-attr]
    assert shares["CP"] + shares["BE"] + shares["SP"] > 0.7


def test_each_detector_can_be_away_within_the_budgets(trained: Trained) -> None:
    bundle = Bundle.from_bytes(trained.bundle.to_bytes())
    assert set(bundle.without) == set(bundle.record["without"])
    assert set(bundle.without) == set(DETECTORS)
    rows, features = _mail(2000, 3)
    detectors = bundle.load(DETECTORS, trained.fetch)
    said = {name: detector.score(features[name]) for name, detector in detectors.items()}
    for away, found in bundle.without.items():
        left = set(DETECTORS) - set(away.split("+"))
        assert set(found.fusion.weights) == left
        logit = found.fusion.logit(
            {name: said[name].raw for name in left}, {name: said[name].abstains for name in left}
        )
        reached = np.mean(logit[~rows.bad] >= found.thresholds.banner)
        assert reached < 3 * OPTIONS.budgets.banner, away
        # Those of the whole are not theirs, but where one is away that says nothing anyway.
        same = found.thresholds.banner == pytest.approx(bundle.thresholds.banner, abs=1e-6)
        assert same == (away in trained.not_learned), away


def test_of_few_detectors_each_two_may_be_away(mail: tuple[LabelledRows, dict[str, FeatureTable]]) -> None:
    few = {name: DETECTORS[name] for name in ("header_rules", "message_text", "scam")}
    found = train(*mail, few, replace(OPTIONS, refit=False)).bundle.without
    assert len(found) == 6 and "header_rules+scam" in found


def test_detectors_of_kinds_that_training_has_too_little_of_abstain_and_the_bundle_serves(trained: Trained) -> None:
    bundle = Bundle.from_bytes(trained.bundle.to_bytes())
    learned = {name: found["learned"] for name, found in trained.parameters.items() if "learned" in found}
    # All mail is good, CP or BE.
    assert learned["business_email_compromise"] and not learned["malware"] and not learned["extortion"]
    _, features = _mail(50, 4)
    served = bundle.load(DETECTORS, trained.fetch)
    for name, able in learned.items():
        silent = served[name].score(features[name]).abstains
        if not able:
            assert silent is not None and silent.all(), name
    assert np.isfinite(_fused(trained, features)).all() and set(bundle.fusion.weights) == set(DETECTORS)


def test_a_bundle_of_fewer_detectors_than_there_are_goes_on_serving(
    mail: tuple[LabelledRows, dict[str, FeatureTable]],
) -> None:
    few = {"header_rules": DETECTORS["header_rules"], "message_text": DETECTORS["message_text"]}
    found = train(*mail, few, replace(OPTIONS, refit=False))
    data = json.loads(found.bundle.to_bytes())
    data.pop("naming")  # as bundles of before have it
    old = Bundle.from_bytes(json.dumps(data).encode())
    champion = Champion.of(old, DETECTORS, found.fetch, version=1, content_views=frozenset())
    assert set(champion.detectors) == set(few) and not champion.away
    row = _table(mail[1], few)
    scores = champion.score(row).of()
    (word,) = champion.detectors[old.categoriser].categorise(row) or [""]
    assert Caller(champion, row).category(scores) == word


def test_the_same_rows_and_seed_give_the_same_bundle_bytes(
    mail: tuple[LabelledRows, dict[str, FeatureTable]], trained: Trained
) -> None:
    again = train(*mail, DETECTORS, OPTIONS)
    assert again.bundle.to_bytes() == trained.bundle.to_bytes()
    assert again.fingerprint == trained.fingerprint


def test_the_record_says_what_was_done(trained: Trained) -> None:
    record = trained.bundle.record
    assert record["messages"] == 1200
    assert record["split"] == {"fit": 900, "fuse": 150, "judge": 150, "shared": False}
    assert len(record["thresholds"]) == 3
    assert record["held_out_good_reached"][0] <= 0.05
    assert trained.evaluations["fused"].bad + trained.evaluations["fused"].good == 150
    right = record["categories_right"]
    assert set(right) == {*DETECTORS, TOGETHER} and right[trained.bundle.categoriser] == max(
        share for name, share in right.items() if name != TOGETHER
    )
    assert right[TOGETHER] > 0.95


def test_detectors_name_categories_together_as_well_as_any_does_alone(trained: Trained) -> None:
    right = trained.bundle.record["categories_right"]
    assert right[TOGETHER] >= right[trained.bundle.categoriser]
    naming = Bundle.from_bytes(trained.bundle.to_bytes()).naming
    assert naming is not None and set(naming.voices) == set(DETECTORS)


def test_ablated_views_have_no_say(mail: tuple[LabelledRows, dict[str, FeatureTable]]) -> None:
    rows, features = mail
    kinds = {"behaviour": DETECTORS["behaviour"]}
    options = replace(OPTIONS, ablate=("sender_activity", "relationship"), refit=False)
    without = train(rows, features, kinds, options)
    full = train(rows, features, kinds, replace(OPTIONS, refit=False))
    assert without.evaluations["behaviour"].roca > full.evaluations["behaviour"].roca + 5  # type: ignore[operator]
    table = features["behaviour"].lacking(("sender_activity",), Status.UNAVAILABLE)
    assert np.isnan(table.columns["sender_activity:history"]).all()
    assert not np.isnan(features["behaviour"].columns["sender_activity:history"]).any()


def test_held_out_mail_is_not_fitted_to(mail: tuple[LabelledRows, dict[str, FeatureTable]]) -> None:
    seen: list[int] = []

    class Spy(HeaderRules):
        def fit(self, training: Any, *, seed: int) -> None:
            seen.append(int(training.at_us.max()))
            super().fit(training, seed=seed)

    train(*mail, {"header_rules": Spy}, OPTIONS)
    assert seen == [899 * 60_000_000, 1199 * 60_000_000]


def test_a_kept_detector_is_calibrated_on_mail_it_did_not_learn_from_and_serves_as_it_was(
    mail: tuple[LabelledRows, dict[str, FeatureTable]],
) -> None:
    rows, features = mail
    seen: list[tuple[str, int]] = []

    class Spy(HeaderRules):
        def fit(self, training: Any, *, seed: int) -> None:
            seen.append(("kept", int(training.at_us.max())))
            super().fit(training, seed=seed)

    kinds = {"behaviour": DETECTORS["behaviour"], "header_rules": Spy}
    before = HeaderRules()
    before.fit(
        TrainingSet(features["header_rules"], ~rows.bad, rows.labels, rows.weight, rows.at_us, np.zeros(rows.n, bool)),
        seed=1,
    )
    kept = {"header_rules": before.to_bytes()}
    found = train(rows, features, kinds, OPTIONS, kept=kept)
    assert found.detectors["header_rules"] == kept["header_rules"]
    assert seen == [("kept", 899 * 60_000_000)]
    assert set(found.bundle.fusion.weights) == set(kinds) == set(found.evaluations) - {"fused"}
    assert set(found.parameters) == {"behaviour"} and found.bundle.record["kept"] == ["header_rules"]
    alone = train(rows, features, {"behaviour": DETECTORS["behaviour"]}, OPTIONS)
    assert found.detectors["behaviour"] == alone.detectors["behaviour"]
    with pytest.raises(DataError, match="all of them are kept"):
        train(rows, features, {"header_rules": Spy}, OPTIONS, kept=kept)


def test_tables_must_fit_the_rows(mail: tuple[LabelledRows, dict[str, FeatureTable]]) -> None:
    rows, features = mail
    kinds: dict[str, type[Detector]] = {"header_rules": DETECTORS["header_rules"]}
    with pytest.raises(ContractError, match="there is none"):
        train(rows, {}, kinds, OPTIONS)
    with pytest.raises(ContractError, match="one of 3 rows"):
        train(rows, {"header_rules": features["header_rules"].take(np.arange(3))}, kinds, OPTIONS)
    with pytest.raises(DataError, match="No detector"):
        train(rows, features, {}, OPTIONS)


def test_a_training_is_registered_and_promoted(trained: Trained, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'models.db'}"
    upgrade(url)
    engine: sa.Engine = open_engine(url)
    registry, artefacts = Registry(engine), ModelArtefacts(tmp_path / "models")
    records = register(trained, registry, artefacts, code_revision="abc123", created_us=17, promote="first",
                       event_log_version=4, known_by_us=16, inputs={"kept_from": None})  # fmt: skip
    champion = registry.champion("bundle")
    assert champion == records["bundle"]
    data = artefacts.get(champion.artefact_uri, champion.artefact_sha256)
    members = {name: replace(member, model=records[name].version) for name, member in trained.bundle.members.items()}
    assert Bundle.from_bytes(data) == replace(Bundle.from_bytes(trained.bundle.to_bytes()), members=members)
    assert {artefacts.of_digest(member.sha256) for member in members.values()} == set(trained.detectors.values())
    text = records["message_text"].record
    assert (text.data_fingerprint, text.code_revision, text.seed) == (trained.fingerprint, "abc123", 5)
    assert (text.event_log_version, text.known_by_us) == (4, 16) == (
        champion.record.event_log_version, champion.record.known_by_us)  # fmt: skip
    assert champion.record.parameters["kept"] == [] and champion.record.parameters["kept_from"] is None
    assert text.metrics["roca"] == trained.evaluations["message_text"].roca
    again = register(trained, registry, artefacts, code_revision="abc123", created_us=18)
    # What holds the same is the same version, which serves from when it was promoted.
    assert {name: record.version for name, record in again.items()} == dict.fromkeys(again, 1)
    assert registry.champion("bundle") == champion
    engine.dispose()


def test_rows_are_put_in_order_of_arrival_and_messages_numbered_by_it() -> None:
    rows, order = labelled_rows(
        tenant=["b", "a", "a", "a"],
        message_id=["m", "m", "n", "n"],
        recipient=["x", "x", "y", "x"],
        seq=np.array([1, 9, 4, 4]),
        at_us=np.array([5, 7, 5, 5]),
        labels=["ham", "SP", "CP", "CP"],
        weight=np.array([1.0, 1.0, 0.5, 0.5]),
    )
    assert order.tolist() == [3, 2, 0, 1]
    assert rows.message.tolist() == [0, 0, 1, 2]
    assert rows.bad.tolist() == [True, True, False, True]
    assert rows.of_messages().tolist() == [0, 2, 3]
    assert rows.through() == {"a": 9, "b": 1}


def test_the_fingerprint_tells_any_change(mail: tuple[LabelledRows, dict[str, FeatureTable]]) -> None:
    rows, features = mail
    table = features["message_text"]
    seen = {rows.fingerprint(), rows.fingerprint([table])}
    seen.add(replace(rows, labels=("SP", *rows.labels[1:])).fingerprint([table]))
    other = dict(table.columns)
    other["content_text:subject"] = np.array(["", *table.columns["content_text:subject"][1:]], dtype=object)
    seen.add(rows.fingerprint([FeatureTable(other, table.n)]))
    assert len(seen) == 4
    assert rows.fingerprint([table]) in seen


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(DataError, match=r"'phish' .* unknown"):
        labelled_rows(
            tenant=["a"], message_id=["m"], recipient=[""], seq=np.array([1]), at_us=np.array([1]), labels=["phish"],
            weight=np.ones(1),
        )  # fmt: skip
