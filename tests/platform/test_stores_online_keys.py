"""Redis keys: equal to Feast's, and told apart exactly."""

from __future__ import annotations

import pytest
from feast.infra.online_stores.helpers import _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.errors import DataError
from mailwarden.stores.online.keys import KeyTemplate, check_views

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = [("sender",), ("sender_domain",), ("recipient",), ("sender", "recipient")]


@given(st.sampled_from(NAMES), TEXT, st.lists(TEXT, min_size=2, max_size=2), st.sampled_from(["mail", "prodmail"]))
def test_key_equals_feasts(names: tuple[str, ...], tenant: str, values: list[str], project: str) -> None:
    values = values[: len(names)]
    proto = EntityKey(
        join_keys=["tenant", *names], entity_values=[Value(string_val=value) for value in (tenant, *values)]
    )
    assert KeyTemplate(project, names).key(tenant, values) == _redis_key(project, proto, 3)


@given(TEXT, st.lists(TEXT, min_size=2, max_size=2), st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_a_template_owns_its_own_keys_alone(
    tenant: str, values: list[str], names: tuple[str, ...], others: tuple[str, ...]
) -> None:
    mine, other = KeyTemplate("mail", names), KeyTemplate("mail", others)
    assert mine.owns(mine.key(tenant, values[: len(names)]))
    assert mine.owns(other.key(tenant, values[: len(others)])) == (names == others)
    assert not mine.owns(KeyTemplate("prodmail", names).key(tenant, values[: len(names)]))


def test_a_lone_surrogate_makes_a_key_of_its_own() -> None:
    template = KeyTemplate("mail", ("sender",))
    assert template.key("acme", ["\ud800@x"]) != template.key("acme", ["?@x"])


def test_two_views_of_one_name_are_refused(activity_views: tuple[ActivityView, ...]) -> None:
    with pytest.raises(DataError, match="sender_activity is given twice"):
        check_views([*activity_views, activity_views[0]])
