"""What good mail in the tail is called is counted as serving would name it, on mail that no detector learned from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import HISTORY, Calibration, Combination, Consult, Fusion, Thresholds
from mailwarden.domain.detection.naming import Naming, Voice
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.training.dataset import LabelledRows, labelled_rows
from mailwarden.training.good_named import SITE_MOST, GoodMail, Heard
from mailwarden.training.said import Said

STEPS = Thresholds(0.0, 1.0, 2.0)
CODE = "v:code"


class Names:
    """Calls a row by the place of a category that stands in its column, and anything else scam."""

    def __init__(self, instead: str = "SC") -> None:
        self._instead = instead

    def categorise(self, rows: FeatureTable) -> list[str]:
        values = rows.columns[CODE].tolist()
        return [CATEGORIES[int(value)] if value == value else self._instead for value in values]


def rows_of(tenant: NDArray[Any], message: NDArray[np.intp], bad: NDArray[np.bool_]) -> LabelledRows:
    rows, order = labelled_rows(
        tenant=tenant.tolist(),
        message_id=[f"{number:032x}" for number in message],
        recipient=[f"u{row}@acme.example" for row in range(len(message))],
        seq=message + 1,
        at_us=message * 60_000_000,
        labels=["CP" if one else "ham" for one in bad],
        weight=np.ones(len(message)),
    )
    assert order.tolist() == list(range(len(message)))
    return rows


def combination(intercept: float = 0.0, **others: Any) -> Combination:
    return Combination(Fusion({"one": 1.0}, intercept, {"one": Calibration(1.0, 0.0)}), STEPS, **others)


def heard(logit: NDArray[np.float64], parts: Any) -> Heard:
    said = Said({"one": logit}, {"one": np.zeros(len(logit), dtype=np.bool_)})
    return Heard(said, said, parts)


def good_mail(rows: LabelledRows, codes: NDArray[np.float64]) -> GoodMail:
    table = FeatureTable({CODE: codes}, len(codes), {"v": np.zeros(len(codes), dtype=np.uint8)})
    return GoodMail(rows, {"one": table}, {"one": ["v"]}, Naming({"one": Voice(7.0, 1.0)}), 0.002)


BE, SP, CP = (CATEGORIES.index(code) for code in ("BE", "SP", "CP"))


def test_the_highest_tenth_of_good_messages_is_counted_by_its_worst_row() -> None:
    n = 500
    message = np.repeat(np.arange(n), 2)
    logit = np.repeat(np.linspace(-5.0, 4.0, n), 2)
    logit[1::2] -= 0.5  # the second row of a message never decides
    codes = np.full(2 * n, float(CP))
    codes[-102:] = SP
    codes[-20::2] = BE
    bad = np.repeat(np.arange(n) % 5 == 0, 2)
    rows = rows_of(np.array(["acme"] * 2 * n, dtype=object), message, bad)
    everything = np.arange(2 * n)
    found, others = good_mail(rows, codes).named(
        combination(), {}, heard(logit, [(everything, {"one": Names()})]), None
    )
    assert others == {} and found.named is not None and found.named.budget == 0.002
    # Of 400 good messages 41; of the last ten messages eight are good.
    whole = 41 + 0.5 * len(CATEGORIES)
    assert found.named.shares["BE"] == pytest.approx(8.5 / whole)
    assert found.named.shares["SP"] == pytest.approx(33.5 / whole)
    assert found.named.shares["CP"] == found.named.shares["EX"] == pytest.approx(0.5 / whole)
    assert sum(found.named.shares.values()) == pytest.approx(1.0)


def test_sites_left_out_speak_for_others_and_later_mail_for_those_learned_from() -> None:
    n = 6_000
    rng = np.random.default_rng(1)
    tenant = np.array(["big"] * 5_800 + ["small"] * 180 + ["tiny"] * 20, dtype=object)
    rows = rows_of(tenant, np.arange(n), np.zeros(n, dtype=np.bool_))
    codes = np.where(tenant == "big", float(SP), float(BE))
    late = np.arange(0, n, 2)
    whole = combination(own=combination(learned=frozenset({"small"})))
    blind = combination(own=combination(learned=frozenset({"small"})))
    logit = rng.normal(size=n)
    parts = [(np.flatnonzero(tenant == "big"), {"one": Names()}), (np.flatnonzero(tenant != "big"), {"one": Names()})]
    found, without = good_mail(rows, codes).named(
        whole, {HISTORY: blind}, heard(logit, [(late, {"one": Names()})]), heard(logit, parts)
    )
    assert found.named is not None and found.own is not None and found.own.named is not None
    # The big site counts as so many of its 581; the others have 19 and 3.
    assert found.named.shares["SP"] == pytest.approx((SITE_MOST + 0.5) / (SITE_MOST + 22 + 5.5))
    # Of the small site 90 were held out; nobody else is asked for it.
    assert found.own.named.shares["BE"] == pytest.approx(10.5 / (10 + 5.5))
    # With all history hidden they call it scam.
    hidden = without[HISTORY].named
    assert hidden is not None and hidden.shares["SC"] == max(hidden.shares.values()) > 0.9
    assert without[HISTORY].own is not None and without[HISTORY].own.named is not None


def test_where_good_mail_is_too_little_nothing_is_said_and_who_was_asked_has_what_the_cheap_ones_have() -> None:
    n = 60
    rows = rows_of(np.array(["acme"] * n, dtype=object), np.arange(n), np.arange(n) >= 19)
    logit, everything = np.linspace(0.0, 1.0, n), np.arange(n)
    names = [(everything, {"one": Names()})]
    few, _ = good_mail(rows, np.zeros(n)).named(combination(), {}, heard(logit, names), None)
    assert few.named is None
    rows = rows_of(np.array(["acme"] * n, dtype=object), np.arange(n), np.arange(n) >= 40)
    consult = Consult(1.0, 1.0, combination(1.0))
    found, _ = good_mail(rows, np.zeros(n)).named(combination(consult=consult), {}, heard(logit, names), None)
    assert found.consult is not None and found.named is not None
    assert found.consult.combination.named == found.named
