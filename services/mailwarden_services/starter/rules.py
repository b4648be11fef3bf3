"""The rules alone as a bundle: what serves before anybody has trained, or built a starter."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from mailwarden.domain.detection.decision import HISTORY, Calibration, Combination, Fusion, Thresholds
from mailwarden.evaluation.figures import Evaluation
from mailwarden.stores.bundle import Bundle, Member
from mailwarden.stores.sql import ModelRecord
from mailwarden.training.register import BUNDLE, register
from mailwarden.training.train import Trained
from mailwarden_services.bootstrap import Platform
from mailwarden_services.starter.kinds import RULES_ALONE

DETECTOR = "header_rules"

PRIOR = -4.0
"""Log-odds of a message about which no rule says anything: two in a hundred are bad."""

BANNER, JUNK, QUARANTINE = 1.0, 4.0, 6.5
"""Log-odds from which each is said: weights of rules that add up to 5, 8 and 10.5, which 0.4%, 0.1% and none of the
simulated world's good messages reach."""

_NOTHING = Evaluation(0, 0, None, None, (), {})


def rules_bundle(platform: Platform) -> Trained:
    """The detector of rules with a calibration and thresholds that are fixed: its weights are log-odds already.

    Nothing was learned and nothing measured, and the record says so. The same rules give the same bytes.
    """
    kind = platform.detectors[DETECTOR]
    content = kind().to_bytes()
    fusion = Fusion({DETECTOR: 1.0}, PRIOR, {DETECTOR: Calibration(1.0, 0.0)})
    whole = Combination(fusion, Thresholds(BANNER, JUNK, QUARANTINE))
    words = (f"fixed: banner, junk and quarantine from log-odds of {BANNER:g}, {JUNK:g} and {QUARANTINE:g} on",)
    record: dict[str, Any] = {
        "starter": RULES_ALONE,
        "options": {"ablate": []},
        "split": {},
        "messages": 0,
        "rows": 0,
        "kept": [],
        "content": {},
        "thresholds": list(words),
        "categories_right": {},
    }
    bundle = Bundle(
        members={DETECTOR: Member(0, sha256(content).hexdigest(), kind.version)},
        whole=whole,
        categoriser=DETECTOR,
        record=record,
        without={HISTORY: whole.banner_at_most()},
    )
    return Trained(
        detectors={DETECTOR: content},
        bundle=bundle,
        evaluations={DETECTOR: _NOTHING, "fused": _NOTHING},
        fingerprint=sha256(b"").hexdigest(),
        parameters={},
        threshold_words=words,
        seed=0,
    )


def have_rules_serve(platform: Platform, *, at_us: int) -> ModelRecord | None:
    """Register and promote the rules alone where nothing serves, or other rules do alone; None where that is not so.

    at_us: the time of now.
    """
    champion = platform.registry.champion(BUNDLE)
    if champion is not None and champion.record.parameters.get("starter") != RULES_ALONE:
        return None
    from mailwarden_services.loop import code_revision

    records = register(
        rules_bundle(platform),
        platform.registry,
        platform.artefacts,
        code_revision=code_revision(),
        created_us=at_us,
        inputs={"starter": RULES_ALONE},
        promote="rules alone: nothing was trained",
    )
    return records[BUNDLE]
