"""The unit that is trained, registered and served: which detectors, their fusion and thresholds in one file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple, dataclass, field
from hashlib import sha256
from typing import Any

from mailwarden.domain.detection.decision import Calibration, Combination, Consult, Fusion, Thresholds
from mailwarden.domain.detection.detector import CONTRACT, Detector
from mailwarden.domain.detection.naming import Naming, Voice
from mailwarden.domain.detection.tail import SPREAD, Belief, Tail
from mailwarden.domain.detection.tenant_budget import GoodNamed
from mailwarden.domain.detection.usual import Usual
from mailwarden.errors import ContractError, DataError, MailwardenError, NotFound

FORMAT = 5


@dataclass(frozen=True, slots=True)
class Member:
    """A detector of a bundle, which the registry holds.

    model: its version there, 0 for none yet. sha256: of its bytes, in hex. code: `Detector.version` of its class when
    it was fitted.
    """

    model: int
    sha256: str
    code: int


Fetch = Callable[[Member], bytes]
"""Gives a member's bytes; raises a MailwardenError where they are not there, or are others."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Fitted detectors by name, as the registry has them, with how their scores become a decision.

    whole: how their scores become a decision with nothing away. categoriser: the detector whose category is shown
    where `naming` is None, "" for none. record: whatever else describes the training, plain JSON values. without: by
    `away_name`, how the others' scores become a decision where these are away. usual: what good mail has, by full name
    of a numeric feature. naming: how much each detector's word on the category counts, None in bundles of before.
    """

    members: Mapping[str, Member]
    whole: Combination
    categoriser: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    without: Mapping[str, Combination] = field(default_factory=dict)
    usual: Mapping[str, Usual] = field(default_factory=dict)
    naming: Naming | None = None

    @property
    def costly(self) -> frozenset[str]:
        """Detectors that are asked about doubtful messages alone: those that the whole's fusion does not weigh."""
        return frozenset(self.members.keys() - self.whole.fusion.weights.keys())

    def without_one(self, name: str) -> Combination | None:
        """What counts without one detector; None where nothing was fitted for that. Without a costly one the cheap
        ones' own counts."""
        return self.whole if name in self.costly else self.without.get(name)

    @property
    def fusion(self) -> Fusion:
        """Of the whole."""
        return self.whole.fusion

    @property
    def thresholds(self) -> Thresholds:
        """Of the whole, where it was learned from."""
        return self.whole.thresholds

    def to_bytes(self) -> bytes:
        """JSON, the same bytes for the same bundle."""
        manifest = {
            "format": FORMAT,
            "contract": CONTRACT,
            "detectors": {name: asdict(member) for name, member in self.members.items()},
            **_written(self.whole),
            "without": {name: _written(combination) for name, combination in self.without.items()},
            "categoriser": self.categoriser,
            **_written_naming(self.naming),
            "record": dict(self.record),
            "usual": {name: list(astuple(usual)) for name, usual in self.usual.items()},
        }
        return json.dumps(manifest, sort_keys=True, indent=1, allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """Read what `to_bytes` wrote; raises DataError where it is something else."""
        if data.startswith(b"PK"):
            raise DataError("This bundle is of a release before contract 2. Train it again.")
        try:
            manifest = json.loads(data)
            _check_format(manifest)
            return cls(
                members={
                    name: Member(int(entry["model"]), str(entry["sha256"]), int(entry["code"]))
                    for name, entry in manifest["detectors"].items()
                },
                whole=_read(manifest),
                categoriser=manifest["categoriser"],
                naming=_read_naming(manifest),
                record=manifest["record"],
                without={name: _read(entry) for name, entry in manifest["without"].items()},
                usual={name: Usual(*map(float, values)) for name, values in manifest["usual"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"This is no model bundle, or a damaged one ({error}). Train it again.") from error

    def load(self, classes: Mapping[str, type[Detector]], fetch: Fetch) -> dict[str, Detector]:
        """The fitted detectors by name, read by their classes.

        Raises NotFound where a class is absent, ContractError where it has another version than it was fitted with, and
        what fetch raises.
        """
        return {name: self._load(name, classes, fetch) for name in self.members}

    def load_each(
        self, classes: Mapping[str, type[Detector]], fetch: Fetch, unread: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Detector], dict[str, str]]:
        """The detectors that load, by name, and why each other one does not, in words; raises nothing.

        unread: folders that hold no class, by name, with why: see `mailwarden_detectors.discover`.
        """
        loaded: dict[str, Detector] = {}
        away: dict[str, str] = {}
        for name in self.members:
            try:
                loaded[name] = self._load(name, classes, fetch)
            except MailwardenError as error:
                away[name] = (unread or {}).get(name, str(error))
            except Exception as error:
                # A team's code may fail in any way.
                away[name] = f"Detector {name} failed while it was loaded: {type(error).__name__}. Mend it."
        return loaded, away

    def _load(self, name: str, classes: Mapping[str, type[Detector]], fetch: Fetch) -> Detector:
        kind, member = classes.get(name), self.members[name]
        if kind is None:
            there = ", ".join(sorted(classes)) or "none"
            raise NotFound(f"The bundle names detector {name}, which is not installed (there are: {there}).")
        if kind.version != member.code:
            raise ContractError(
                f"Detector {name} is version {kind.version} but the bundle was trained with "
                f"{member.code}. Train again, or install that version."
            )
        content = fetch(member)
        if sha256(content).hexdigest() != member.sha256:
            raise DataError(f"Detector {name} does not have the SHA-256 that its bundle names. Train it again.")
        return kind.from_bytes(content)


def _written(combination: Combination) -> dict[str, Any]:
    fusion, thresholds = combination.fusion, combination.thresholds
    return {
        "fusion": {
            "intercept": fusion.intercept,
            "weights": dict(fusion.weights),
            "calibrations": {
                name: {"slope": calibration.slope, "intercept": calibration.intercept}
                for name, calibration in fusion.calibrations.items()
            },
            "offsets": dict(fusion.offsets),
        },
        "thresholds": {
            "banner": _finite(thresholds.banner),
            "junk": _finite(thresholds.junk),
            "quarantine": _finite(thresholds.quarantine),
            "held_back": [[budget, _finite(logit)] for budget, logit in thresholds.held_back],
        },
        "capped": combination.capped,
        **_written_tail(combination),
        **_written_consult(combination.consult),
        **_written_named(combination.named),
        **({} if combination.own is None else {"own": _written(combination.own)}),
    }


def _written_naming(naming: Naming | None) -> dict[str, Any]:
    if naming is None:
        return {}
    return {"naming": {name: [voice.base, voice.slope] for name, voice in naming.voices.items()}}


def _read_naming(manifest: Mapping[str, Any]) -> Naming | None:
    # Bundles of before name categories by one detector.
    if "naming" not in manifest:
        return None
    return Naming({name: Voice(float(base), float(slope)) for name, (base, slope) in manifest["naming"].items()})


def _written_consult(consult: Consult | None) -> dict[str, Any]:
    if consult is None:
        return {}
    return {"consult": {"below": consult.below, "above": consult.above, **_written(consult.combination)}}


def _read_consult(entry: Mapping[str, Any] | None) -> Consult | None:
    if entry is None:
        return None
    return Consult(float(entry["below"]), float(entry["above"]), _read(entry))


def _written_tail(combination: Combination) -> dict[str, Any]:
    learned = {"learned": sorted(combination.learned)}
    if combination.tail is None:
        return learned
    beliefs = {name: [own.shift, own.variance] for name, own in combination.tenants.items()}
    return {"tail": asdict(combination.tail), **learned, "tenants": beliefs}


def _read_tail(entry: Mapping[str, Any]) -> tuple[Tail | None, frozenset[str], dict[str, Belief]]:
    # Of bundles of before, that have no tail, nobody wrote whom they learned from.
    learned = frozenset(map(str, entry.get("learned", ())))
    if "tail" not in entry:
        return None, learned, {}
    tail = entry["tail"]
    banner, junk, quarantine = map(float, tail["budgets"])
    return (
        Tail(
            at=float(tail["at"]),
            scale=float(tail["scale"]),
            spread=float(tail["spread"]),
            budgets=(banner, junk, quarantine),
            # Of a bundle of a release before, nobody counted these.
            middle_below=float(tail.get("middle_below", SPREAD)),
            middle_spread=float(tail.get("middle_spread", SPREAD)),
        ),
        learned,
        {name: Belief(float(shift), float(variance)) for name, (shift, variance) in entry["tenants"].items()},
    )


def _read(entry: Mapping[str, Any]) -> Combination:
    fusion, thresholds = entry["fusion"], entry["thresholds"]
    return Combination(
        Fusion(
            weights=fusion["weights"],
            intercept=float(fusion["intercept"]),
            calibrations={
                name: Calibration(float(entry["slope"]), float(entry["intercept"]))
                for name, entry in fusion["calibrations"].items()
            },
            offsets=fusion["offsets"],
        ),
        Thresholds(
            _threshold(thresholds["banner"]),
            _threshold(thresholds["junk"]),
            _threshold(thresholds["quarantine"]),
            tuple((float(budget), _threshold(logit)) for budget, logit in thresholds["held_back"]),
        ),
        *_read_tail(entry),
        capped=bool(entry["capped"]),
        consult=_read_consult(entry.get("consult")),
        own=_read(entry["own"]) if "own" in entry else None,
        named=_read_named(entry.get("named")),
    )


def _written_named(named: GoodNamed | None) -> dict[str, Any]:
    return {} if named is None else {"named": {"shares": dict(named.shares), "budget": named.budget}}


def _read_named(entry: Mapping[str, Any] | None) -> GoodNamed | None:
    # In bundles of before nobody counted what good mail is called.
    if entry is None:
        return None
    return GoodNamed({code: float(share) for code, share in entry["shares"].items()}, float(entry["budget"]))


def _finite(threshold: float) -> float | None:
    # JSON has no infinity.
    return threshold if math.isfinite(threshold) else None


def _threshold(stored: float | None) -> float:
    return math.inf if stored is None else float(stored)


def _check_format(manifest: Mapping[str, Any]) -> None:
    if manifest["format"] != FORMAT:
        raise DataError(
            f"Bundle format {manifest['format']} cannot be read: this version reads {FORMAT}. Train it again."
        )
