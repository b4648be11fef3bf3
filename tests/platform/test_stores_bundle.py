from __future__ import annotations

import json
import math
from dataclasses import replace
from hashlib import sha256

import pytest

from mailwarden.domain.detection.decision import Calibration, Combination, Fusion, Thresholds
from mailwarden.domain.detection.tenant_budget import GoodNamed
from mailwarden.errors import ContractError, DataError, NotFound
from mailwarden.stores.bundle import Bundle, Member
from mailwarden_detectors.header_rules.detector import HeaderRules

FUSION = Fusion({"header_rules": 0.1 + 0.2}, -1.5, {"header_rules": Calibration(0.7, -0.3)}, {"header_rules": -0.1})
CONTENT = HeaderRules().to_bytes()
MEMBER = Member(3, sha256(CONTENT).hexdigest(), HeaderRules.version)


@pytest.fixture
def bundle() -> Bundle:
    return Bundle(
        members={"header_rules": MEMBER},
        whole=Combination(
            FUSION,
            Thresholds(0.5, 41.7, math.inf, ((0.001, math.inf), (0.01, 37.5))),
            named=GoodNamed({"BE": 0.1, "SP": 0.9}, 0.002),
        ),
        categoriser="header_rules",
        record={"seed": 7, "thresholds": ["words"]},
        without={
            "message_text": Combination(
                FUSION,
                Thresholds(1.5, math.inf, math.inf, ((0.01, 2.5),)),
                own=Combination(
                    FUSION, Thresholds(2.5, 3.5, 4.5), learned=frozenset({"acme"}), named=GoodNamed({"SP": 1.0}, 0.001)
                ),
            )
        },
    )


def fetch(member: Member) -> bytes:
    return CONTENT


def test_it_reads_back_whole_and_writes_the_same_bytes_again(bundle: Bundle) -> None:
    data = bundle.to_bytes()
    again = Bundle.from_bytes(data)
    assert again == bundle
    assert again.to_bytes() == data == replace(bundle, record={"thresholds": ["words"], "seed": 7}).to_bytes()


def test_a_bundle_of_before_does_not_know_what_good_mail_is_called(bundle: Bundle) -> None:
    written = json.loads(bundle.to_bytes())
    del written["named"]
    old = Bundle.from_bytes(json.dumps(written).encode())
    assert old.whole == replace(bundle.whole, named=None)


def test_it_names_detectors_by_their_version_in_the_registry_and_holds_none(bundle: Bundle) -> None:
    assert json.loads(bundle.to_bytes())["detectors"] == {
        "header_rules": {"model": 3, "sha256": MEMBER.sha256, "code": HeaderRules.version}
    }


def test_it_loads_detectors_by_their_classes(bundle: Bundle) -> None:
    assert isinstance(bundle.load({"header_rules": HeaderRules}, fetch)["header_rules"], HeaderRules)


def test_a_detector_that_is_not_installed_is_named(bundle: Bundle) -> None:
    with pytest.raises(NotFound, match="header_rules, which is not installed"):
        bundle.load({}, fetch)


def test_a_detector_of_another_version_is_refused(bundle: Bundle) -> None:
    newer = type("Newer", (HeaderRules,), {"version": HeaderRules.version + 1})
    with pytest.raises(ContractError, match="Train again"):
        bundle.load({"header_rules": newer}, fetch)


def test_each_detector_that_loads_is_had_and_each_other_one_says_why(bundle: Bundle) -> None:
    class Raising(HeaderRules):
        @classmethod
        def from_bytes(cls, data: bytes) -> HeaderRules:
            raise ZeroDivisionError("secret@acme.example")

    def given(member: Member) -> bytes:
        if member.model == 8:
            raise NotFound("Model artefact x does not exist. Restore it.")
        return CONTENT

    five = replace(
        bundle,
        members=dict.fromkeys(("header_rules", "raising", "gone", "unread"), MEMBER)
        | {"old": replace(MEMBER, code=99), "lost": replace(MEMBER, model=8)},
    )
    classes = {"header_rules": HeaderRules, "raising": Raising, "old": HeaderRules, "lost": HeaderRules}
    loaded, away = five.load_each(classes, given, {"unread": "Detector folder x cannot be imported. Mend it."})
    assert list(loaded) == ["header_rules"] and set(away) == {"raising", "gone", "unread", "old", "lost"}
    assert "ZeroDivisionError" in away["raising"] and "secret" not in away["raising"]
    assert "not installed" in away["gone"] and "cannot be imported" in away["unread"] and "version" in away["old"]
    assert "does not exist" in away["lost"]


def test_a_changed_detector_is_refused(bundle: Bundle) -> None:
    with pytest.raises(DataError, match=r"header_rules .*SHA-256"):
        bundle.load({"header_rules": HeaderRules}, lambda member: b"other")


def test_a_bundle_of_an_older_release_says_so() -> None:
    with pytest.raises(DataError, match=r"before contract 2\. Train it again"):
        Bundle.from_bytes(b"PK\x03\x04 a zip")


def test_what_is_no_bundle_is_refused(bundle: Bundle) -> None:
    data = bundle.to_bytes()
    newer = json.dumps({**json.loads(data), "format": 99}).encode()
    for wrong in (b"", b"no JSON", data[:-30], b"[]", b"{}", newer):
        with pytest.raises(DataError):
            Bundle.from_bytes(wrong)
