from __future__ import annotations

from pathlib import Path

import pytest

from mailwarden.errors import DataError
from mailwarden.ingest.parse import parse_message
from mailwarden.simulation.company import BRANDS, FREEMAIL_DOMAINS
from mailwarden.simulation.simulate import simulate
from mailwarden.simulation.site_lists import write_lists
from mailwarden.stores.lists import load_lists


def test_the_worlds_names_are_added_to_what_ships(tmp_path: Path) -> None:
    lists = load_lists(write_lists(tmp_path / "lists"))
    assert all(lists.holds("free_mail", domain) for domain in (*FREEMAIL_DOMAINS, "gmail.com"))
    assert lists.brands["bankunion"] == {"bankunion.example"} and set(lists.brands) > {
        brand.lower() for brand in BRANDS
    }
    senders = [parse_message(m.raw, m.envelope).sender.domain for m in simulate(3, days=5, messages_per_day=60)]
    assert sum(lists.holds("free_mail", domain) for domain in senders) > 5


def test_a_folder_that_cannot_be_made_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_lists(tmp_path / "file" / "lists")
