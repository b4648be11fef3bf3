"""Bundles asked again about what was logged: out of registry and lake, with Spark."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import structlog
from pyspark.sql import DataFrame, SparkSession

from mailwarden.domain.detection.assets import asset
from mailwarden.errors import MailwardenError
from mailwarden.monitoring.skew_report import ScoreSkew
from mailwarden.monitoring.skew_scores import measure_score_skew
from mailwarden.scoring.logged import LoggedPlan
from mailwarden.scoring.rescore import SentBundle, rescored
from mailwarden.stores.accepted import RULE_LOGGED
from mailwarden.stores.bundle import Bundle
from mailwarden.stores.spark.snapshots import read_rows
from mailwarden.training.register import BUNDLE
from mailwarden_services.bootstrap import Platform

log = structlog.get_logger(__name__)

Silent = Literal["bundle gone", "detector away"]
"""Why a bundle cannot be asked at all: it cannot be read any more, or a detector that spoke then does not load now."""


@dataclass(frozen=True, slots=True)
class AskedBundle:
    """A bundle that can be sent, what its detectors read, and why those are lost that cannot be asked, by name."""

    sent: SentBundle
    features: frozenset[str]
    lost: dict[str, str]


def bundle_to_ask(platform: Platform, version: int, *, without: Collection[str] = ()) -> AskedBundle:
    """A bundle of the registry. without: its detectors that are to be away.

    Raises NotFound, StoreError or DataError where it is not to be had; its detectors need not be.
    """
    record = platform.registry.get(BUNDLE, version)
    manifest = platform.artefacts.get(record.artefact_uri, record.artefact_sha256)
    bundle = Bundle.from_bytes(manifest)
    classes, unread = platform.detectors_there
    loaded, lost = bundle.load_each(classes, platform.fetch, unread)
    known = LoggedPlan(platform.activity, platform.content_views).features
    for name, detector in list(loaded.items()):
        if absent := sorted(set(detector.features) - known):
            lost[name] = f"Detector {name} reads {absent[0]}, which no view has."
            del loaded[name]
    asked = [name for name in loaded if name not in without]
    sent = SentBundle(
        version,
        manifest,
        {name: platform.fetch(bundle.members[name]) for name in asked},
        {name: classes[name] for name in asked},
        frozenset(view.name for view in platform.content_views),
        tuple(asset(digest) for digest in dict.fromkeys(one for name in asked for one in classes[name].assets)),
    )
    features = frozenset(feature for name in asked for feature in loaded[name].features)
    return AskedBundle(sent, features, {name: why for name, why in lost.items() if name not in without})


def score_skew(platform: Platform, spark: SparkSession) -> ScoreSkew:
    """Have every bundle asked again about its own decisions, and compare with the score log."""
    # In this order, since writers log vectors first: what has scores here has its vector.
    scores, vectors, texts = (
        read_rows(spark, log.snapshot()) for log in (platform.scores, platform.vectors, platform.texts)
    )
    # Rules are no detectors of a bundle.
    scores = scores.where(~scores["detector"].startswith(RULE_LOGGED))

    def answers(version: int, away: frozenset[str], consulted: bool, messages: DataFrame) -> DataFrame | Silent:
        try:
            asked = bundle_to_ask(platform, version, without=away)
        except MailwardenError as exc:
            log.warning("a bundle cannot be asked again", bundle=version, why=str(exc))
            return "bundle gone"
        for name, why in asked.lost.items():
            # Without it the others are calibrated otherwise.
            log.warning("a bundle cannot be asked again without a detector", bundle=version, detector=name, why=why)
            return "detector away"
        # What this bundle decided on it saw as it was logged, whatever it had learned from.
        plan = LoggedPlan(platform.activity, platform.content_views, features=asked.features)
        own, written = (rows.join(messages, ["tenant", "seq"], "left_semi") for rows in (vectors, texts))
        return rescored(own, written, asked.sent, plan, asked=consulted)

    return measure_score_skew(scores, vectors, answers, platform.settings.run_path)
