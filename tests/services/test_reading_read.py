"""Mail read for scoring, however much of it can be read."""

from __future__ import annotations

import hashlib
import socket
import time
from typing import Any

import pytest
import structlog

from mailwarden.domain.mail.content import ContentFeature, ContentSet, ContentView
from mailwarden.domain.mail.events import message_identity
from mailwarden.domain.mail.lists import NO_LISTS
from mailwarden.domain.mail.message import Envelope
from mailwarden.domain.mail.reception import Answer, Reception, RecordType
from mailwarden.domain.status import Status
from mailwarden.errors import ConfigError
from mailwarden.ingest.receive import Site, receive
from mailwarden.settings import Settings
from mailwarden.stores.dns import DnsResolver
from mailwarden_services.bootstrap import Platform
from mailwarden_services.reading.read import Reader

SITE = Site("acme", frozenset({"acme.example"}))
ENVELOPE = Envelope(1_710_000_000_000_000, "ann@far.example", ("bob@acme.example",))
RAW = (
    b"From: Ann <ann@far.example>\r\nTo: bob@acme.example\r\nSubject: the plan\r\nMessage-ID: <1@far.example>\r\n\r\n"
    b"See https://far.example/plan\r\n"
)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> ContentSet:
    return Platform(Settings(home=tmp_path_factory.mktemp("home"))).content


def test_what_is_read_is_what_is_received_with_its_mbox_line_apart(content: ContentSet) -> None:
    for raw in (RAW, b"From ann@far.example Sat Jan  3 10:11:12 2026\n" + RAW, b"no header\n", b""):
        found = Reader(content).whole(raw, ENVELOPE, SITE)
        assert found.event == receive(raw, ENVELOPE, SITE).event
        assert raw[found.raw_from :] == receive(raw, ENVELOPE, SITE).raw


def test_header_fields_alone_say_what_the_whole_says_of_them(content: ContentSet) -> None:
    found, whole = Reader(content).headers(RAW, ENVELOPE, SITE), Reader(content).whole(RAW, ENVELOPE, SITE)
    assert found.event.message_id == whole.event.message_id and found.event.sender == "ann@far.example"
    assert found.event.thread == whole.event.thread and found.event.content_sha256 == whole.event.content_sha256
    assert found.event.link_domain == "" and found.has_headers and not found.failed
    assert found.content.status["content_headers"] == Status.PRESENT
    for view in ("content_text", "content_links", "content_attachments", "content_inner"):
        assert found.content.status[view] == Status.DEADLINE
    assert found.content.values["content_headers"] == whole.content.values["content_headers"]


def test_headers_that_are_read_alone_say_what_was_not_read_of_them(content: ContentSet) -> None:
    reader = Reader(content)
    many = b"".join(b"X-%d: 1\r\n" % number for number in range(1_100)) + RAW
    long = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 9_000) for number in range(40)) + RAW
    for raw, status in ((RAW, Status.PRESENT), (many, Status.OVER_BUDGET), (long, Status.DEADLINE)):
        found = reader.headers(raw, ENVELOPE, SITE)
        assert found.content.status["content_headers"] == status
        assert found.content.status["content_text"] == Status.DEADLINE
    # What was read says as much, and the same, as in a reading of the whole.
    alone, whole = reader.headers(many, ENVELOPE, SITE), reader.whole(many, ENVELOPE, SITE)
    assert alone.content.values["content_headers"] == whole.content.values["content_headers"]
    assert whole.content.status["content_headers"] == Status.OVER_BUDGET


def test_where_not_even_headers_can_be_read_the_envelope_speaks(content: ContentSet) -> None:
    found = Reader(content).envelope_only(RAW, ENVELOPE, SITE)
    assert found.event.sender == "ann@far.example" and found.event.recipients == ("bob@acme.example",)
    digest = hashlib.sha256(RAW).hexdigest()
    assert found.event.message_id == message_identity(
        "acme", digest, ENVELOPE.received_at_us or 0, ENVELOPE.mail_from, ENVELOPE.rcpt_to
    )
    assert found.has_headers and found.event.size_bytes == len(RAW)
    assert set(found.content.status.values()) == {Status.DEADLINE}
    assert {value for row in found.content.values.values() for value in row} == {None}


@pytest.mark.parametrize(
    "broken",
    [lambda message, lists: 1 // 0, lambda message, lists: {"urls": 1},
     lambda message, lists: {"urls": 2.5, "ratio": 0.0}, lambda message, lists: {"urls": True, "ratio": 0.0},
     lambda message, lists: {"urls": 2**63, "ratio": 0.0}],
)  # fmt: skip
def test_a_content_view_that_fails_is_null_and_damaged_and_the_others_go_on(broken: Any) -> None:
    numbers = (ContentFeature("urls", "int64", "", "", ""), ContentFeature("ratio", "float64", "", "", ""))
    links = ContentView("content_links", 3, "tests", "", numbers, broken, ("links",), 1.0)
    words = ContentView(
        "content_text", 1, "tests", "", (ContentFeature("subject", "string", "", "", "", text=True),),
        lambda message, lists: {"subject": message.subject}, ("headers", "text"), 1.0,
    )  # fmt: skip
    reader = Reader(ContentSet((words, links), NO_LISTS, {"content_text": 11, "content_links": 12}))
    with structlog.testing.capture_logs() as logged:
        found = [reader.whole(RAW, ENVELOPE, SITE) for _ in range(5)][-1]
    assert found.failed == ("content_links",)
    assert found.content.values == {"content_text": ("the plan",), "content_links": (None, None)}
    assert found.content.status == {"content_text": "present", "content_links": "damaged"}
    assert [line["times"] for line in logged] == [1, 2, 4] and {line["view"] for line in logged} == {"content_links"}


def test_a_resolver_is_asked_where_no_trusted_result_stands(content: ContentSet) -> None:
    class Zone(DnsResolver):
        def __init__(self) -> None:
            super().__init__(("192.0.2.53",), 1.0)

        def __call__(self, name: str, type: RecordType) -> Answer:
            records = {"far.example": "v=spf1 ip4:192.0.2.7 -all", "_dmarc.far.example": "v=DMARC1; p=reject"}
            found = records.get(name)
            return Answer(name, type, "found", (found,)) if found and type == "TXT" else Answer(name, type, "nothing")

    envelope = Envelope(ENVELOPE.received_at_us, ENVELOPE.mail_from, ENVELOPE.rcpt_to,
                        reception=Reception(client_ip="192.0.2.7"))  # fmt: skip
    found = Reader(content, Zone()).whole(RAW, envelope, SITE)
    assert found.event.authenticated is True
    view = next(view for view in content.views if view.name == "content_authentication")
    values = dict(zip((f.name for f in view.features), found.content.values[view.name], strict=True))
    assert (values["spf"], values["dmarc"], values["said_by"], values["dmarc_policy"]) == (
        "pass",
        "pass",
        "own",
        "reject",
    )
    # Without one, from what is kept: the same, and nobody is asked.
    assert Reader(content).whole(RAW, found.envelope, SITE).content == found.content
    assert Reader(content).whole(RAW, envelope, SITE).event.authenticated is None


def test_a_name_server_that_does_not_answer_costs_a_bounded_time(content: ContentSet) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        resolver = DnsResolver((f"127.0.0.1#{silent.getsockname()[1]}",), 0.4)
        began = time.monotonic()
        envelope = Envelope(1, "ann@far.example", (), reception=Reception(client_ip="192.0.2.7"))
        found = Reader(content, resolver).whole(RAW, envelope, SITE)
        assert time.monotonic() - began < 5.0
        assert found.content.status["content_authentication"] is Status.UNAVAILABLE
        assert found.event.authenticated is False
    with pytest.raises(ConfigError, match="no address"):
        DnsResolver(("resolver.example",), 1.0)
