"""What is asked of the mail system, by verdict, policy, mode and direction."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwarden.domain.detection.action import (
    ACTIONS,
    REJECT_FROM,
    Action,
    ActionPolicy,
    Mode,
    RejectFrom,
    least_strict,
    mildest,
)
from mailwarden.domain.detection.decision import VERDICTS, Verdict
from mailwarden.domain.mail.events import Direction

DIRECTIONS: tuple[Direction, ...] = ("inbound", "outbound", "internal")

TABLE: list[tuple[Mode, RejectFrom | None, tuple[Action, Action, Action, Action]]] = [
    ("monitor", None, ("accept", "accept", "accept", "accept")),
    ("monitor", "banner", ("accept", "accept", "accept", "accept")),
    ("enforce", None, ("accept", "banner", "junk", "quarantine")),
    ("enforce", "quarantine", ("accept", "banner", "junk", "reject")),
    ("enforce", "junk", ("accept", "banner", "reject", "reject")),
    ("enforce", "banner", ("accept", "reject", "reject", "reject")),
]
"""The actions of `VERDICTS`, in their order, by mode and the verdict from which mail is refused."""


@pytest.mark.parametrize(("mode", "reject", "actions"), TABLE)
def test_mail_that_comes_in(mode: Mode, reject: RejectFrom | None, actions: tuple[Action, ...]) -> None:
    policy = ActionPolicy(mode, reject)
    assert tuple(policy.action(verdict, "inbound", submitted=False) for verdict in VERDICTS) == actions
    assert tuple(policy.action(verdict, "internal", submitted=True) for verdict in VERDICTS) == actions
    # What only claims by its From to leave is acted on: anybody can write that.
    assert tuple(policy.action(verdict, "outbound", submitted=False) for verdict in VERDICTS) == actions


@pytest.mark.parametrize(("mode", "reject", "actions"), TABLE)
def test_mail_that_leaves_is_only_learnt_from_unless_it_is_to_be_acted_on(
    mode: Mode, reject: RejectFrom | None, actions: tuple[Action, ...]
) -> None:
    for verdict in VERDICTS:
        assert ActionPolicy(mode, reject).action(verdict, "outbound", submitted=True) == "accept"
    policy = ActionPolicy(mode, reject, act_on_outbound=True)
    assert tuple(policy.action(verdict, "outbound", submitted=True) for verdict in VERDICTS) == actions


def test_headers_are_added_in_enforce_mode_and_in_monitor_where_they_are_asked_for() -> None:
    for direction, submitted in itertools.product(DIRECTIONS, (False, True)):
        leaves = direction == "outbound" and submitted
        assert not ActionPolicy().shows(direction, submitted=submitted)
        assert ActionPolicy("enforce").shows(direction, submitted=submitted) is not leaves
        assert ActionPolicy(headers_in_monitor=True).shows(direction, submitted=submitted) is not leaves
        assert ActionPolicy("enforce", act_on_outbound=True).shows(direction, submitted=submitted)


@given(st.lists(st.sampled_from(ACTIONS), min_size=1))
def test_the_action_of_several_is_the_strictest_that_all_accept(actions: list[Action]) -> None:
    found = least_strict(actions)
    assert found in actions and all(ACTIONS.index(found) <= ACTIONS.index(action) for action in actions)


def test_of_nobody_nothing_is_asked() -> None:
    assert least_strict(()) == "accept" and mildest(()) == "deliver"


@given(
    st.sampled_from(VERDICTS),
    st.sampled_from(VERDICTS),
    st.sampled_from(DIRECTIONS),
    st.booleans(),
    st.builds(
        ActionPolicy,
        st.sampled_from(("monitor", "enforce")),
        st.sampled_from((None, *REJECT_FROM)),
        st.booleans(),
        st.booleans(),
    ),
)
def test_a_worse_verdict_never_gets_a_milder_action(
    one: Verdict, other: Verdict, direction: Direction, submitted: bool, policy: ActionPolicy
) -> None:
    mild, worse = sorted((one, other), key=VERDICTS.index)
    asked = [ACTIONS.index(policy.action(verdict, direction, submitted=submitted)) for verdict in (mild, worse)]
    assert asked[0] <= asked[1]
