"""A fusion for tenants that were learned from, and one for all others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mailwarden.domain.detection.decision import HISTORY
from mailwarden.training.combining import Combining
from mailwarden.training.dataset import LabelledRows, labelled_rows
from mailwarden.training.said import Said
from mailwarden.training.sites import LEAST_MESSAGES
from mailwarden.training.split import split_by_time
from mailwarden.training.thresholds import Budgets

N = 6_400


def mail(tenants: list[str]) -> tuple[LabelledRows, Said]:
    """A generalist that tells most attacks, and a specialist that tells the others and is silent about good mail."""
    rng = np.random.default_rng(3)
    bad = rng.random(N) < 0.3
    rows, order = labelled_rows(
        tenant=[tenants[number % len(tenants)] for number in range(N)],
        message_id=[f"{number:032x}" for number in range(N)],
        recipient=["a@acme.example"] * N,
        seq=np.arange(N) + 1,
        at_us=np.arange(N) * 60_000_000,
        labels=["VF" if one else "ham" for one in bad],
        weight=np.ones(N),
    )
    assert (order == np.arange(N)).all()
    special = bad & (rng.random(N) < 0.3)
    general = rng.normal(np.where(bad & ~special, 3.0, 0.0), 1.0)
    raw = {"general": general, "special": np.where(special, 1.0, 0.0) + rng.normal(0.0, 0.1, N)}
    silent = {"general": np.zeros(N, dtype=np.bool_), "special": ~special & (rng.random(N) < 0.9)}
    return rows, Said(raw, silent)


def combining(rows: LabelledRows, *, own: bool = True) -> Combining:
    split = split_by_time(rows.bad[rows.of_messages()], rows.tenant[rows.of_messages()])
    return Combining(rows, split, None, Budgets(0.05, 0.02, 0.01), None, 100.0, frozenset({"special"}), own)


def test_a_specialist_counts_where_its_worth_was_shown_and_hardly_where_nobody_knows_the_mail() -> None:
    rows, said = mail(["acme"])
    combined = combining(rows)(said)
    whole, own = combined.combination, combined.combination.own
    assert own is not None and whole.known == {"acme"}
    rest = rows.bad & ~said.silent["special"]

    assert own.fusion.weights["special"] + own.fusion.offsets["special"] > 2 * (
        whole.fusion.weights["special"] + whole.fusion.offsets["special"]
    )
    # What it alone tells is held back where it counts.
    held = {
        one: float(np.mean(one_logit[rest] >= steps.junk))
        for one, one_logit, steps in (
            ("own", own.fusion.logit(said.raw, said.silent), whole.thresholds_of("acme")),
            ("new", whole.fusion.logit(said.raw, said.silent), whole.thresholds_of("new")),
        )
    }
    assert held["own"] > 0.7 > held["new"] + 0.5
    assert combined.fusion == own.fusion


def test_each_way_to_be_away_has_both() -> None:
    rows, said = mail(["acme", "other"])
    found = combining(rows).without_each(said, said)
    assert set(found) == {"general", "special", HISTORY, f"{HISTORY}+general", f"{HISTORY}+special"}
    for name, one in found.items():
        assert one.combination.known == {"acme", "other"}, name
        assert one.combination.own is not None and one.combination.own.tail is not None
        assert one.combination.own.fusion.weights.keys() == one.combination.fusion.weights.keys()


def test_tenants_with_few_labels_and_trainings_for_others_have_none_of_their_own() -> None:
    rows, said = mail(["acme"])
    names = np.array(["acme"] * (N - LEAST_MESSAGES + 1) + ["small"] * (LEAST_MESSAGES - 1), dtype=object)
    some = combining(replace(rows, tenant=names))(said).combination
    assert some.known == {"acme"} and some.learned == {"acme", "small"}
    nobody = combining(rows, own=False)(said).combination
    assert nobody.own is None and nobody.learned == {"acme"}
