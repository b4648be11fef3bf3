"""Folders of detectors, laid out anew: one that keeps every rule of its contract and can be trained as it stands."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mailwarden.domain.aggregates.definitions import Feature
from mailwarden.domain.aggregates.fact_specs import FACTS
from mailwarden.domain.detection.detector import Stage
from mailwarden.domain.mail.content import ContentFeature
from mailwarden.domain.status import Status
from mailwarden.errors import ConfigError
from mailwarden_services.teams.detector_template import DETECTOR, NUMBERS, TEXTS
from mailwarden_services.teams.sources import free_folder, lay_out, quoted

DEFAULT_FEATURES = ("content_links:url_count", "content_text:urgency_terms", "sender_activity:messages_30d")
"""What a new detector reads where nothing is said."""

_BUDGET_US: Mapping[Stage, int] = {"cheap": 1_000, "costly": 20_000}
_RESERVED = ("bundle", "fused")
"""Names that stand beside detectors' in the registry and in evaluations."""
_IMPORTED = ("Any", "ClassVar", "DataError", "Detector", "FeatureTable", "NDArray", "RawScores", "Self", "Signal",
             "Stage", "Status", "TrainingSet")  # fmt: skip
_WIDTH = 120

Described = Feature | ContentFeature


def new_detector(
    root: Path,
    name: str,
    *,
    owner: str,
    features: Mapping[str, Described],
    stage: Stage = "cheap",
    taken: Collection[str] = (),
) -> Path:
    """Lay out the folder of a detector and return it; nothing is written where this raises.

    root: folder of the detectors' folders. features: what it reads, by full name. taken: names of views, which a
    detector's would be confused with. Raises ConfigError on a name that cannot be or is taken, or without features.
    """
    folder = free_folder(root, name, "detector")
    if name in taken or name in (*FACTS, "tenant", "recipient", "message"):
        raise ConfigError(f"{name!r} names a view or an entity; say what the detector finds, as in {name}_fraud")
    if name in _RESERVED:
        raise ConfigError(f"{name!r} means something else beside detectors; say what it finds, as in {name}_fraud")
    if not features:
        raise ConfigError("a detector reads features; name some (--features content_links:url_count)")
    if not owner.strip():
        raise ConfigError("name the team that answers for the detector (--owner)")
    texts = [full for full, feature in features.items() if feature.dtype == "string"]
    class_name = "".join(part.capitalize() for part in name.split("_"))
    source = DETECTOR.format(
        name=name,
        class_name=f"{class_name}Detector" if class_name in _IMPORTED else class_name,
        owner=quoted(owner),
        words="".join(f"    {quoted(full)}: {quoted(_words(full, one))},\n" for full, one in features.items()),
        values=(TEXTS if texts else NUMBERS).format(texts=_tuple(texts)),
        budget=f"{_BUDGET_US[stage]:_}",
        stage_import=", Stage" if stage == "costly" else "",
        stage=f'    stage: ClassVar[Stage] = "{stage}"\n' if stage == "costly" else "",
    )
    cases = "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in _cases(features))
    return lay_out(folder, {"detector.py": source, "cases.jsonl": cases, "__init__.py": ""})


def _words(full_name: str, feature: Described) -> str:
    """What a reason calls a feature, in a line of the source."""
    name = full_name.partition(":")[2].replace("_", " ")
    if feature.dtype == "string":
        return f"Characters in {name}"
    words = feature.description.rstrip(".")
    return words if len(f'    "{full_name}": {quoted(words)},') <= _WIDTH else name.capitalize()


def _tuple(names: Sequence[str]) -> str:
    """Names as the formatter would write a tuple of them."""
    if len(names) == 1:
        return f"({quoted(names[0])},)"
    return "".join(["(\n", *(f"    {quoted(name)},\n" for name in names), ")"])


def _cases(features: Mapping[str, Described]) -> list[dict[str, Any]]:
    """Made-up messages: above what is usual, at it, below it, and of which nothing is known."""
    much = {full: _level(feature, 2) for full, feature in features.items()}
    usual = {full: _level(feature, 1) for full, feature in features.items()}
    first, *_ = features
    cases: list[dict[str, Any]] = [
        {"case": "all above what is usual", "fires": True, "features": much, "signals": [first]},
        {"case": "the first far above it", "fires": True, "features": {**much, first: _level(features[first], 3)}},
        {"case": "as is usual", "fires": False, "features": usual},
        {"case": "below it", "fires": False, "features": {f: _level(one, 0) for f, one in features.items()}},
        {"case": "nothing is known", "fires": False, "abstains": True, "features": {}},
    ]
    views = list(dict.fromkeys(full.partition(":")[0] for full in features))
    if len(views) > 1:
        rest = {full: value for full, value in usual.items() if not full.startswith(f"{views[-1]}:")}
        status = {views[-1]: Status.UNAVAILABLE.value}
        cases.append({"case": "an outage", "fires": False, "features": rest, "status": status})
    return cases


def _level(feature: Described, level: int) -> float | str:
    """A value that is lower than usual (0), usual, above it, far above it (3)."""
    if feature.dtype == "string":
        return " ".join(["word"] * (1, 3, 9, 12)[level])
    if feature.unit.endswith("0 or 1"):
        return (0, 0, 1, 1)[level]
    if feature.unit.startswith("0..1"):
        return (0.0, 0.1, 0.8, 0.9)[level]
    return (0, 1, 7, 9)[level]
