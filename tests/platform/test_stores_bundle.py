from __future__ import annotations

import io
import json
import math
import zipfile
from dataclasses import replace

import pytest

from mailwarden.domain.detection.decision import Calibration, Combination, Fusion, Thresholds
from mailwarden.errors import ContractError, DataError, NotFound
from mailwarden.stores.bundle import Bundle
from mailwarden_detectors.header_rules.detector import HeaderRules

FUSION = Fusion({"header_rules": 0.1 + 0.2}, -1.5, {"header_rules": Calibration(0.7, -0.3)})


@pytest.fixture
def bundle() -> Bundle:
    return Bundle(
        detectors={"header_rules": HeaderRules().to_bytes()},
        versions={"header_rules": HeaderRules.version},
        fusion=FUSION,
        thresholds=Thresholds(0.5, 41.7, math.inf, ((0.001, math.inf), (0.01, 37.5))),
        categoriser="header_rules",
        record={"seed": 7, "thresholds": ["words"]},
        without={"message_text": Combination(FUSION, Thresholds(1.5, math.inf, math.inf, ((0.01, 2.5),)))},
    )


def _tampered(data: bytes, name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.namelist():
            target.writestr(entry, content if entry == name else source.read(entry))
    return out.getvalue()


def test_it_reads_back_whole_and_writes_the_same_bytes_again(bundle: Bundle) -> None:
    data = bundle.to_bytes()
    again = Bundle.from_bytes(data)
    assert again == bundle
    assert again.to_bytes() == data == replace(bundle, record={"thresholds": ["words"], "seed": 7}).to_bytes()


def test_it_loads_detectors_by_their_classes(bundle: Bundle) -> None:
    assert isinstance(bundle.load({"header_rules": HeaderRules})["header_rules"], HeaderRules)


def test_a_detector_that_is_not_installed_is_named(bundle: Bundle) -> None:
    with pytest.raises(NotFound, match="header_rules, which is not installed"):
        bundle.load({})


def test_a_detector_of_another_version_is_refused(bundle: Bundle) -> None:
    newer = type("Newer", (HeaderRules,), {"version": HeaderRules.version + 1})
    with pytest.raises(ContractError, match="Train again"):
        bundle.load({"header_rules": newer})


def test_each_detector_that_loads_is_had_and_each_other_one_says_why(bundle: Bundle) -> None:
    class Raising(HeaderRules):
        @classmethod
        def from_bytes(cls, data: bytes) -> HeaderRules:
            raise ZeroDivisionError("secret@acme.example")

    data = bundle.detectors["header_rules"]
    three = replace(
        bundle,
        detectors={"header_rules": data, "raising": data, "gone": data, "unread": data, "old": data},
        versions=dict.fromkeys(("header_rules", "raising", "gone", "unread"), HeaderRules.version) | {"old": 99},
    )
    classes = {"header_rules": HeaderRules, "raising": Raising, "old": HeaderRules}
    loaded, away = three.load_each(classes, {"unread": "Detector folder x cannot be imported. Mend it."})
    assert list(loaded) == ["header_rules"] and set(away) == {"raising", "gone", "unread", "old"}
    assert "ZeroDivisionError" in away["raising"] and "secret" not in away["raising"]
    assert "not installed" in away["gone"] and "cannot be imported" in away["unread"] and "version" in away["old"]


def test_a_bundle_from_before_detectors_could_be_away_is_read(bundle: Bundle) -> None:
    data = bundle.to_bytes()
    manifest = json.loads(zipfile.ZipFile(io.BytesIO(data)).read("manifest.json"))
    del manifest["without"]
    older = Bundle.from_bytes(_tampered(data, "manifest.json", json.dumps(manifest).encode()))
    assert older == replace(bundle, without={})


def test_a_changed_detector_is_refused(bundle: Bundle) -> None:
    with pytest.raises(DataError, match=r"header_rules .*SHA-256"):
        Bundle.from_bytes(_tampered(bundle.to_bytes(), "header_rules.detector", b"other"))


def test_what_is_no_bundle_is_refused(bundle: Bundle) -> None:
    data = bundle.to_bytes()
    manifest = json.loads(zipfile.ZipFile(io.BytesIO(data)).read("manifest.json"))
    newer = json.dumps({**manifest, "format": 99}).encode()
    for wrong in (b"", b"no zip", data[:-30], _tampered(data, "manifest.json", b"[]"),
                  _tampered(data, "manifest.json", b"{}"), _tampered(data, "manifest.json", newer)):  # fmt: skip
        with pytest.raises(DataError):
            Bundle.from_bytes(wrong)


def test_it_holds_no_pickle(bundle: Bundle) -> None:
    with zipfile.ZipFile(io.BytesIO(bundle.to_bytes())) as archive:
        assert archive.namelist() == ["manifest.json", "header_rules.detector"]
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in archive.infolist())
