"""Facts of an event in Spark's own columns: the forms of `fact_specs`, as `event_bits` and `quantity_of` read them."""

from __future__ import annotations

from typing import assert_never

from pyspark.sql import Column
from pyspark.sql import functions as F

from mailwarden.domain.aggregates.fact_specs import (
    FLAG_FACTS,
    HOURS_A_BIN,
    NAME_FACTS,
    QUANTITY_FACTS,
    During,
    FlagForm,
    Is,
    Length,
    Period,
    Reaches,
    Value,
    Verdict,
)
from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US

_FLAGS = {fact.name: fact.form for fact in FLAG_FACTS}
_QUANTITIES = {fact.name: fact.form for fact in QUANTITY_FACTS}
_NAMES = {fact.name: fact for fact in NAME_FACTS}


def flag_column(name: str, forward: Column, first_contact: Column) -> Column:
    """A flag of `FLAGS`, never null. forward, first_contact: how the event reaches the key."""
    form: FlagForm = _FLAGS[name]
    match form:
        case Is(field, value):
            return F.coalesce(F.col(field) == F.lit(value), F.lit(False))
        case During(period, place):
            return _bin(period) == place
        case Reaches(field, wanted):
            reached = forward if field == "forward" else first_contact
            return reached if wanted else ~reached
        case _:
            assert_never(form)


def _bin(period: Period) -> Column:
    # Integers from end to end, as in the domain: no session zone has a say in the hour, and no rounding.
    time_us, of_day = "unix_micros(received_at)", f"pmod(unix_micros(received_at), {DAY_US})"
    if period == "hour":
        return F.expr(f"{of_day} div {HOURS_A_BIN * HOUR_US}")
    return F.expr(f"pmod(({time_us} - {of_day}) div {DAY_US} + 3, 7)")


def quantity_value(name: str) -> Column:
    """A quantity of `QUANTITIES` as int64, never null."""
    form = _QUANTITIES[name]
    held = F.col(form.field)
    match form:
        case Value():
            found = F.coalesce(held, F.lit(0))
        case Length():
            found = F.when(held.isNull(), 0).otherwise(F.size(held))
        case Verdict():
            found = F.when(held.isNull(), 0).when(held, 1).otherwise(-1)
        case _:
            assert_never(form)
    return found.cast("long")


def names_value(name: str) -> Column:
    """The names in a fact of `MEMBERS` as array<string>; null and empty ones are nobody's."""
    return F.col(name) if _NAMES[name].many else F.array(name)
