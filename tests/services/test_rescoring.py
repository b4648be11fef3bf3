"""A score is the same to the bit in serving and in Spark: a served home's score log is what its bundles say again."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pyspark.sql import DataFrame

from mailwarden.domain.detection.decision import HISTORY, Calibration, Combination, away_name
from mailwarden.domain.mail.content import ContentSet
from mailwarden.domain.mail.message import Envelope
from mailwarden.scoring.logged import LoggedPlan
from mailwarden.scoring.rescore import rescored
from mailwarden.simulation.company import company
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.bundle import Bundle
from mailwarden.stores.lists import load_lists
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.spark.snapshots import read_rows
from mailwarden.training.train import Trained
from mailwarden_detectors import discover
from mailwarden_services.bootstrap import Platform
from mailwarden_services.loop import Loop
from mailwarden_services.rescoring import bundle_to_ask, score_skew

Mail = list[SimulatedMessage]
SILENT = b"From: <nobody@far.example>\r\nMessage-ID: <silent@far.example>\r\n\r\n"
"""Neither a subject nor a text, of which `message_text` says nothing."""


def shifted(bundle: Bundle) -> dict[str, Calibration]:
    """Calibrations that count where there is no history, other than those that count where there is."""
    return {name: Calibration(c.slope * 1.25, c.intercept - 0.5) for name, c in bundle.fusion.calibrations.items()}


def with_history(trained: Trained) -> Trained:
    """A bundle whose detectors see history, with a fusion of its own where there is none."""
    bundle = trained.bundle

    def other(one: Combination) -> Combination:
        return replace(one, fusion=replace(one.fusion, calibrations=shifted(bundle)), own=one.own and other(one.own))

    blind = {
        away_name((*filter(None, name.split("+")), HISTORY)): other(one)
        for name, one in {"": bundle.whole, **bundle.without}.items()
    }
    record = {**bundle.record, "options": {**bundle.record["options"], "ablate": []}}
    return replace(trained, bundle=replace(bundle, record=record, without={**bundle.without, **blind}))


def broken(platform: Platform, name: str) -> ContentSet:
    """The content views, of which one fails on every message."""
    content = platform.content
    # Called with a message and lists it raises, and it is found by name in any process.
    views = [replace(view, compute=divmod) if view.name == name else view for view in content.views]  # type: ignore[arg-type]
    return ContentSet(views, load_lists(), content.fingerprints)


def conversation(simulated: Mail) -> tuple[SimulatedMessage, SimulatedMessage]:
    """Mail that somebody inside wrote, and what came back."""
    ours = company(7).domains
    written: dict[tuple[str | None, str], SimulatedMessage] = {}
    for message in simulated:
        sender, *to = message.envelope.mail_from or "", *message.envelope.rcpt_to
        for one in to:
            if (one, sender) in written and not sender.endswith(ours):
                return written[one, sender], message
            if sender.endswith(ours):
                written[sender, one] = message
    raise AssertionError("nobody answers")


def to_several(message: SimulatedMessage) -> Envelope:
    """The message's envelope with further recipients, some of whom its sender never wrote to."""
    domain = message.envelope.rcpt_to[0].rpartition("@")[2]
    return replace(message.envelope, rcpt_to=(*message.envelope.rcpt_to, *(f"new{n}@{domain}" for n in range(3))))


def bits(value: float | None) -> bytes | None:
    return None if value is None else struct.pack("<d", value)


Said = dict[tuple[int, str, str], tuple[int | None, bytes | None, bytes | None, str | None]]


def by_row(rows: list[dict[str, Any]]) -> Said:
    """Version, bits of the scores and why missing, by seq, recipient and detector."""
    found = {
        (row["seq"], row["recipient"], row["detector"]): (
            row["model"], bits(row["raw"]), bits(row["calibrated"]), row["missing"],
        )
        for row in rows
    }  # fmt: skip
    assert len(found) == len(rows)
    return found


def asked_again(loop: Loop, version: int) -> DataFrame:
    platform = loop.platform
    asked = bundle_to_ask(platform, version)
    plan = LoggedPlan(platform.activity, platform.content_views, features=asked.features)
    vectors, texts = (read_rows(loop.spark, log.snapshot()) for log in (platform.vectors, platform.texts))
    # A batch of few rows, so that messages lie across its ends.
    before = loop.spark.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch")
    loop.spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 7)
    try:
        return rescored(vectors, texts, asked.sent, plan).cache()
    finally:
        loop.spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", before)


def scores_of(warden: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = Platform(warden.settings).scores.scan().read_all().to_pylist()
    return rows


def test_every_logged_score_is_what_spark_makes_of_the_logged_vector_to_the_last_bit(
    own_redis: tuple[Any, RedisServer], trained_bundle: Trained, simulated: Mail
) -> None:
    warden, server = own_redis
    version = warden.promote(with_history(trained_bundle))
    seqs: dict[str, int] = {}
    with warden.api() as api:
        writer = warden.writer()
        for number, message in enumerate(simulated[:16]):
            answer = api.send(message)
            if number % 4 == 0:
                warden.drain(writer)
        assert answer["model_version"] == version
        asked, several = conversation(simulated[20:])
        api.send(asked)
        warden.drain(writer)
        seqs["several"] = api.score(several.raw, to_several(several)).json()["seq"]
        seqs["silent"] = api.score(SILENT, replace(several.envelope, mail_from="nobody@far.example")).json()["seq"]
        server.stop()
        answer = api.score(simulated[16].raw, to_several(simulated[16])).json()
        assert answer["degraded"] and any("history unavailable" in flag for flag in answer["flags"])
        seqs["away"] = answer["seq"]
        server.start()
    with warden.api(content=broken(warden.platform, "content_links")) as api:
        answer = api.send(simulated[18])
        assert "content_links could not be computed" in answer["flags"]
        seqs["failed"] = answer["seq"]
    warden.drain().close()

    logged = scores_of(warden)
    assert {row["bundle"] for row in logged} == {version}
    loop = Loop(Platform(warden.settings))
    again = [row.asDict() for row in asked_again(loop, version).collect()]
    assert {row["unanswered"] for row in again} == {None}
    assert by_row(again) == by_row(logged)
    keys = ("tenant", "seq", "recipient", "detector", "message_id", "decision_id", "bundle")
    assert {tuple(row[key] for key in keys) for row in again} == {tuple(row[key] for key in keys) for row in logged}

    # That it is so of what is odd, and not of what is plain alone.
    def of(what: str, detector: str) -> list[dict[str, Any]]:
        return [row for row in logged if row["seq"] == seqs[what] and row["detector"] == detector]

    assert min(len(of("several", "behaviour")), len(of("away", "behaviour"))) >= 4
    assert len({row["raw"] for row in of("several", "header_rules")}) > 1, "recipients have histories of their own"
    assert [row["missing"] for row in of("silent", "message_text")] == ["abstained"] * len(of("silent", "behaviour"))
    calibration = shifted(trained_bundle.bundle)["behaviour"]
    for row in of("away", "behaviour"):
        assert row["calibrated"] == float(calibration.logit(np.array(row["raw"]))), "another fusion counted"
    vectors = {row["seq"]: row for row in loop.platform.vectors.scan().read_all().to_pylist()}
    assert vectors[seqs["away"]]["sender_activity__status"] == "unavailable"
    assert vectors[seqs["failed"]]["content_links__status"] == "damaged"

    found = score_skew(loop.platform, loop.spark)
    assert (found.compared, found.different, found.unanswered, found.unscored) == (len(logged), 0, {}, 0)
    assert {(line.bundle, line.detector) for line in found.lines} == {(version, name) for name in discover()}


def test_what_cannot_be_asked_again_says_why_and_the_rest_is(
    warden: Any, trained_bundle: Trained, simulated: Mail
) -> None:
    def send(messages: Mail) -> None:
        with warden.api() as api:
            for message in messages:
                api.send(message)
        warden.drain().close()

    earlier, later = simulated[:5], simulated[70:75]
    send([*earlier, *later])
    # Fitted by a class that is not here: it is away from the start.
    assert warden.promote(trained_bundle, of_other_code=["message_text"]) == 2
    send(simulated[100:103])
    logged = scores_of(warden)
    n = Counter((row["bundle"], row["detector"]) for row in logged)
    assert {row["missing"] for row in logged if (row["bundle"], row["detector"]) == (2, "message_text")} == {"away"}
    loop = Loop(Platform(warden.settings))
    spark = loop.spark

    def lines(platform: Platform) -> dict[tuple[int, str], tuple[int, dict[str, int]]]:
        found = score_skew(platform, spark)
        assert found.different == 0, found.examples
        assert {(line.bundle, line.detector): line.rows for line in found.lines} == n
        return {(line.bundle, line.detector): (line.compared, dict(line.unanswered)) for line in found.lines}

    assert lines(loop.platform) == {key: (rows, {}) for key, rows in n.items()}

    day = datetime.fromtimestamp((later[0].envelope.received_at_us or 0) // 1_000_000, UTC).date()
    loop.platform.texts.drop_before(day)
    gone = sum(row["received_at"].date() < day for row in logged if row["detector"] == "message_text")
    assert 0 < gone < n[1, "message_text"]
    content = loop.platform.content
    raised = [replace(view, version=view.version + (view.name == "content_links")) for view in content.views]
    reads_links = [
        name
        for name, kind in discover().items()
        if any(feature.startswith("content_links:") for feature in kind.features)
    ]
    changed = ContentSet(raised, load_lists(), content.fingerprints)
    assert lines(Platform(warden.settings, content=changed)) == {
        (1, "message_text"): (n[1, "message_text"] - gone, {"texts gone": gone}),
        **{(1, name): (0, {"other version": n[1, name]}) for name in reads_links},
        **{(2, name): (0, {"other version": n[2, name]}) for name in reads_links},
        **{(at, name): (n[at, name], {}) for at in (1, 2) for name in set(discover()) - {*reads_links, "message_text"}},
        (2, "message_text"): (n[2, "message_text"], {}),
    }

    platform = Platform(warden.settings)
    there, unread = platform.detectors_there
    lost = {name: kind for name, kind in there.items() if name != "message_text"}
    platform.__dict__["detectors_there"] = lost, unread
    record = platform.registry.get("bundle", 2)
    (warden.settings.models_path / record.artefact_uri).unlink()
    assert lines(platform) == {
        key: (0, {"detector away" if key[0] == 1 else "bundle gone": rows}) for key, rows in n.items()
    }
