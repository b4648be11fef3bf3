"""What proves a sender, and what does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mailwarden.domain.detection.proof import AUTHENTICATED, FEATURES, NONE, PATH, STRUCTURE, breaks_habit, proof_of
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.status import Status

_PARTNER = {
    "content_authentication:authenticated": 0.0,
    "sender_activity:history": 1.0,
    "sender_activity:path_match_90d": 0.0,
    "sender_activity:structure_match_90d": 0.0,
    "sender_activity:authenticated_share_90d": 0.0,
    "sender_domain_activity:history": 1.0,
    "sender_domain_activity:path_match_90d": 0.0,
    "sender_domain_activity:authenticated_share_30d": 0.0,
    "content_directory:own_domain_unproven": 0.0,
}


def _row(**changes: float) -> FeatureTable:
    values: dict[str, float] = {**_PARTNER, **{name.replace("__", ":"): value for name, value in changes.items()}}
    columns: dict[str, Any] = {name: np.array([values[name]]) for name in FEATURES}
    return FeatureTable(columns, 1)


@pytest.mark.parametrize(
    ("changes", "proof"),
    [
        ({}, NONE),
        ({"content_authentication__authenticated": 1.0}, AUTHENTICATED),
        ({"sender_activity__path_match_90d": 1.0}, PATH),
        ({"sender_activity__structure_match_90d": 1.0}, STRUCTURE),
        # A path of the domain's, which others of it share, does not prove an address that has paths of its own.
        ({"sender_domain_activity__path_match_90d": 1.0}, NONE),
        ({"sender_domain_activity__path_match_90d": 1.0, "sender_activity__history": 0.0}, PATH),
        # Who authenticates now and then is not proven by what can be imitated.
        ({"sender_activity__structure_match_90d": 1.0, "sender_activity__authenticated_share_90d": 0.2}, NONE),
        # Who does as a rule is not by a network that a whole provider shares.
        ({"sender_activity__path_match_90d": 1.0, "sender_activity__authenticated_share_90d": 0.9}, NONE),
        (
            {
                "sender_activity__path_match_90d": 1.0,
                "sender_activity__authenticated_share_90d": 0.9,
                "content_authentication__authenticated": np.nan,
            },
            PATH,
        ),
        ({"sender_activity__structure_match_90d": 1.0, "sender_activity__history": 0.0}, NONE),
        # A colleague's mail is checked by nobody, and an imitation of it comes from outside.
        ({"sender_activity__structure_match_90d": 1.0, "content_directory__own_domain_unproven": 1.0}, NONE),
        ({"sender_activity__path_match_90d": 1.0, "content_directory__own_domain_unproven": 1.0}, PATH),
    ],
)
def test_the_strongest_proof_counts(changes: dict[str, float], proof: float) -> None:
    assert proof_of(_row(**changes)).tolist() == [proof]


def test_nobody_knows_where_history_is_unavailable() -> None:
    views = ["sender_activity", "sender_domain_activity"]
    row = _row().lacking(views, Status.UNAVAILABLE)
    assert np.isnan(proof_of(row)).all()
    proven = _row(content_authentication__authenticated=1.0).lacking(views, Status.UNAVAILABLE)
    assert proof_of(proven).tolist() == [AUTHENTICATED]


@pytest.mark.parametrize(
    ("share", "domain_share", "said", "broken"),
    [
        (0.9, 0.9, 0.0, 1.0),
        (0.9, 0.9, 1.0, 0.0),
        (0.3, 0.9, 0.0, 0.0),
        (np.nan, 0.9, 0.0, 1.0),
        (np.nan, np.nan, 0.0, 0.0),
    ],
)
def test_a_habit_is_broken_by_who_has_one(share: float, domain_share: float, said: float, broken: float) -> None:
    row = _row(
        sender_activity__authenticated_share_90d=share,
        sender_domain_activity__authenticated_share_30d=domain_share,
        content_authentication__authenticated=said,
    )
    assert breaks_habit(row).tolist() == [broken]
