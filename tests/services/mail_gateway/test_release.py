"""The quarantine's way out, with a next hop that refuses, ends in the middle, or takes some of the recipients."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from mailwarden.errors import ConfigError, DataError, NotFound, StoreError, StoreUnavailable
from mailwarden.stores.quarantine import Held, HeldFiles, HeldMail, Quarantine
from mailwarden.stores.quarantine.rows import DAY_US, RELEASE_US
from mailwarden.stores.sql import Audit, open_engine, upgrade
from mailwarden.testing.mail_sink import MailSink, mail_sink
from mailwarden_services.mail_gateway.release import Releases

RAW = b"Received: from x\r\nSubject: caf\xc3\xa9\r\n\r\n.dot\r\n..\r\nthe end\r\n"
NOW = 1_700_000_000_000_000


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    url = f"sqlite:///{tmp_path / 'mailwarden.db'}"
    upgrade(url)
    return Quarantine(open_engine(url), HeldFiles(tmp_path / "quarantine"), keep_days=30)


def hold(quarantine: Quarantine, sink: MailSink | None = None, *, now_us: int = NOW, **changes: Any) -> Held:
    given: dict[str, Any] = {
        "tenant": "acme",
        "message_id": "m" * 32,
        "decision_id": "d" * 33,
        "mail_from": "ann@partner.example",
        "recipients": ("bob@example.com", "carl@example.com"),
        "reason": "It is odd.",
        "next_hop": "" if sink is None else f"{sink.protocol}:127.0.0.1:{sink.port}",
    }
    (held,) = quarantine.hold([HeldMail(**given | changes)], lambda: [RAW[:9], RAW[9:]], now_us)
    return held


def releases(quarantine: Quarantine, now_us: int = NOW) -> Releases:
    return Releases(quarantine, Audit(quarantine._engine), now_us=lambda: now_us)


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_a_release_delivers_the_bytes_that_came_once_and_is_written_down(quarantine: Quarantine, protocol: Any) -> None:
    with mail_sink(protocol) as sink:
        held = hold(quarantine, sink)
        done = releases(quarantine).release(held.held_id, who="key:analyst", tenant="acme")
        with pytest.raises(DataError, match="it is released"):
            releases(quarantine).release(held.held_id, who="key:analyst")
    assert done.state == "released" and done.left == () and not done.sending
    assert [raw for _, _, raw in sink.transactions] == [RAW] * (1 if protocol == "smtp" else 2)
    assert [one for _, to, _ in sink.transactions for one in to] == ["bob@example.com", "carl@example.com"]
    assert "MAIL FROM:<ann@partner.example> BODY=8BITMIME" in sink.commands
    (entry,) = Audit(quarantine._engine).page("acme")
    assert (entry.who, entry.what, entry.target) == ("key:analyst", "quarantine.release", held.held_id)
    assert entry.details["message_id"] == "m" * 32


@pytest.mark.parametrize(
    ("command", "reply"),
    [("MAIL", "450 no"), ("RCPT TO:<carl", "550 no"), ("DATA", "554 no"), (".", "451 later")],
)
def test_what_the_next_hop_refuses_stays_held_for_all_and_says_why(
    quarantine: Quarantine, command: str, reply: str
) -> None:
    with mail_sink(replies={command: reply}) as sink:
        held = hold(quarantine, sink)
        with pytest.raises(StoreUnavailable, match=f"answered {reply[:3]}"):
            releases(quarantine).release(held.held_id, who="x")
        now = quarantine.get(held.held_id)
        assert now.state == "held" and reply[:3] in now.error and not now.sending and sink.transactions == []
        sink.replies.clear()
        assert releases(quarantine).release(held.held_id, who="x").state == "released"
        assert len(sink.transactions) == 1


def test_by_lmtp_those_who_have_it_do_not_get_it_again(quarantine: Quarantine) -> None:
    with mail_sink("lmtp", {". carl": "452 full"}) as sink:
        held = hold(quarantine, sink)
        with pytest.raises(StoreUnavailable, match="452"):
            releases(quarantine).release(held.held_id, who="x")
        assert quarantine.get(held.held_id).left == ("carl@example.com",)
        sink.replies.clear()
        assert releases(quarantine).release(held.held_id, who="x").state == "released"
    assert [to for _, to, _ in sink.transactions] == [("bob@example.com",), ("carl@example.com",)]


def test_a_next_hop_that_is_away_leaves_it_held(quarantine: Quarantine) -> None:
    with mail_sink() as sink:
        held = hold(quarantine, sink)
    with pytest.raises(StoreUnavailable, match="held as before"):
        releases(quarantine).release(held.held_id, who="x")
    assert quarantine.get(held.held_id).state == "held"
    bare = hold(quarantine)
    with pytest.raises(ConfigError):
        releases(quarantine).release(bare.held_id, who="x")
    assert quarantine.get(bare.held_id).state == "held"


def test_a_release_that_nobody_knows_the_end_of_is_not_repeated_by_itself(quarantine: Quarantine) -> None:
    later = NOW + RELEASE_US + 1
    with mail_sink(replies={".": ""}) as sink:
        one, two = hold(quarantine, sink), hold(quarantine, sink)
        for held in (one, two):
            with pytest.raises(StoreUnavailable, match="may have been delivered"):
                releases(quarantine).release(held.held_id, who="x")
            assert quarantine.get(held.held_id).state == "releasing" and quarantine.get(held.held_id).sending
            with pytest.raises(DataError, match="being released now"):
                releases(quarantine, NOW + 1).release(held.held_id, who="x")
            with pytest.raises(DataError, match="may have been delivered"):
                releases(quarantine, later).release(held.held_id, who="x")
        assert releases(quarantine, later).settle(one.held_id, who="x").state == "released"
        assert len(sink.transactions) == 2
        sink.replies.clear()
        assert releases(quarantine, later).release(two.held_id, who="x", again=True).state == "released"
    assert len(sink.transactions) == 3


def test_a_release_that_ended_before_anything_was_sent_is_taken_up(quarantine: Quarantine) -> None:
    with mail_sink() as sink:
        held = hold(quarantine, sink)
        quarantine.claim(held.held_id, NOW)
        with pytest.raises(DataError, match="being released now"):
            releases(quarantine, NOW + 1).release(held.held_id, who="x")
        assert releases(quarantine, NOW + RELEASE_US + 1).release(held.held_id, who="x").state == "released"


def test_of_two_releases_at_once_one_delivers(quarantine: Quarantine) -> None:
    ended: list[str] = []

    def run(held_id: str) -> None:
        try:
            ended.append(releases(quarantine).release(held_id, who="x").state)
        except DataError as error:
            ended.append(type(error).__name__)

    with mail_sink() as sink:
        held = hold(quarantine, sink)
        threads = [threading.Thread(target=run, args=(held.held_id,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(ended) == ["DataError"] * 3 + ["released"] and len(sink.transactions) == 1


def test_damaged_and_missing_bytes_are_said_and_never_delivered(quarantine: Quarantine) -> None:
    with mail_sink() as sink:
        damaged, missing = hold(quarantine, sink), hold(quarantine, sink)
        quarantine.files.path(damaged.held_id, damaged.sha256).write_bytes(RAW + b"x")
        quarantine.files.path(missing.held_id, missing.sha256).unlink()
        with pytest.raises(StoreError, match="damaged"):
            releases(quarantine).release(damaged.held_id, who="x")
        with pytest.raises(NotFound, match="backup"):
            releases(quarantine).release(missing.held_id, who="x")
        assert quarantine.get(damaged.held_id).state == "held" and sink.transactions == []


def test_another_tenants_mail_is_not_there(quarantine: Quarantine) -> None:
    held = hold(quarantine)
    for act in (releases(quarantine).release, releases(quarantine).delete, releases(quarantine).settle):
        with pytest.raises(NotFound):
            act(held.held_id, who="x", tenant="other")
    assert quarantine.page("other") == () and quarantine.page("acme")[0].held_id == held.held_id


def test_what_is_deleted_or_expires_is_gone_and_doing_it_twice_changes_nothing(quarantine: Quarantine) -> None:
    old, new, deleted = hold(quarantine), hold(quarantine, now_us=NOW + DAY_US), hold(quarantine)
    releases(quarantine).delete(deleted.held_id, who="x")
    with pytest.raises(DataError, match="it is deleted"):
        releases(quarantine).delete(deleted.held_id, who="x")
    at = releases(quarantine, NOW + 30 * DAY_US)
    assert (at.expire(), at.expire()) == (1, 0)
    assert [quarantine.get(one.held_id).state for one in (old, new, deleted)] == ["expired", "held", "deleted"]
    left = sorted(file.name for file in quarantine.files.folder.glob("??/*"))
    assert left == [f"{new.sha256}-{new.held_id}"] and quarantine.content(new) == RAW
    with pytest.raises(NotFound, match="was expired"):
        quarantine.content(quarantine.get(old.held_id))
    whats = [entry.what for entry in Audit(quarantine._engine).page("acme")]
    assert whats == ["quarantine.expire", "quarantine.delete"]


def test_a_file_that_a_crash_left_is_swept_and_one_that_is_held_stays(quarantine: Quarantine) -> None:
    held = hold(quarantine)
    sha256, _ = quarantine.files.write("q" + "0" * 32, [b"without a row"])
    (quarantine.files.folder / "writing-half").write_bytes(b"half")
    written = quarantine.files.path(held.held_id, held.sha256).stat().st_mtime
    assert quarantine.sweep(written + 10) == 0
    assert quarantine.sweep(written + 90_000) == 2
    assert not quarantine.files.path("q" + "0" * 32, sha256).exists() and quarantine.content(held) == RAW


def test_pages_go_on_where_the_last_one_ended(quarantine: Quarantine) -> None:
    made = [hold(quarantine, now_us=NOW + at // 2).held_id for at in range(7)]
    seen: list[str] = []
    before = None
    while page := quarantine.page("acme", before=before, limit=2):
        seen += [held.held_id for held in page]
        before = (page[-1].held_us, page[-1].held_id)
    assert sorted(seen) == sorted(made) and len(seen) == 7


def test_nothing_is_held_where_the_disk_does_not_take_it(tmp_path: Path, quarantine: Quarantine) -> None:
    quarantine.files.folder = tmp_path / "mailwarden.db" / "below a file"
    with pytest.raises(StoreUnavailable, match="see to the disk"):
        hold(quarantine)
    assert quarantine.page(None) == ()


def test_a_release_that_was_taken_over_changes_nothing_any_more(quarantine: Quarantine) -> None:
    with mail_sink() as sink:
        held = hold(quarantine, sink)
        slow = quarantine.claim(held.held_id, NOW)
        other = quarantine.claim(held.held_id, NOW + RELEASE_US + 1)
        for step in (
            lambda: quarantine.sending(slow, NOW),
            lambda: quarantine.delivered(slow, slow.left, NOW),
            lambda: quarantine.not_delivered(slow, "late", NOW),
        ):
            with pytest.raises(DataError, match="taken over"):
                step()
        assert quarantine.get(held.held_id) == other
