"""Pages of long lists: where one ends, as a text that callers hand back."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from mailwarden_services.scoring_api.problems import bad_request

MOST = 500
"""Rows of one page."""

_NUMBER = 2**63

Limit = Annotated[int, Query(ge=1, le=MOST, description="rows of a page, at most")]
After = Annotated[str | None, Query(max_length=200, description="`next` of the page before")]


def place_text(*parts: int | str) -> str:
    """A place as text; the last part may hold anything."""
    return "~".join(map(str, parts))


def read_place(text: str, numbers: int) -> tuple[list[int], str]:
    """The numbers of a place, and the text behind them; raises Problem where it is none."""
    *found, rest = text.split("~", numbers)
    if len(found) != numbers or not all(one.isascii() and one.removeprefix("-").isdigit() for one in found):
        raise bad_request("`after` is no place in this list; send `next` as the page before had it.")
    places = [int(one) for one in found]
    if any(abs(place) >= _NUMBER for place in places) or "\x00" in rest:
        raise bad_request("`after` is no place in this list; send `next` as the page before had it.")
    return places, rest
