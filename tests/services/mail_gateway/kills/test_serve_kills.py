"""`serve` with several workers and shards, killed part by part under load: what was acknowledged counts, once.

Workers, sequencers, writers, signal workers, Redis, and with a mail system Postfix and the milter, are killed by
SIGKILL at random moments, while tenants' clients hand the same bytes over until they are acknowledged.
"""

from __future__ import annotations

import collections
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from mailwarden.domain.mail.events import Event
from mailwarden.settings import Settings
from mailwarden.simulation.simulate import simulate
from mailwarden.stores.lake.event_log import table_to_events
from mailwarden.stores.shards import shards_of
from mailwarden.testing.naive_campaigns import naive_campaigns
from mailwarden.testing.naive_states import check_states
from mailwarden.testing.postfix import why_not
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import environment_of, with_redis

Campaign = Any
"""See `conftest.Campaign`."""


def test_four_kills_lose_nothing_and_tenants_move_to_another_number_of_shards(made: Callable[..., Campaign]) -> None:
    parts = ["redis", "shard", "worker", "writer"]
    random.Random(9).shuffle(parts)
    campaign = made(pause=0.2, seed=9)
    campaign.run(parts)
    _each_process_tells_of_all(campaign)
    campaign.settled()
    print(held_against_the_log(campaign, naive_every=25))
    _tenants_move(campaign)


def _each_process_tells_of_all(campaign: Campaign) -> None:
    """Whichever process a scrape hits, it has the series of both, each once."""
    wanted = ("mailwarden_shard_up", "mailwarden_score_seconds_count", "mailwarden_decisions_total")
    told = {
        tuple(line for line in text.splitlines() if line.startswith(wanted))
        for text in (campaign.clients[0].metrics() for _ in range(6))
    }
    (lines,) = told
    values = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
    assert values['mailwarden_shard_up{shard="0"}'] == values['mailwarden_shard_up{shard="1"}'] == 1.0
    scored = [values[f'mailwarden_score_seconds_count{{shard="{shard}"}}'] for shard in (0, 1)]
    assert sum(scored) >= 3 * len(campaign.clients), "what was answered since the last kill"


def _tenants_move(campaign: Campaign) -> None:
    """With one shard each message is still known, the next one follows, and its features have all before it."""
    campaign.serve_with(1)
    for client in campaign.clients:
        client.repeat(0)
        newest = max(answer["seq"] for answer in client.answers.values())
        answer = client.send_next()
        assert answer["seq"] > newest and answer["features"]["as_of_seq"] == answer["seq"] - 1
    assert shards_of(campaign.settings.root) == 1


@pytest.mark.verify
def test_a_stream_through_several_workers_and_shards_is_recomputed_to_the_last_bit(
    made: Callable[..., Campaign],
) -> None:
    campaign = made(pause=0.0, seed=5)
    campaign.run([], answers=200)
    campaign.settled()
    print(held_against_the_log(campaign, naive_every=25))
    _campaigns_are_of_the_order_of_seqs(campaign)
    print(_recomputed(campaign))


def _campaigns_are_of_the_order_of_seqs(campaign: Campaign) -> None:
    """A tenant's mail was handed over one message at a time, so that it begins in the order of its seqs."""
    log, near = Platform(campaign.settings).events, 0
    for client in campaign.clients:
        events = sorted(table_to_events(log.scan(client.tenant).read_all()), key=lambda event: event.seq)
        messages = [event for event in events if event.kind == "message"]
        campaigns = [event.campaign for event in messages]
        assert campaigns == naive_campaigns((event.seq, event.signature) for event in messages), client.tenant
        near += len(campaigns) - len(set(campaigns))
    assert near > 10, "no near copies were among them"


def _recomputed(campaign: Campaign) -> str:
    """`skew` over all that was logged: what it says at the end."""
    command = [sys.executable, "-m", "mailwarden_services.cli", "skew"]
    done = subprocess.run(command, env=environment_of(campaign.settings), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-2_000:]
    return next(line for line in done.stdout.splitlines() if "mismatching values" in line)


@pytest.mark.verify
def test_a_hundred_kills_lose_no_message_and_no_mail(
    made: Callable[..., Campaign], open_folder: Path, request: pytest.FixtureRequest
) -> None:
    parts = ["worker", "serve", "shard", "writer", "signals", "redis"]
    campaign = made(pause=0.1, seed=100, mail=list(simulate(100, days=60, messages_per_day=50)))
    if not why_not():
        (folder := open_folder / "serve-kills").mkdir(mode=0o755)
        system = request.getfixturevalue("mail_systems")(folder, f"unix:{campaign.served.socket}", "milter")
        system[0].key = Platform(campaign.settings).platform_keys.issue("mx", 1, ["gateway"])
        campaign.post_by(system, pause=0.1)
        parts += ["gateway", "postfix"]
    campaign.run(random.Random(100).choices(parts, k=100))
    campaign.settled()
    print(held_against_the_log(campaign, naive_every=200))
    print(_recomputed(campaign))


def held_against_the_log(campaign: Campaign, naive_every: int) -> str:
    """Every answer, every state and every mail against the event log; figures in words."""
    with with_redis(campaign.settings) as settings:
        _drain(settings)
        platform = Platform(settings)
        events = table_to_events(platform.events.scan().read_all())
        by_tenant: dict[str, list[Event]] = {}
        for event in sorted(events, key=lambda event: event.seq):
            by_tenant.setdefault(event.tenant, []).append(event)
        for tenant, found in by_tenant.items():
            assert [e.seq for e in found] == list(range(1, len(found) + 1)), f"{tenant}: seqs are not 1 to n, once each"
            ids = [e.message_id for e in found if e.kind == "message"]
            assert len(ids) == len(set(ids)), f"{tenant}: a message counts twice"
        for client in campaign.clients:
            _answers_are_logged(platform, client, by_tenant[client.tenant])
        vectors = platform.vectors.scan(columns=("tenant", "seq", "recipient")).read_all().to_pylist()
        numbers = collections.Counter(tuple(row.values()) for row in vectors)
        assert numbers and max(numbers.values()) == 1, "a vector is logged twice"
        values = check_states(
            settings, platform.activity, platform.online_writer.generations.catalog(), events, naive_every=naive_every
        )
        posted = _mail_is_delivered(campaign, platform)
    answers = sum(len(client.answers) for client in campaign.clients)
    again = sum(len(client.again) for client in campaign.clients)
    return (
        f"{dict(campaign.killed)} killed; {answers} messages acknowledged over HTTP ({again} after more than one "
        f"attempt), {len(events)} events, {values} values recounted; {posted}"
    )


def _drain(settings: Settings) -> None:
    """Fold what a signal worker had yet to say: each shard's writer folds its partitions of all shards' events."""
    writers = [Platform(settings.of_shard(shard)).feature_writer() for shard in range(settings.shards)]
    idle = 0
    while idle < 3:
        idle = 0 if sum(writer.step() for writer in writers) else idle + 1
        time.sleep(0.02 * (idle > 0))
    for writer in writers:
        writer.flush()
        writer.close()


def _answers_are_logged(platform: Platform, client: Any, events: Sequence[Event]) -> None:
    messages = {e.message_id: e for e in events if e.kind == "message"}
    assert messages.keys() == client.answers.keys(), f"{client.tenant}: acknowledged and logged differ"
    labels = [e.message_id for e in events if e.kind == "label"]
    assert sorted(labels) == sorted(client.labelled), f"{client.tenant}: labels given and logged differ"
    for message_id, answer in client.answers.items():
        assert messages[message_id].seq == answer["seq"], (client.tenant, message_id)
        stored = platform.decisions.by_message(client.tenant, message_id)
        assert stored is not None, f"{client.tenant}: no decision on {message_id}"
        assert orjson.loads(stored.response) == {**answer, "repeated": False}, (client.tenant, message_id)
    assert platform.decisions.count(client.tenant) == len(messages)


def _mail_is_delivered(campaign: Campaign, platform: Platform) -> str:
    if campaign.posting is None or campaign.system is None:
        return "no mail system"
    delivered: collections.Counter[str] = collections.Counter()
    for raw in campaign.system[1].delivered():
        delivered[raw.split(b"Message-ID: <", 1)[1].split(b">", 1)[0].decode()] += 1
    lost = [name for name in campaign.posting.accepted if not delivered[name]]
    assert not lost, (lost, campaign.system[1].log()[-3000:])
    assert "status=bounced" not in campaign.system[1].log()
    counted = collections.Counter(
        record.message_id_header for record in platform.decisions.recent(campaign.posting.tenant, 1_000_000)
    )
    assert not [name for name in campaign.posting.accepted if not counted[name]], "mail that passed without a score"
    again = {name for name, attempts in campaign.posting.accepted.items() if attempts > 1}
    twice = {name for name, times in counted.items() if times > 1}
    assert twice <= again, "mail that was handed in once counts twice"
    return (
        f"{len(campaign.posting.accepted)} taken by Postfix ({len(again)} after more than one attempt), "
        f"{len(lost)} lost, {len(twice)} counted twice"
    )
