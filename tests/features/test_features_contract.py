from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Age,
    Decayed,
    Distinct,
    Extreme,
    Feature,
    Held,
    History,
    Match,
    Measure,
    Peak,
    Ratio,
    Recent,
    Surge,
    Total,
    Unusual,
)
from mailwarden.domain.aggregates.windows import DAY_US, W_7D, W_30D, W_ALL, W_MATURED, Window
from mailwarden.domain.mail.content import ContentFeature, ContentValue, ContentView
from mailwarden.domain.mail.lists import NO_LISTS, Lists, lists_of
from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.ingest.parse import parse_message
from mailwarden.stores.lists import load_lists
from mailwarden.testing.check_leaks import check_folder
from mailwarden.testing.check_view import check_names, check_view
from mailwarden.testing.messages import empty_message
from mailwarden_detectors import discover as discover_detectors
from mailwarden_features import discover
from mailwarden_features.discovery import FOLDER

HTML = b"""From: "Billing" <billing@parts.example>
To: lee@corp.example
Reply-To: pay@gmail.com
Subject: RE: Invoice 4471 OVERDUE!
Message-ID: <1@parts.example>
Date: Tue, 5 Mar 2024 10:00:00 +0000
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html; charset=windows-1251

<html><body>Dear customer, pay <a href="http://10.0.0.1/x?u=https://evil.example/">www.parts.example</a>
<span style="display:none">hidden</span></body></html>
--b
Content-Type: application/octet-stream; name="invoice.pdf.exe"
Content-Transfer-Encoding: base64

TVqQAAMAAAAEAAAA
--b--
"""

MESSAGES = tuple(
    parse_message(raw, Envelope(received_at_us=1_709_640_000_000_000, mail_from="a@b.example"))
    for raw in (
        b"",
        b"\x00\xff" * 500,
        b"Subject: \xed\xa0\x80 =?utf-8?q?=ED=A0=80?=\n\n\xff",
        HTML,
        b"From: x\n\n" + b"A" * 9000,
    )
)

REPOSITORY = discover()


@pytest.mark.parametrize("name", [view.name for view in REPOSITORY.views])
def test_every_view_that_is_there_keeps_its_contract(name: str) -> None:
    problems = check_view(REPOSITORY.by_name(name), MESSAGES, load_lists()) + check_folder(FOLDER / name)
    assert [str(problem) for problem in problems] == []


def test_no_name_is_used_twice() -> None:
    assert check_names(REPOSITORY.views, discover_detectors(every=True)) == []


@pytest.mark.parametrize("name", [view.name for view in REPOSITORY.views])
def test_feast_holds_every_feature_with_its_words(name: str) -> None:
    view, feature_view = REPOSITORY.by_name(name), REPOSITORY.feature_views[name]
    fields = {field.name: field for field in feature_view.features}
    assert list(fields) == [feature.name for feature in view.features]
    assert feature_view.owner == view.owner and feature_view.description == view.description
    for feature in view.features:
        field = fields[feature.name]
        assert field.description == feature.description
        assert field.tags["unit"] == feature.unit and field.tags["null"] == feature.null
        if isinstance(feature, Feature) and feature.windows:
            assert field.tags["window"] == ", ".join(window.name for window in feature.windows) and field.tags["hop"]


def activity(**changes: object) -> ActivityView:
    """A small view that keeps its contract, but for the changes."""
    view = ActivityView(
        name="sender_sample",
        version=1,
        owner="team",
        description="A sample.",
        keys=("sender",),
        emission="participants",
        measures=(
            Measure("messages"),
            Measure("with_link", where=("forward", "has_link")),
            Measure("bad", of="labelled_bad", on="label"),
        ),
        extremes=(Extreme("first_sent", "first", where=("forward",)),),
        distincts=(Distinct("recipients", of="recipients"),),
        features=(
            Feature("history", History(), "Seen before.", "0 or 1"),
            Feature("messages_all", Total("messages", W_ALL), "Messages.", "messages"),
            Feature("links_30d", Ratio("with_link", "messages", W_30D), "Links.", "0..1", "none in the window"),
            Feature("days_known", Age("first_sent"), "Since the first.", "days", "it never sent anything"),
            Feature("recipients_all", Total("recipients", W_ALL), "Recipients.", "addresses"),
            Feature("bad_rate", Ratio("bad", "messages", W_MATURED, (1.0, 9.0)), "Bad ones.", "0..1"),
        ),
    )
    return replace(view, **changes)  # type: ignore[arg-type]


def _having(expression: object, name: str = "odd", null: str = "none", **aggregates: object) -> ActivityView:
    """The sample with one more feature, and with further aggregates by field."""
    view = activity()
    more = {field: (*getattr(view, field), *found) for field, found in aggregates.items()}  # type: ignore[misc]
    feature = Feature(name, expression, "An odd one.", "odds", null)  # type: ignore[arg-type]
    return replace(view, features=(*view.features, feature), **more)


def _with_feature(index: int, **changes: object) -> ActivityView:
    view = activity()
    features = list(view.features)
    features[index] = replace(features[index], **changes)  # type: ignore[arg-type]
    return replace(view, features=tuple(features))


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (replace(activity(), owner=" "), "no owner"),
        (replace(activity(), description=""), "no description"),
        (replace(activity(), name="SenderActivity"), "snake_case"),
        (replace(activity(), version=0), "version"),
        (replace(activity(), features=()), "no feature"),
        (replace(activity(), features=activity().features[1:]), "History"),
        (replace(activity(), keys=("recipient",)), "keys"),
        (replace(activity(), emission="everyone"), "emission"),  # type: ignore[arg-type]
        (replace(activity(), measures=(*activity().measures, Measure("unread"))), "'unread'"),
        (replace(activity(), measures=(*activity().measures, Measure("odd", where=("blue",)))), "'blue'"),
        (replace(activity(), measures=(*activity().measures, Measure("odd", of="colour"))), "'colour'"),
        (_with_feature(1, description=""), "no description"),
        (_with_feature(1, unit=""), "no unit"),
        (_with_feature(1, null=""), "meaning of null"),
        (_with_feature(1, name="Messages"), "snake_case"),
        (_with_feature(1, name="history"), "used 2 times"),
        (_with_feature(1, expression=Total("mesages", W_ALL)), "'mesages'"),
        (_with_feature(1, expression=Total("messages", Window("w", DAY_US, 0))), "no hop"),
        (_with_feature(1, expression=Total("messages", Window("w", DAY_US, 2 * DAY_US))), "shorter than its hop"),
        (_with_feature(1, expression=Total("messages", Window("w", DAY_US, DAY_US, DAY_US))), "no event"),
        (_with_feature(1, expression=Ratio("with_link", "messages", W_ALL, (-1.0, 0.0))), "negative"),
        (activity(emission="facts", keys=("recipient",)), "one of many"),
        (activity(emission="facts", keys=("label",)), "no fact of a message"),
        (activity(emission="facts", keys=("sender", "sender")), "twice"),
        (_having(Total("both", W_ALL), measures=(Measure("both", where=("inbound", "outbound")),)), "never see an"),
        (_having(Total("odd", W_ALL), measures=(Measure("odd", where=("reverse", "inbound")),)), "never see an event"),
        (_having(Total("messages", W_7D), name="odd_30d"), "its name says 30d"),
        (_having(Surge("messages", W_30D, W_30D, "first_sent")), "longer one"),
        (
            _having(Surge("messages", W_7D, W_30D, "latest"), extremes=(Extreme("latest", "last"),)),
            "no first extreme",
        ),
        (_having(Unusual("hours", "hour", W_ALL)), "profile_of('hours', 'hour')"),
        (_having(Decayed("messages", DAY_US, (W_30D, W_7D))), "from the shortest to the longest"),
        (_having(Decayed("messages", DAY_US, (W_ALL,))), "with a lower edge"),
        (_having(Decayed("messages", 0, (W_7D,))), "half life"),
        (_having(Match("structures", W_MATURED), recents=(Recent("structures", "structure", 4),)), "upper edge"),
        (_having(Held("sizes"), extremes=(Extreme("sizes", "last"),)), "keeps no value"),
        (_having(Age("sizes"), extremes=(Extreme("sizes", "last", of="size_bytes"),)), "leave `of` out"),
        (activity(peaks=(Peak("largest", "max", of="size_bytes"),)), "'largest'"),
        (activity(recents=(Recent("structures", "structure", 4),)), "'structures'"),
        (_having(Match("many"), recents=(Recent("many", "recipients", 65),)), "keep 1 to 64"),
        (
            _having(
                Match("few"),
                recents=(Recent("few", "recipients", 64), Recent("many", "recipient_domains", 64)),
            ),
            "may take",
        ),
    ],
)
def test_a_broken_view_is_told_so_in_words(view: ActivityView, words: str) -> None:
    assert any(words in str(problem) for problem in check_view(view))


def content(value: ContentValue, dtype: str = "int64", null: str = "not computable: empty") -> ContentView:
    def compute(message: Message, lists: Lists) -> Mapping[str, ContentValue]:
        return {"fact": value}

    feature = ContentFeature("fact", dtype, "A fact.", "0 or 1", null)  # type: ignore[arg-type]
    return ContentView("made_up", 1, "team", "Made up.", (feature,), compute, ("headers",), 1.0)


def test_a_content_view_that_keeps_its_contract_has_no_problem() -> None:
    for view in (content(1), content(0.5, "float64"), content("x", "string"), content(None)):
        assert check_view(view) == []


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (content(True), "bool"),
        (content(1.0), "float"),
        (content(1, "float64"), "int"),
        (content(float("nan"), "float64"), "nan"),
        (content(2**63), "int64"),
        (content("\ud800", "string"), "surrogates"),
        (content(None, null="never: always a value"), "never"),
        (content(1, "bool"), "dtype"),
        (content("x" * 65, "string"), "text=True"),
        (replace(content(1), reads=()), "says not what it reads"),
        (replace(content(1), reads=("pictures",)), "'pictures'"),  # type: ignore[arg-type]
        (replace(content(1), cost_us=0.0), "cost_us"),
        (replace(content(1), lists=("shorteners",)), "'shorteners', which is not there"),
        (replace(content(1), features=(replace(content(1).features[0], text=True),)), "marked as text"),
    ],
)
def test_a_content_value_of_the_wrong_kind_is_told_so(view: ContentView, words: str) -> None:
    assert any(words in str(problem) for problem in check_view(view))


def test_a_compute_that_raises_leaves_out_adds_or_changes_its_mind_is_told_so() -> None:
    calls: list[int] = []

    def unsteady(message: Message, lists: Lists) -> Mapping[str, ContentValue]:
        calls.append(1)
        return {"fact": len(calls)}

    def failing(message: Message, lists: Lists) -> Mapping[str, ContentValue]:
        raise ValueError("no")

    view = content(1)
    assert any("deterministic" in str(p) for p in check_view(replace(view, compute=unsteady)))
    assert any("raise" in str(p) for p in check_view(replace(view, compute=failing)))
    assert any("leaves it out" in str(p) for p in check_view(replace(view, compute=lambda message, lists: {})))
    assert any(
        "no feature declares it" in str(p)
        for p in check_view(replace(view, compute=lambda message, lists: {"fact": 1, "other": 2}))
    )


def test_the_empty_message_is_what_the_parser_makes_of_no_bytes() -> None:
    parsed = parse_message(b"")
    assert replace(parsed, defects=(), content_sha256="", part_types=(), charsets=()) == empty_message()


def test_a_view_sees_no_list_that_it_does_not_name() -> None:
    def compute(message: Message, lists: Lists) -> Mapping[str, ContentValue]:
        return {"fact": int(lists.holds("shorteners", "bit.ly"))}

    there = lists_of({"shorteners": ["bit.ly"], "free_mail": ["post.example"]})
    view = replace(content(1), compute=compute)
    assert any("name the list in `lists`" in str(p) for p in check_view(view, lists=there))
    assert check_view(replace(view, lists=("shorteners",)), lists=there) == []
    assert any("not there" in str(p) for p in check_view(replace(view, lists=("shorteners",)), lists=NO_LISTS))
