"""content_directory and content_lookalikes: what is null, and what is told."""

from __future__ import annotations

from mailwarden.domain.mail.directory_answer import DirectoryAnswer
from mailwarden.domain.mail.message import Mailbox
from mailwarden.stores.lists import load_lists
from mailwarden.testing.messages import message_of
from mailwarden_features.content_directory.transform import compute
from mailwarden_features.content_lookalikes.transform import compute as compute_lookalikes

LISTS = load_lists()
ANN = Mailbox("ann@a.example", "Ann Lee", "a.example")


def test_nothing_is_told_where_nobody_asked_and_no_name_where_no_directory_is() -> None:
    assert set(compute(message_of(sender=ANN), LISTS).values()) == {None}
    told = compute(message_of(sender=ANN, directory=DirectoryAnswer(own_domain=True)), LISTS)
    assert (told["own_domain"], told["own_domain_unproven"], told["directory_given"]) == (1, 0, 0)
    assert (told["name_listed"], told["sender_listed"], told["name_usual_address"]) == (None, None, None)


def test_a_borrowed_name_is_told_with_whose_it_is() -> None:
    said = DirectoryAnswer(
        listed=True, named="name", named_vip=True, named_duty="finance", named_usual="ann@own.example"
    )
    told = compute(message_of(sender=ANN, directory=said), LISTS)
    assert (told["name_borrowed"], told["name_vip_borrowed"], told["name_finance_borrowed"]) == (1, 1, 1)
    assert (told["initials_borrowed"], told["name_manager_borrowed"], told["name_theirs"]) == (0, 0, 0)
    assert (told["name_duty"], told["name_usual_address"]) == ("finance", "ann@own.example")


def test_brands_are_told_from_what_passes_for_them() -> None:
    def brand(domain: str) -> object:
        return compute_lookalikes(message_of(sender=Mailbox(f"a@{domain}", "", domain)), LISTS)["brand_lookalike"]

    assert [brand(domain) for domain in ("paypa1.com", "rnicrosoft.com", "micosoft.com")] == [1, 1, 1]
    assert [brand(domain) for domain in ("paypal.com", "paypal.de", "gmail.com", "parts.example")] == [0, 0, 0, 0]
