from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from mailwarden.domain.mail.lists import lists_of
from mailwarden.domain.mail.message import Envelope
from mailwarden.ingest.parse import parse_message
from mailwarden.stores.content_code import content_set
from mailwarden.stores.lists import load_lists
from mailwarden_features import discover
from mailwarden_features.content_standing.transform import compute

LISTS = lists_of(
    {"disposable": ["throwaway.example", "box.dyn.example"], "free_mail": ["parcelworld.net.example"]},
    {"known.example": 3, "acme.example": 7},
    {"acme bank": ["acme.example", "acmebank.test"], "parcelworld": ["parcelworld.example"], "ups": ["ups.example"]},
)


def facts(sender: str, *, reply_to: str = "", body: str = "Hello.") -> dict[str, object]:
    headers = f"From: {sender}\nTo: bob@home.example\nSubject: x\n" + (f"Reply-To: {reply_to}\n" if reply_to else "")
    return dict(compute(parse_message(f"{headers}\n{body}\n".encode(), Envelope()), LISTS))


def test_throw_away_addresses_are_told_by_host_and_by_what_lies_above_it() -> None:
    assert facts("a@throwaway.example")["sender_disposable"] == 1
    assert facts("a@mail.throwaway.example")["sender_disposable"] == 1
    # Only the one host under a domain where anyone may have a name.
    assert facts("a@box.dyn.example")["sender_disposable"] == 1
    assert facts("a@dyn.example")["sender_disposable"] == 0
    assert facts("a@known.example")["reply_to_disposable"] is None
    assert facts("a@known.example", reply_to="b@known.example, c@throwaway.example")["reply_to_disposable"] == 1
    assert facts("nobody")["sender_disposable"] is None


def test_a_rank_is_of_the_registrable_domain() -> None:
    assert facts("a@mail.known.example")["sender_rank"] == 3
    assert facts("a@unknown.example")["sender_rank"] is None


@pytest.mark.parametrize(
    ("sender", "named", "borrowed"),
    [
        ("ACME  Bank Support <a@x.example>", 1, 1),
        ('"Acme Bank." <a@mail.acme.example>', 1, 0),
        ('"Acme Bank (Parcelworld)" <a@acme.example>', 1, 1),
        ("Acme Bankers <a@x.example>", 0, 0),
        ("\u0410cm\u0435 Bank <a@x.example>", 1, 1),
        ("\u0410\u0421\u041c\u0415 BANK <a@x.example>", 1, 1),
        ("\uff21cme Ba\u00adnk <a@x.example>", 1, 1),
        ("A\u200bcme Bank <a@mail.acme.example>", 1, 0),
        ("\u0410\u043d\u043d\u0430 \u0411\u0430\u043d\u043a <a@x.example>", 0, 0),
        ("a@x.example", None, None),
    ],
)
def test_a_brand_in_the_name_is_borrowed_where_the_domain_is_not_its_own(
    sender: str, named: int | None, borrowed: int | None
) -> None:
    found = facts(sender)
    assert (found["brand_named"], found["brand_borrowed"]) == (named, borrowed)


def test_links_with_a_brands_name_in_their_host() -> None:
    body = (
        "https://parcelworld.secure-login.example/a https://my-parcelworld.example/b https://www.parcelworld.example/c "
        "https://ups-parcels.example/d https://known.example/e"
    )
    found = facts("a@x.example", body=body)
    assert (found["url_brand_borrowed"], found["url_unranked_share"]) == (2, 0.8)
    # Where a carrier's customers have their mail.
    assert (
        facts("a@x.example", body="Ann Lee, ann at parcelworld.net.example, https://parcelworld.net.example/")[
            "url_brand_borrowed"
        ]
        == 0
    )
    assert facts("a@x.example")["url_unranked_share"] is None


@pytest.mark.parametrize(
    ("host", "borrowed"),
    [
        ("p\u0430rcelworld.evil.example", 1),
        ("my-p\u0430rcelw\u043erld.example", 1),
        ("p\u00e4rcelworld.example", 0),
        ("\u043f\u043e\u0441\u044b\u043b\u043a\u0430.example", 0),
    ],
)
def test_a_host_that_is_drawn_like_a_brands_name_has_it(host: str, borrowed: int) -> None:
    assert facts("a@x.example", body=f"https://{host}/")["url_brand_borrowed"] == borrowed


def test_the_lists_that_ship_know_what_is_common() -> None:
    raw = b"From: PayPal Service <x@mailinator.com>\n\nhttp://paypal.com.evil.example/\n"
    found = compute(parse_message(raw, Envelope()), load_lists())
    assert found["sender_disposable"] == found["brand_borrowed"] == found["url_brand_borrowed"] == 1


def test_a_sites_list_changes_the_views_that_name_it_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "free_mail.txt").write_text("# name: free_mail\n# version: 1\n# mode: extend\n\nposta.example\n")
    views = discover().content
    shipped, own = content_set(views, load_lists()), content_set(views, load_lists(tmp_path))
    differ = {name for name in shipped.fingerprints if shipped.fingerprints[name] != own.fingerprints[name]}
    named = {view.name for view in views if "free_mail" in view.lists}
    assert differ == named == {"content_identity", "content_lookalikes", "content_standing"}
    message = parse_message(b"From: a@posta.example\n\nHello.\n", Envelope())

    def refuse(view: object, exc: Exception) -> None:
        raise exc

    # As an executor gets it: some hundred bytes of lists, whatever their size.
    sent = pickle.dumps(own)
    assert len(sent) < 60_000 and b"gmail.com" not in sent
    place = [f.name for f in next(v for v in views if v.name == "content_identity").features].index("sender_freemail")
    for content, freemail in ((shipped, 0), (pickle.loads(sent), 1)):
        assert content.values_of(message, refuse).values["content_identity"][place] == freemail
