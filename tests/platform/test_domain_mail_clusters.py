"""Clusters: what the rule says and nothing else, bounded whatever is sent, and the same after any restart."""

from __future__ import annotations

import base64
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.mail.campaigns import SLOTS, name_of
from mailwarden.domain.mail.clusters import BANDS, BUCKET, Clusters, Member
from mailwarden.testing.naive_campaigns import naive_campaigns


def signature(slots: bytes, words: int = 40) -> str:
    return base64.b64encode(slots + words.to_bytes(2, "little")).decode()


def agreeing(slots: bytes, n: int, seed: int, first: int = 0) -> bytes:
    """Slots of which n in a row, from the first on, are those given."""
    rng = random.Random(seed)
    made = [rng.randrange(256) for _ in range(SLOTS)]
    for at in range(first, first + n):
        made[at % SLOTS] = slots[at % SLOTS]
    return bytes(made)


ONE = bytes(range(SLOTS))


def test_the_nearest_founder_is_joined_and_of_two_as_near_the_one_joined_last() -> None:
    clusters = Clusters()
    two = bytes(at + 100 for at in ONE)
    first, second = signature(ONE, 20), signature(two, 20)
    founded = [clusters.join(1, first), clusters.join(2, second)]
    assert founded == [name_of(first), name_of(second)]
    assert clusters.find(signature(agreeing(ONE, 60, 3), 20)) == founded[0]
    # 40 slots of each: as near to the one as to the other.
    between = ONE[:40] + two[40:80] + bytes(14)
    for seq, name in ((3, founded[0]), (4, founded[1]), (5, founded[0])):
        clusters.take(Member(seq, name, ""))
        assert clusters.find(signature(between, 20)) == name


def test_a_cluster_does_not_drift_away_from_its_founder() -> None:
    clusters, slots, names = Clusters(), bytearray(ONE), []
    for step in range(SLOTS + 1):
        names.append(clusters.join(step + 1, signature(bytes(slots))))
        if step < SLOTS:
            slots[step] = 255 - slots[step]
    assert names[40] == names[0] and names[-1] != names[0] and len(set(names)) == 2


def test_a_message_like_none_founds_a_campaign_and_none_has_none() -> None:
    clusters = Clusters()
    assert clusters.join(1, "") == "" == clusters.find("") and len(clusters) == 0
    assert clusters.find(signature(ONE)) == name_of(signature(ONE)) and len(clusters) == 0
    assert clusters.join(1, signature(ONE)) == name_of(signature(ONE)) and len(clusters) == 1
    # 20 of 94 slots are less than a quarter of the words.
    assert clusters.join(2, signature(agreeing(ONE, 20, 5))) != name_of(signature(ONE))
    # Of 200 words in one and 40 in the other, 40 at most are common.
    assert clusters.find(signature(agreeing(ONE, 40, 6), 200)) != name_of(signature(ONE))
    # A campaign whose founder was never taken in is nobody's.
    clusters.take(Member(3, "0" * 16, signature(agreeing(ONE, 0, 7))))
    assert len(clusters) == 2


def test_the_cluster_joined_longest_ago_is_dropped() -> None:
    clusters = Clusters(capacity=3)
    texts = [signature(agreeing(ONE, 0, seed)) for seed in range(4)]
    for seq, at in enumerate((0, 1, 2, 0, 3), 1):
        clusters.join(seq, texts[at])
    names, joined, _ = clusters.founders()
    assert names == [name_of(texts[at]) for at in (2, 0, 3)] and joined.tolist() == [3, 4, 5]


_steps = st.tuples(
    st.integers(0, 3), st.sampled_from([0, 6, 10, 24, 30, 45, 60, 94]), st.integers(0, SLOTS - 1), st.integers(0, 40),
    st.sampled_from([3, 8, 20, 40, 60, 300]), st.sampled_from(["", "restart", "forget", "forget two"]),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(_steps, max_size=70), st.integers(1, 40))
def test_whatever_comes_the_clusters_are_those_of_the_recount(steps: list[tuple[int, ...]], capacity: int) -> None:
    """Restarts from what is kept, and messages taken back, in the midst of it."""
    clusters = Clusters(capacity)
    sent: list[tuple[int, str]] = []
    given: list[str] = []
    for number, (prototype, n, first, seed, words, what) in enumerate(steps, 1):
        seq = 2 * number
        text = "" if seed == 40 else signature(agreeing(bytes([prototype]) * SLOTS, n, seed, first), words)
        if what == "forget":
            clusters.forget(Member(seq, clusters.join(seq, text), text))
            continue
        if what == "forget two":
            # The one taken back is not the newest: what came after it, or bears the same seq, keeps its campaign.
            name, sooner = clusters.find(text), signature(agreeing(ONE, 0, 1_000 + seq))
            gone = Member(seq + number % 2, name_of(sooner), sooner)
            clusters.take(gone)
            clusters.take(Member(seq + 1, name, text))
            clusters.forget(gone)
        else:
            name = clusters.join(seq + 1, text)
        sent.append((seq + 1, text))
        given.append(name)
        if what == "restart":
            clusters = Clusters.of(*clusters.founders(), capacity)
    assert given == naive_campaigns(sent, capacity=capacity)


def test_an_index_that_is_attacked_stays_bounded() -> None:
    """Founders that agree in every band with 15 others, and not enough to be one campaign, are the worst there is."""
    clusters, capacity = Clusters(4_096), 4_096
    rng = np.random.default_rng(1)
    for seq in range(1, 6_000):
        slots = rng.integers(0, 256, SLOTS, dtype=np.uint8)
        slots[: 2 * 9] = 7  # nine bands shared by all, too few to be alike
        clusters.join(seq, signature(slots.tobytes()))
    assert len(clusters) == capacity
    buckets = np.zeros(BANDS, dtype=np.int64)
    for band in range(BANDS):
        row = int(clusters._heads[band, (7 << 8 | 7) & (clusters._heads.shape[1] - 1)])
        while row >= 0:
            buckets[band] += clusters._signatures[row, 2 * band] == clusters._signatures[row, 2 * band + 1] == 7
            row = int(clusters._next[row, band])
    assert (buckets[:9] == BUCKET).all() and (buckets[9:] <= BUCKET).all()


def test_more_than_there_is_room_for_comes_back_as_what_was_joined_last() -> None:
    big, small = Clusters(100), Clusters(5)
    for seq in range(1, 40):
        text = signature(agreeing(ONE, 0, seq))
        big.join(seq, text)
        small.join(seq, text)
    names, joined, signatures = Clusters.of(*big.founders(), 5).founders()
    expected = small.founders()
    assert names == expected[0] and joined.tolist() == expected[1].tolist()
    assert (signatures == expected[2]).all()
