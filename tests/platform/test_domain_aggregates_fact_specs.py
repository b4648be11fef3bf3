"""Specs of facts: each is of a field that there is, of the type that its form reads, and says what it means."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from mailwarden.domain.aggregates.fact_specs import (
    FACTS,
    FLAG_FACTS,
    FLAGS,
    MEMBERS,
    NAME_FACTS,
    QUANTITIES,
    QUANTITY_FACTS,
    During,
    Is,
    Length,
    NameFact,
    Reaches,
    Value,
    Verdict,
    flag_mask,
    quantity_of,
)
from mailwarden.domain.mail.events import Event
from mailwarden.testing.histories import history_of
from mailwarden.testing.naive_facts import quantity

TYPES = {field.name: str(field.type) for field in fields(Event)}
READS = {
    Value: {"int", "bool"},
    Length: {"tuple[str, ...]", "tuple[int, ...]"},
    Verdict: {"bool | None"},
}


@pytest.mark.parametrize("fact", [*FLAG_FACTS, *QUANTITY_FACTS, *NAME_FACTS], ids=lambda fact: fact.name)
def test_a_fact_reads_a_field_of_the_type_that_its_form_takes(fact: object) -> None:
    match fact:
        case NameFact(name):
            assert TYPES[name] == ("tuple[str, ...]" if fact.many else "str")
            assert not (fact.key and fact.many)
        case _:
            form = fact.form  # type: ignore[attr-defined]
            match form:
                case Is(field, value):
                    assert TYPES[field].startswith("bool" if isinstance(value, bool) else ("str", "Direction", "Kind"))
                case During() | Reaches():
                    pass
                case _:
                    assert TYPES[form.field] in READS[type(form)]
    assert fact.words  # type: ignore[attr-defined]


@pytest.mark.parametrize("names", [FLAGS, QUANTITIES, MEMBERS, FACTS])
def test_names_are_given_once(names: tuple[str, ...]) -> None:
    assert len(set(names)) == len(names)


def test_every_quantity_is_as_the_recount_has_it() -> None:
    for event in history_of([piece * (2**256 // 317) for piece in range(100)]):
        for name in QUANTITIES:
            assert quantity_of(event, name) == quantity(event, name), name


def test_what_is_null_in_an_old_record_counts_as_nothing() -> None:
    event = replace(history_of([0])[0], url_count=None, new_recipients=None)  # type: ignore[arg-type]
    assert quantity_of(event, "url_count") == quantity_of(event, "new_recipient_count") == 0


def test_a_filter_is_the_bits_of_its_flags_each_once() -> None:
    assert flag_mask(("reverse", "forward", "reverse")) == 0b11
    with pytest.raises(ValueError, match="not in tuple"):
        flag_mask(("friendly",))
