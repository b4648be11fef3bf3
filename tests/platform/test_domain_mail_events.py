from __future__ import annotations

from dataclasses import replace

import pytest

from mailwarden.domain.mail.events import (
    Direction,
    Emission,
    Flow,
    Way,
    direction_of,
    key_of,
    keys_of,
    label_change,
    members_of,
    message_identity,
)
from mailwarden.testing.histories import history_of

PLAIN = replace(
    history_of([0])[0],
    sender="a@else.test",
    sender_domain="else.test",
    recipients=("b@own.test", "c@own.test"),
    recipient_domains=("own.test",),
    direction="inbound",
)


@pytest.mark.parametrize(
    ("emission", "direction", "expected"),
    [
        ("participants", "inbound", [(("a@else.test",), True)]),
        ("participants", "internal", [(("a@else.test",), True)]),
        (
            "participants",
            "outbound",
            [(("a@else.test",), True), (("b@own.test",), False), (("c@own.test",), False)],
        ),
        ("participant_domains", "inbound", [(("else.test",), True)]),
        ("participant_domains", "outbound", [(("else.test",), True), (("own.test",), False)]),
        ("recipients", "inbound", [(("b@own.test",), True), (("c@own.test",), True)]),
        (
            "pairs",
            "internal",
            [
                (("a@else.test", "b@own.test"), True),
                (("b@own.test", "a@else.test"), False),
                (("a@else.test", "c@own.test"), True),
                (("c@own.test", "a@else.test"), False),
            ],
        ),
    ],
)
def test_keys_of_each_emission(
    emission: Emission, direction: Direction, expected: list[tuple[tuple[str, ...], bool]]
) -> None:
    event = replace(PLAIN, direction=direction)
    assert [(key, way.forward) for key, way in keys_of(emission, event)] == expected
    assert list(keys_of(emission, replace(event, kind="label"))) == list(keys_of(emission, event))


def test_a_message_without_a_sender_emits_no_sender() -> None:
    event = replace(PLAIN, sender="", sender_domain="", direction="inbound")
    emissions: tuple[Emission, ...] = ("participants", "participant_domains", "pairs")
    assert [list(keys_of(emission, event)) for emission in emissions] == [[], [], []]
    assert len(list(keys_of("recipients", event))) == 2


def test_mail_to_oneself_reaches_one_key_in_both_directions() -> None:
    event = replace(PLAIN, recipients=(PLAIN.sender,), direction="outbound")
    assert [(key, way.forward) for key, way in keys_of("participants", event)] == [
        (("a@else.test",), True),
        (("a@else.test",), False),
    ]
    assert [way.forward for _, way in keys_of("pairs", event)] == [True, False]


def test_facts_are_keys_once_each_and_the_tenant_alone_where_none_is_named() -> None:
    event = replace(PLAIN, thread="t1", display_name="", new_recipients=("c@own.test",))
    assert list(keys_of("facts", event, ("sender", "thread"))) == [(("a@else.test", "t1"), Way(True, True))]
    assert list(keys_of("facts", event, ("sender", "display_name"))) == []
    assert list(keys_of("facts", event)) == [((), Way(True, True))]


def test_a_first_contact_is_that_of_the_key_s_own_recipient() -> None:
    event = replace(PLAIN, new_recipients=("c@own.test",))
    assert dict(keys_of("recipients", event)) == {("b@own.test",): Way(True), ("c@own.test",): Way(True, True)}
    pairs = dict(keys_of("pairs", event))
    assert pairs["c@own.test", "a@else.test"] == Way(False, True)
    assert pairs["a@else.test", "b@own.test"] == Way(True, False)
    assert dict(keys_of("participants", event)) == {("a@else.test",): Way(True, True)}


def test_a_message_reads_the_keys_that_it_names() -> None:
    event = replace(PLAIN, thread="t1", campaign="")
    assert key_of(("sender", "recipient"), event, "b@own.test") == ("a@else.test", "b@own.test")
    assert key_of(("thread",), event, "") == ("t1",) and key_of((), event, "") == ()
    assert key_of(("recipient",), event, "") is None and key_of(("campaign",), event, "x") is None


def test_members_are_names_that_are_somebody_s() -> None:
    event = replace(PLAIN, recipients=("b@own.test", ""), display_name="ann", thread="")
    assert members_of(event, "recipients") == ("b@own.test",)
    assert members_of(event, "display_name") == ("ann",) and members_of(event, "thread") == ()


@pytest.mark.parametrize(
    ("sender_domain", "recipient_domains", "expected"),
    [
        ("else.test", ("own.test",), "inbound"),
        ("else.test", ("else.test",), "inbound"),
        ("", ("own.test",), "inbound"),
        ("own.test", ("own.test",), "internal"),
        ("own.test", (), "internal"),
        ("own.test", ("own.test", "else.test"), "outbound"),
    ],
)
def test_direction(sender_domain: str, recipient_domains: tuple[str, ...], expected: str) -> None:
    assert direction_of(sender_domain, recipient_domains, frozenset({"own.test"})) == expected


@pytest.mark.parametrize("flow", [None, "inbound", "outbound"])
@pytest.mark.parametrize("authenticated", [None, False, True])
@pytest.mark.parametrize("sender_domain", ["own.test", "else.test", ""])
def test_what_the_mail_system_says_of_the_way_goes_before_what_from_claims(
    sender_domain: str, authenticated: bool | None, flow: Flow | None
) -> None:
    own = frozenset({"own.test"})
    within = direction_of(sender_domain, ("own.test",), own, authenticated, flow)
    beyond = direction_of(sender_domain, ("own.test", "else.test"), own, authenticated, flow)
    believed = {None: authenticated is not False, "inbound": authenticated is True, "outbound": True}[flow]
    ours = flow == "outbound" or (believed and sender_domain == "own.test")
    assert (within, beyond) == (("internal", "outbound") if ours else ("inbound", "inbound"))


@pytest.mark.parametrize(
    ("label", "replaced", "expected"),
    [
        ("ham", None, (0, 0, 1)),
        ("spam", None, (1, 0, 0)),
        ("SP", None, (1, 0, 0)),
        ("BE", None, (1, 1, 0)),
        ("ham", "BE", (-1, -1, 1)),
        ("spam", "BE", (0, -1, 0)),
        ("CP", "ham", (1, 1, -1)),
        ("CP", "BE", (0, 0, 0)),
        ("withdrawn", "BE", (-1, -1, 0)),
        ("withdrawn", "ham", (0, 0, -1)),
        ("spam", "withdrawn", (1, 0, 0)),
        ("withdrawn", None, (0, 0, 0)),
    ],
)
def test_a_correction_takes_the_earlier_label_back(
    label: str, replaced: str | None, expected: tuple[int, int, int]
) -> None:
    assert label_change(label, replaced) == expected


def test_identity_is_of_tenant_content_and_arrival() -> None:
    plain = ("t", "ab", 5, "a@x.test", ("b@x.test", "c@x.test"))
    identity = message_identity(*plain)
    assert len(identity) == 32 and int(identity, 16) >= 0
    assert message_identity("t", "ab", 5, "a@x.test", ("c@x.test", "b@x.test")) == identity
    others = [
        ("u", "ab", 5, "a@x.test", ("b@x.test", "c@x.test")),
        ("t", "ac", 5, "a@x.test", ("b@x.test", "c@x.test")),
        ("t", "ab", 6, "a@x.test", ("b@x.test", "c@x.test")),
        ("t", "ab", 5, None, ("b@x.test", "c@x.test")),
        ("t", "ab", 5, "a@x.test", ("b@x.test",)),
        # Parts that are the same once glued together.
        ("ta", "b", 5, "a@x.test", ("b@x.test", "c@x.test")),
        ("t", "ab", 5, "a@x.testb@x.test", ("c@x.test",)),
        ("t", "ab", 5, "a@x.test", ("b@x.testc@x.test",)),
    ]
    assert identity not in {message_identity(*other) for other in others}


def test_identity_of_text_that_is_not_unicode() -> None:
    assert message_identity("t", "ab", 5, "\udcff@x.test", ()) != message_identity("t", "ab", 5, "\udcfe@x.test", ())
