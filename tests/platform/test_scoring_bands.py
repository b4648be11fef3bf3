"""Detectors that decide alone are set aside, tenant by tenant, and come back."""

from __future__ import annotations

import numpy as np

from mailwarden.scoring.bands import Bands, sure_alone


def _out(bands: Bands, held: bool, without: bool, sender: str, tenant: str = "acme") -> bool:
    return bands.see(tenant, sender, held, {"text": without}) == {"text"}


def test_a_detector_that_fires_on_everything_is_set_aside_within_ten_messages_and_comes_back() -> None:
    bands = Bands()
    said = [_out(bands, True, False, f"s{n}@x.example") for n in range(12)]
    assert said.index(True) < 10 and all(said[said.index(True) :])
    # Sound again, it is back once its sum has gone, and not before.
    back = [_out(bands, False, False, f"g{n}@x.example") for n in range(60)]
    assert back[0] and not back[-1]
    assert back == sorted(back, reverse=True)


def test_one_that_holds_down_what_all_others_find_is_set_aside() -> None:
    bands = Bands()
    said = [_out(bands, False, True, f"s{n}@x.example") for n in range(30)]
    assert not said[5] and said[-1]


def test_a_wave_of_one_sender_sets_nothing_aside() -> None:
    bands = Bands()
    assert not any(_out(bands, True, False, "wave@x.example") for _ in range(500))


def test_whoever_fires_on_everything_is_set_aside_and_not_the_sound_one_that_holds_it_down() -> None:
    """One that fires has its way nowhere, since `behaviour` weighs against it: without that all would be held back."""
    bands = Bands()
    out = [
        bands.see("acme", f"s{n}@x.example", False, {"text": False, "behaviour": True, "rules": False}, "text")
        for n in range(200)
    ]
    first = next(at for at, names in enumerate(out) if names)
    assert first < 10 and set(out[first:]) == {frozenset({"text"})}


def test_a_detector_that_is_sure_of_what_is_held_back_without_it_too_stays() -> None:
    bands = Bands()
    for n in range(500):
        bad = n % 3 == 0
        assert not bands.see("acme", f"s{n}@x.example", bad, {"text": bad, "rules": bad}, "text" if bad else None)


def test_of_a_wave_that_several_find_likely_nobody_is_sure_alone() -> None:
    assert sure_alone({"text": 0.99, "behaviour": 0.01, "malware": 0.5}) == "text"
    assert sure_alone({"text": 0.99, "behaviour": 0.6}) is None
    assert sure_alone({"text": 0.9, "behaviour": 0.01}) is None
    assert sure_alone({"text": 0.99, "behaviour": 0.99}) is sure_alone({}) is None


def test_other_tenants_are_not_touched() -> None:
    bands = Bands()
    for n in range(20):
        _out(bands, True, False, f"s{n}@x.example")
    assert not _out(bands, True, False, "s@x.example", tenant="other")


def test_a_detector_that_decides_a_fifth_alone_stays() -> None:
    """Whoever sends a fifth of a tenant's mail, held back by one detector alone, does not have it set aside."""
    out = []
    for seed in range(40):
        draw, bands = np.random.default_rng(seed), Bands()
        alone = draw.random(400) < 0.2
        out += [_out(bands, bool(one), False, f"s{n}@x.example") for n, one in enumerate(alone)]
    assert np.mean(out) < 0.02


def test_sound_detectors_stay_for_long() -> None:
    draw, bands = np.random.default_rng(1), Bands()
    for n in range(20_000):
        bad = draw.random() < 0.3
        held, without = bool(bad and draw.random() < 0.95), bool(bad and draw.random() < 0.9)
        assert not _out(bands, held, without, f"s{n}@x.example")
