"""Campaigns of a home: the same whichever way messages come, and never lost for good."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.mail.campaigns import hashed_words, name_of, signature_of_words
from mailwarden.domain.mail.clusters import Member
from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreError
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.lake.event_log import EventLog, EventView
from mailwarden.testing.naive_campaigns import naive_campaigns

EMPTY = EventView(None)


def sign(text: int, variant: int = 0) -> str:
    """A signature of one of many texts, and of a variant of it."""
    rng = random.Random(text)
    words = [f"{rng.choice('bcdfgh')}{rng.choice('aeiou')}" * 2 + rng.choice("klmnp") * (1 + rng.randrange(9))
             for _ in range(30)]  # fmt: skip
    more = random.Random(1_000 + variant)
    words += ["".join(more.choice("qvwxyz") for _ in range(6)) for _ in range(10 * bool(variant))]
    return signature_of_words(hashed_words(" ".join(words))[0])


def message(seq: int, campaign: str, signature: str, tenant: str = "acme") -> Event:
    at_us = 1_176_000_000_000_000 + seq
    return Event(tenant, seq, "message", f"{tenant}{seq}", at_us, at_us, "envelope", "inbound", "a@x.example",
                 "x.example", (), (), campaign=campaign, signature=signature)  # fmt: skip


def opened(path: Path, log: EventView = EMPTY, tenant: str = "acme", **options: int) -> Campaigns:
    campaigns = Campaigns(path / "campaigns", **options)
    campaigns.prepare(tenant, log)
    return campaigns


def join(campaigns: Campaigns, seq: int, signature: str, tenant: str = "acme") -> str:
    campaign = campaigns.find(tenant, signature)
    if campaign:
        campaigns.take(tenant, Member(seq, campaign, signature))
    return campaign


def test_near_copies_are_of_one_campaign_and_each_tenant_has_its_own(tmp_path: Path) -> None:
    campaigns = opened(tmp_path)
    campaigns.prepare("other", EMPTY)
    assert join(campaigns, 1, sign(1)) == name_of(sign(1)) == join(campaigns, 2, sign(1, 2))
    assert campaigns.find("other", sign(1, 2)) == name_of(sign(1, 2)) != name_of(sign(1))
    assert campaigns.find("acme", "") == ""
    campaigns.close()
    again = Campaigns(tmp_path / "campaigns")
    again.restore("acme", Member(2, name_of(sign(1)), sign(1, 2)))
    again.prepare("acme", EMPTY)
    assert again.find("acme", sign(1, 5)) == name_of(sign(1))
    again.close()


_sent = st.tuples(st.integers(0, 8), st.integers(0, 3))
_ways = st.sampled_from(["single", "bulk", "bulk again", "crash", "restart", "lost file"])


@settings(max_examples=25, deadline=None)
@given(st.lists(_sent, max_size=40), st.integers(1, 7), st.integers(2, 9), st.data())
def test_whatever_way_messages_come_the_answers_are_those_of_the_recount(
    tmp_path_factory: pytest.TempPathFactory,
    sent: list[tuple[int, int]],
    save_every: int,
    capacity: int,
    data: st.DataObject,
) -> None:
    """Bulk, one by one, restarts, lost memory and lost files; some messages have no signature."""
    folder = tmp_path_factory.mktemp("campaigns")
    log = EventLog(folder / "events")
    options = {"save_every": save_every, "capacity": capacity}
    campaigns = opened(folder, **options)
    signatures = [sign(*each) if each[0] else "" for each in sent]
    expected = naive_campaigns(enumerate(signatures, 1), capacity=capacity)
    at = 0
    while at < len(sent):
        seqs = range(at + 1, min(at + 1 + data.draw(st.integers(1, 5)), len(sent) + 1))
        how = data.draw(_ways)
        if how.startswith("bulk"):
            with campaigns.numbering("acme") as numbering:
                for _ in range(2 if how == "bulk again" else 1):
                    numbering.begin(log.view())
                    found = [name for seq in seqs for name in numbering.join([(seq, signatures[seq - 1])])]
        else:
            found = [join(campaigns, seq, signatures[seq - 1]) for seq in seqs]
        assert found == expected[at : seqs[-1]]
        log.append([message(seq, name, signatures[seq - 1]) for seq, name in zip(seqs, found, strict=True)])
        if how in ("crash", "restart", "lost file"):
            if how == "restart":
                campaigns.close()
            else:
                campaigns._land()
                campaigns._pool.shutdown()  # what waits in memory is gone
            if how == "lost file":
                campaigns._path("acme").unlink(missing_ok=True)
            campaigns = opened(folder, log.view(), **options)
        at = seqs[-1]
    campaigns.close()


def test_what_the_spool_still_holds_counts_before_and_after_the_log_is_read(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    log.append([message(1, name_of(sign(1)), sign(1))])
    campaigns = Campaigns(tmp_path / "campaigns")
    # Its founder is in the log, the second one's in the spool.
    campaigns.restore("acme", Member(6, name_of(sign(1)), sign(1, 3)))
    campaigns.restore("acme", Member(7, name_of(sign(2)), sign(2)))
    assert campaigns.prepare("acme", log.view()) == 1
    for text in (1, 2):
        assert campaigns.find("acme", sign(text, 4)) == name_of(sign(text))
    assert campaigns._known["acme"].clusters.founders()[1].tolist() == [6, 7]
    campaigns.close()


def test_a_log_that_was_replaced_is_learnt_anew(tmp_path: Path) -> None:
    campaigns = opened(tmp_path)
    join(campaigns, 50, sign(1))
    campaigns.close()
    log = EventLog(tmp_path / "events")
    log.append([message(1, name_of(sign(2)), sign(2)), message(2, name_of(sign(2)), sign(2, 1))])
    again = Campaigns(tmp_path / "campaigns")
    assert again.prepare("acme", log.view()) == 2
    assert again.find("acme", sign(1, 1)) == name_of(sign(1, 1))
    assert again.find("acme", sign(2, 2)) == name_of(sign(2))
    again.close()


@pytest.mark.parametrize("damage", ["missing", "garbage", "cut off", "version", "inside", "no right"])
def test_a_missing_or_damaged_file_is_made_again_from_the_log(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path / "events")
    log.append([message(1, name_of(sign(1)), sign(1))])
    if damage == "version":
        monkeypatch.setattr("mailwarden.stores.campaigns._VERSION", 99)
    opened(tmp_path, log.view()).close()
    monkeypatch.undo()
    (path,) = (tmp_path / "campaigns").glob("*.npz")
    whole = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"no archive at all" * 1000)
    elif damage == "cut off":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "inside":
        at = whole.index(b"known.npy")
        path.write_bytes(whole[: at + 140] + b"\xff" * 40 + whole[at + 180 :])
    elif damage == "no right":
        path.unlink()
        path.mkdir()
    elif damage == "missing":
        path.unlink()
    again = Campaigns(tmp_path / "campaigns")
    assert again.prepare("acme", log.view()) == 1
    assert again.find("acme", sign(1, 1)) == name_of(sign(1))
    again.close()


def test_older_logs_and_messages_without_a_campaign_take_no_part(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    label = replace(message(4, name_of(sign(3)), sign(3)), kind="label", label="spam")
    log.append([message(1, "c0ffee", ""), message(2, "", sign(1)), message(3, name_of(sign(3)), sign(3)), label])
    campaigns = Campaigns(tmp_path / "campaigns")
    assert campaigns.prepare("acme", log.view()) == 1
    assert len(campaigns._known["acme"].clusters) == 1
    campaigns.close()


def test_a_bulk_that_fails_leaves_nothing(tmp_path: Path) -> None:
    campaigns = opened(tmp_path)
    join(campaigns, 1, sign(1))
    with pytest.raises(RuntimeError), campaigns.numbering("acme") as numbering:
        numbering.begin(EMPTY)
        assert numbering.join([(2, sign(2)), (3, sign(1, 1))]) == [name_of(sign(2)), name_of(sign(1))]
        raise RuntimeError
    assert campaigns.find("acme", sign(2, 1)) == name_of(sign(2, 1))
    assert campaigns.find("acme", sign(1, 1)) == name_of(sign(1))
    campaigns.close()


def test_a_message_that_reached_no_disk_is_taken_back_and_its_file_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaigns = opened(tmp_path, save_every=1)
    join(campaigns, 1, sign(1))
    campaigns._land()
    join(campaigns, 2, sign(2))
    campaigns.forget("acme", Member(2, name_of(sign(2)), sign(2)))
    assert not list((tmp_path / "campaigns").glob("*.npz"))
    assert campaigns.find("acme", sign(2, 1)) == name_of(sign(2, 1))
    assert campaigns.find("acme", sign(1, 1)) == name_of(sign(1))
    join(campaigns, 3, sign(3))

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StoreError, match="made again from the event log"):
        campaigns.forget("acme", Member(3, name_of(sign(3)), sign(3)))
    monkeypatch.undo()
    assert campaigns.find("acme", sign(3, 1)) == name_of(sign(3, 1))
    campaigns.close()


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "campaigns").write_text("in the way")
    campaigns = opened(tmp_path, save_every=1)
    for seq in range(1, 5):
        assert join(campaigns, seq, sign(1, seq)) == name_of(sign(1, 1))
    campaigns.close()
