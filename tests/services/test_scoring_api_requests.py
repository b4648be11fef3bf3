"""What the mail system knows beside a message, as callers give it."""

from __future__ import annotations

import pytest
from fastapi import Request
from pydantic import ValidationError

from mailwarden.domain.mail.reception import Reception
from mailwarden_services.scoring_api.problems import Problem
from mailwarden_services.scoring_api.requests import MessageBody, envelope_of


def request(query: str = "", **headers: str) -> Request:
    pairs = [(f"x-mailwarden-{name.replace('_', '-')}".encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "query_string": query.encode(), "headers": pairs})


def test_the_host_that_handed_a_message_over_comes_beside_it() -> None:
    known = Reception(client_ip="2001:db8::1", helo="mx.far.example")
    assert envelope_of(request("client_ip=2001:DB8::1&helo=mx.far.example")).reception == known
    assert envelope_of(request(client_ip="2001:db8:0::1", helo="mx.far.example")).reception == known
    body = MessageBody.model_validate({"message": "", "client_ip": "2001:db8::1", "helo": "mx.far.example"})
    assert body.envelope().reception == known
    assert envelope_of(request("mail_from=a@b.example")).reception is None
    assert MessageBody(message="").envelope().reception is None


@pytest.mark.parametrize("wrong", ["far.example", "192.0.2", "192.0.2.1/24"])
def test_an_address_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(Problem, match="client_ip"):
        envelope_of(request(f"client_ip={wrong}"))
    with pytest.raises(ValidationError):
        MessageBody.model_validate({"message": "", "client_ip": wrong})
