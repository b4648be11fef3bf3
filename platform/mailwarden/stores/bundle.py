"""The unit that is trained, registered and served: detectors, their fusion and thresholds in one file."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from mailwarden.domain.detection.decision import Calibration, Combination, Fusion, Thresholds
from mailwarden.domain.detection.detector import Detector
from mailwarden.errors import ContractError, DataError, MailwardenError, NotFound

FORMAT = 2

_MANIFEST = "manifest.json"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bundle:
    """Fitted detectors by name as bytes, with how their scores become a decision.

    versions: `Detector.version` of each detector's class when it was fitted. categoriser: the detector whose category
    is shown, "" for none. record: whatever else describes the training, plain JSON values. without: by `away_name`, how
    the others' scores become a decision where these detectors are away; empty in bundles from before it was kept, which
    an older release can read.
    """

    detectors: Mapping[str, bytes]
    versions: Mapping[str, int]
    fusion: Fusion
    thresholds: Thresholds
    categoriser: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    without: Mapping[str, Combination] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """A zip of the manifest and one file a detector, the same bytes for the same bundle."""
        manifest = {
            "format": FORMAT,
            "detectors": {
                name: {"sha256": sha256(data).hexdigest(), "version": self.versions[name]}
                for name, data in self.detectors.items()
            },
            **_written(Combination(self.fusion, self.thresholds)),
            "without": {name: _written(combination) for name, combination in self.without.items()},
            "categoriser": self.categoriser,
            "record": dict(self.record),
        }
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            text = json.dumps(manifest, sort_keys=True, indent=1, allow_nan=False)
            archive.writestr(zipfile.ZipInfo(_MANIFEST, _ZIP_EPOCH), text)
            for name in sorted(self.detectors):
                archive.writestr(zipfile.ZipInfo(f"{name}.detector", _ZIP_EPOCH), self.detectors[name])
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """Read what `to_bytes` wrote; raises DataError where it is something else, or was changed."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                manifest = json.loads(archive.read(_MANIFEST))
                _check_format(manifest)
                detectors = {name: archive.read(f"{name}.detector") for name in manifest["detectors"]}
            whole = _read(manifest)
            bundle = cls(
                detectors=detectors,
                versions={name: int(entry["version"]) for name, entry in manifest["detectors"].items()},
                fusion=whole.fusion,
                thresholds=whole.thresholds,
                categoriser=manifest["categoriser"],
                record=manifest["record"],
                without={name: _read(entry) for name, entry in manifest.get("without", {}).items()},
            )
        except (zipfile.BadZipFile, KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"This is no model bundle, or a damaged one ({error}). Train it again.") from error
        for name, content in detectors.items():
            if sha256(content).hexdigest() != manifest["detectors"][name]["sha256"]:
                raise DataError(f"Detector {name} in the bundle does not have its SHA-256 on record. Train it again.")
        return bundle

    def load(self, classes: Mapping[str, type[Detector]]) -> dict[str, Detector]:
        """The fitted detectors by name, read by their classes.

        Raises NotFound where a class is absent, ContractError where it has another version than it was fitted with.
        """
        return {name: self._load(name, classes) for name in self.detectors}

    def load_each(
        self, classes: Mapping[str, type[Detector]], unread: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Detector], dict[str, str]]:
        """The detectors that load, by name, and why each other one does not, in words; raises nothing.

        unread: folders that hold no class, by name, with why: see `mailwarden_detectors.discover`.
        """
        loaded: dict[str, Detector] = {}
        away: dict[str, str] = {}
        for name in self.detectors:
            try:
                loaded[name] = self._load(name, classes)
            except MailwardenError as error:
                away[name] = (unread or {}).get(name, str(error))
            except Exception as error:
                # A team's code may fail in any way.
                away[name] = f"Detector {name} failed while it was loaded: {type(error).__name__}. Mend it."
        return loaded, away

    def _load(self, name: str, classes: Mapping[str, type[Detector]]) -> Detector:
        kind = classes.get(name)
        if kind is None:
            there = ", ".join(sorted(classes)) or "none"
            raise NotFound(f"The bundle holds detector {name}, which is not installed (there are: {there}).")
        if kind.version != self.versions[name]:
            raise ContractError(
                f"Detector {name} is version {kind.version} but the bundle was trained with "
                f"{self.versions[name]}. Train again, or install that version."
            )
        return kind.from_bytes(self.detectors[name])


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
        },
        "thresholds": {
            "banner": _finite(thresholds.banner),
            "junk": _finite(thresholds.junk),
            "quarantine": _finite(thresholds.quarantine),
            "held_back": [[budget, _finite(logit)] for budget, logit in thresholds.held_back],
        },
    }


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
        ),
        Thresholds(
            _threshold(thresholds["banner"]),
            _threshold(thresholds["junk"]),
            _threshold(thresholds["quarantine"]),
            tuple((float(budget), _threshold(logit)) for budget, logit in thresholds["held_back"]),
        ),
    )


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
