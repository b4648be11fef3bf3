from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.message import Mailbox, QrCode, Url
from mailwarden.stores.lists import load_lists
from mailwarden.testing.messages import empty_message, message_of
from mailwarden_features.content_qr.view import VIEW

LISTS = load_lists()
ANN = Mailbox("ann@parts.example", "Ann", "parts.example")


def computed(**changes: Any) -> Mapping[str, ContentValue]:
    return VIEW.compute(message_of(sender=ANN, **changes), LISTS)


def code(host: str, domain: str = "") -> QrCode:
    url = Url(f"https://{host}/a", "", host, domain or host, "qr")
    return QrCode(url.url, url)


def test_without_images_there_are_no_codes_and_no_links_in_them() -> None:
    found = VIEW.compute(empty_message(), LISTS)
    assert {name: value for name, value in found.items() if value is not None} == {
        "qr_pending": 0, "qr_code_count": 0, "qr_url_count": 0, "qr_is_only_link": 0
    }  # fmt: skip


def test_what_is_read_later_is_not_known_and_not_none() -> None:
    found = computed(pending=("qr",))
    assert found["qr_pending"] == 1 and {value for name, value in found.items() if name != "qr_pending"} == {None}
    # Some were read with it: that much is known.
    assert computed(pending=("qr",), qr_codes=(code("a.example"),))["qr_code_count"] == 1


def test_codes_and_where_they_lead() -> None:
    plain = QrCode("WIFI:S:guest;;", None)
    codes = (code("pay.parts.example", "parts.example"), code("evil.example"), code("192.0.2.7"), plain)
    links = (Url("https://parts.example/", "", "parts.example", "parts.example", "text"),)
    assert dict(computed(qr_codes=codes, urls=links)) == {
        "qr_pending": 0, "qr_code_count": 4, "qr_url_count": 3, "qr_is_only_link": 0, "qr_domain_count": 3,
        "qr_leads_elsewhere": 1, "qr_leads_where_links_do_not": 1, "qr_ip_host": 1,
    }  # fmt: skip
    own = computed(qr_codes=codes[:1])
    assert (own["qr_is_only_link"], own["qr_leads_elsewhere"], own["qr_ip_host"]) == (1, 0, 0)
    assert computed(qr_codes=codes[:1], urls=links)["qr_leads_where_links_do_not"] == 0
    assert computed(qr_codes=(plain,))["qr_domain_count"] is None
