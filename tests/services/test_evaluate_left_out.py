"""A tenant left out: no label of it tells anything, and what becomes of its mail is counted rightly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mailwarden.domain.detection.evidence import FEATURES
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.errors import ConfigError, DataError
from mailwarden.training.dataset import LabelledRows, labelled_rows
from mailwarden_detectors import discover
from mailwarden_services.evaluation.left_out.asked import LeftOutAsked, read_set_aside
from mailwarden_services.evaluation.left_out.report import write_left_out
from mailwarden_services.evaluation.left_out.result import left_out

DETECTORS = {name: kind for name, kind in discover().items() if name in ("message_text", "behaviour")}
SITES = {"a": (400, 120), "b": (400, 100), "host": (500, 40), "traps": (0, 90)}
_GOOD = ["minutes", "meeting", "budget", "schedule", "review", "draft", "station", "lunch", "branch", "tests"]
_BAD = ["verify", "account", "password", "suspended", "click", "login", "confirm", "mailbox"]


def _mail() -> tuple[LabelledRows, dict[str, FeatureTable]]:
    """Sites of the sizes above, two recipients for every third message; wording and history tell the classes apart."""
    draw = np.random.default_rng(3)
    tenant = np.concatenate([np.repeat(name, good + bad) for name, (good, bad) in SITES.items()])
    bad = np.concatenate([draw.permutation(np.arange(good + bad) < bad) for good, bad in SITES.values()])
    n = len(tenant)
    message = np.repeat(np.arange(n), np.where(np.arange(n) % 3 == 0, 2, 1))
    columns: dict[str, NDArray[Any]] = {
        name: np.full(len(message), np.nan)
        for name in {*FEATURES, *(f for kind in DETECTORS.values() for f in kind.features)}
    }
    texts = np.array([" ".join(draw.choice(_BAD if one and draw.random() < 0.9 else _GOOD, 12)) for one in bad], object)
    columns["content_text:subject"] = columns["content_text:new_text"] = texts[message]
    known = (~bad & (draw.random(n) < 0.8))[message]
    columns["sender_activity:history"] = known.astype(float)
    columns["sender_activity:days_known"] = np.where(known, draw.random(len(message)) * 90, np.nan)
    columns["sender_activity:messages_1d"] = np.zeros(len(message))
    for name in FEATURES:
        if name.startswith("content_authentication:"):
            columns[name] = known.astype(float)
    rows, order = labelled_rows(
        tenant=tenant[message].tolist(),
        message_id=[f"{number:032x}" for number in message],
        recipient=[f"u{row}@acme.example" for row in range(len(message))],
        seq=message + 1,
        at_us=draw.permutation(n)[message] * 60_000_000,
        labels=np.where(bad, "CP", "ham")[message].tolist(),
        weight=1.0 / np.bincount(message)[message],
    )
    table = FeatureTable(columns, len(message)).take(order)
    wanted = {name: dict.fromkeys([*kind.features, *FEATURES]) for name, kind in DETECTORS.items()}
    return rows, {name: FeatureTable({f: table.columns[f] for f in names}, rows.n) for name, names in wanted.items()}


@pytest.fixture(scope="module")
def mail() -> tuple[LabelledRows, dict[str, FeatureTable]]:
    return _mail()


def _left_out(mail: tuple[LabelledRows, Mapping[str, FeatureTable]], asked: LeftOutAsked) -> dict[str, Any]:
    return left_out(*mail, DETECTORS, asked, history=["sender_activity"], content_views=["content_text"])


@pytest.fixture(scope="module")
def result(mail: tuple[LabelledRows, dict[str, FeatureTable]]) -> dict[str, Any]:
    return _left_out(mail, LeftOutAsked("host", ("traps",), warm_up=100, shares=(0.05, 0.3)))


def test_what_was_in_no_warm_up_is_counted_once(result: dict[str, Any]) -> None:
    never, five, thirty = result["setups"]
    assert never["good_held"]["n"] == 500
    assert (five["good_held"]["n"], thirty["good_held"]["n"]) == (500 - 95, 500 - 70)
    assert {bad["source"]: bad["held"]["n"] for bad in five["bad"]} == {"host": 35, "traps": 90}
    assert {bad["source"]: bad["held"]["n"] for bad in thirty["bad"]} == {"host": 10, "traps": 90}
    assert five["bad_share"] == 0.05 and thirty["bad_share"] == 0.3
    assert result["learned_from"] == {"a": [400, 120], "b": [400, 100]}
    for setup in result["setups"]:
        for bad in setup["bad"]:
            assert bad["held"]["hits"] <= bad["marked"]["hits"] <= bad["held"]["n"]


def test_it_tells_good_mail_from_bad_at_a_site_that_it_never_saw(result: dict[str, Any]) -> None:
    warm = result["setups"][1]
    assert warm["good_held"]["rate"] <= 0.02 and warm["counted"] > 20
    ranked = {(one["source"], one["budget"]): one["rate"] for one in result["ranking"]}
    assert ranked["traps", 0.002] > 0.5


def test_whatever_is_away_has_thresholds_of_its_own(result: dict[str, Any]) -> None:
    away = result["setups"][1]["away"]
    assert set(away) == {"@history", "behaviour", "message_text", "@history+behaviour", "@history+message_text"}
    for one in away.values():
        assert one["good_held"]["n"] == 405 and one["good_held"]["rate"] <= 0.02
        assert one["bad_held"]["n"] == 125
    assert away["behaviour"]["bad_held"]["hits"] > 30 and result["setups"][1]["asked"] == {}


def test_no_label_of_the_host_reaches_a_model_or_a_threshold(
    mail: tuple[LabelledRows, dict[str, FeatureTable]],
) -> None:
    rows, features = mail
    asked = LeftOutAsked("host", ("traps",), warm_up=39, shares=())
    swapped = [
        ("CP" if label == "ham" else "ham") if site == "host" else label
        for label, site in zip(rows.labels, rows.tenant, strict=True)
    ]
    told, other = _left_out(mail, asked), _left_out((replace(rows, labels=swapped), features), asked)
    for one, two in zip(told["setups"], other["setups"], strict=True):
        assert one["junk_from"] == two["junk_from"]
        (own,) = [bad for bad in one["bad"] if bad["source"] == "host"]
        (turned,) = [bad for bad in two["bad"] if bad["source"] == "host"]
        assert own["held"]["hits"] == two["good_held"]["hits"] and turned["held"]["hits"] == one["good_held"]["hits"]


def test_messages_that_are_set_aside_are_in_nothing(
    mail: tuple[LabelledRows, dict[str, FeatureTable]], result: dict[str, Any], tmp_path: Path
) -> None:
    rows, _ = mail
    first = rows.of_messages()
    site = rows.tenant[first].astype(str)
    chosen = [*first[(site == "host") & ~rows.bad[first]][-7:], *first[site == "a"][:5]]
    file = tmp_path / "wrong"
    file.write_text("\n".join(rows.message_id[chosen]))
    asked = LeftOutAsked("host", ("traps",), ("b",), warm_up=100, shares=(0.05,), set_aside=read_set_aside(file))
    found = _left_out(mail, asked)
    assert found["set_aside"] == 12 and sum(found["learned_from"]["a"]) == 515
    assert found["learned_from"]["b"] == [400, 0]
    assert found["setups"][1]["good_held"]["n"] == result["setups"][1]["good_held"]["n"] - 7


def test_it_is_written_whole(result: dict[str, Any], tmp_path: Path) -> None:
    path = write_left_out(tmp_path / "out", {**result, "record": {"command": "mailwarden evaluate"}})
    text = path.read_text()
    assert "# host left out" in text and "of a site never seen" in text and "bad mail of traps" in text
    assert "| all history |" in text and "30.0% of them bad" in text and "0.05% of good mail" in text
    assert json.loads((path.parent / "left_out.json").read_text())["host"] == "host"


def test_what_cannot_be_asked_is_told_with_the_mend(mail: tuple[LabelledRows, dict[str, FeatureTable]]) -> None:
    with pytest.raises(ConfigError, match="name each tenant once"):
        LeftOutAsked("host", ("host",))
    with pytest.raises(ConfigError, match="no share of bad mail"):
        LeftOutAsked("host", shares=(1.0,))
    with pytest.raises(DataError, match="tenant nobody has no labelled mail"):
        _left_out(mail, LeftOutAsked("nobody"))
    with pytest.raises(DataError, match="tenant traps has 0 good messages"):
        _left_out(mail, LeftOutAsked("traps"))
    with pytest.raises(ConfigError, match="no file of message ids"):
        read_set_aside(Path("/nowhere"))
