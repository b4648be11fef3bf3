"""Networks that stand for the hosts in them."""

from __future__ import annotations

import pytest

from mailwarden.domain.mail.networks import is_private, network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.0/24"),
        ("203.0.113.200", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("8.8.4.4", "8.8.4.0/24"),
        ("10.1.2.3", ""),
        ("127.0.0.1", ""),
        ("fe80::1", ""),
        ("fd00::1", ""),
        ("mx.example", ""),
        ("", ""),
        ("203.0.113.9.1", ""),
    ],
)
def test_a_host_stands_for_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


def test_what_a_site_alone_can_reach_is_private() -> None:
    assert is_private("192.168.1.1")
    assert not is_private("198.18.4.1")
    assert not is_private("no address")
