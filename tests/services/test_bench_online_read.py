from __future__ import annotations

from mailwarden_features import discover
from mailwarden_services.bench.online_read import measure


def test_reads_of_all_kinds_are_measured_on_one_redis() -> None:
    found = measure(events=200, reads=20)
    assert found["features"] == sum(len(view.features) for view in discover().activity)
    for name in ("bare", "ours", "ours_several", "feast_sdk", "feast_store"):
        assert 0 < found[name]["p50_ms"] <= found[name]["p99_ms"], name
    # No timed test, but these differ by more than an order of magnitude.
    assert found["ratios"]["p50_ms"]["feast_sdk_over_ours"] > 1
