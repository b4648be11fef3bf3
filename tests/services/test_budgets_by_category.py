"""A budget that a tenant spends by category decides what is served, and every other word on that says the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mailwarden.scoring.scorer import NOT_BY_CATEGORY
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.training.register import register
from mailwarden.training.train import Trained
from mailwarden_services.bootstrap import Platform
from mailwarden_services.evaluation.home import budgets_of
from mailwarden_services.evaluation.tables import spending_grid
from mailwarden_services.scoring_api.rspamd import NEVER

Run = Callable[..., tuple[int, str, str]]
FULL = "/v1/score?observe=false&explain=full"


def asked(warden: Any, message: SimulatedMessage) -> dict[str, Any]:
    with warden.api() as api:
        found: dict[str, Any] = api.score(message.raw, message.envelope, path=FULL).json()
    return found


def test_what_is_called_a_category_is_held_back_as_far_as_that_has_budget(
    run: Run, warden: Any, simulated: list[SimulatedMessage]
) -> None:
    with warden.api() as api:
        for message in (one for one in simulated[-300:] if one.envelope.mail_from):
            before = api.score(message.raw, message.envelope, path=FULL).json()
            if before["verdict"] == "banner":
                break
    assert before["verdict"] == before["explanation"]["verdict"] == "banner"
    policy = ("tenant", "policy", "acme", "--budget", "0.02", "--category-budget")
    code, text, errors = run(*policy, f"{before['category']}=0.018")
    assert code == 0 and f"{before['category']} 0.018" in text, errors
    more = asked(warden, message)
    assert more["verdict"] == more["explanation"]["verdict"] == "junk"
    assert more["explanation"]["thresholds"]["junk"] < before["explanation"]["thresholds"]["junk"]
    assert (before["explanation"]["called"], more["explanation"]["called"]) == (None, before["category"])
    assert (more["category"], more["log_odds"]) == (before["category"], before["log_odds"])
    # Another category has most of it, and what is left is little.
    other = "EX" if before["category"] != "EX" else "LA"
    assert run(*policy, f"{before['category']}=none", "--category-budget", f"{other}=0.018")[0] == 0
    less = asked(warden, message)
    assert less["verdict"] == "banner" and before["explanation"]["thresholds"]["junk"] < less["log_odds"] + 1
    junk = less["explanation"]["thresholds"]["junk"]
    assert junk is None or junk > before["explanation"]["thresholds"]["junk"]
    assert run(*policy, f"{other}=none")[0] == 0
    assert asked(warden, message)["explanation"]["thresholds"] == before["explanation"]["thresholds"]


def test_a_category_without_budget_is_marked_and_never_held_back(
    run: Run, warden: Any, seen_through: SimulatedMessage
) -> None:
    before = asked(warden, seen_through)
    assert before["verdict"] == "quarantine"
    assert run("tenant", "policy", "acme", "--category-budget", f"{before['category'].lower()}=0")[0] == 0
    after = asked(warden, seen_through)
    assert after["verdict"] == "banner" and after["category"] == before["category"]
    assert after["explanation"]["thresholds"]["junk"] is None
    # Without a detector it is called that too, or what then counts is another's.
    verdicts = {said["without"]["verdict"] for said in after["explanation"]["detectors"].values() if said["without"]}
    assert "banner" in verdicts
    assert dict(budgets_of(Platform(warden.settings))["acme"].by_category) == {before["category"]: 0.0}
    with warden.api() as api:
        headers = {"Rcpt": seen_through.envelope.rcpt_to[0], "From": seen_through.envelope.mail_from or ""}
        found = api.client.request("GET", "/checkv2", content=seen_through.raw, headers=headers).json()
    assert found["thresholds"]["add header"] == found["required_score"] == NEVER


def test_models_that_do_not_know_what_good_mail_is_called_say_so(
    run: Run, warden: Any, seen_through: SimulatedMessage, trained_bundle: Trained
) -> None:
    platform = Platform(warden.settings)
    bundle = trained_bundle.bundle
    bare = {name: replace(one, named=None, own=None) for name, one in bundle.without.items()}
    old = replace(bundle, whole=replace(bundle.whole, named=None, own=None), without=bare)
    register(
        replace(trained_bundle, bundle=old), platform.registry, platform.artefacts, code_revision="tests",
        created_us=9, promote="tests",
    )  # fmt: skip
    before = asked(warden, seen_through)
    assert NOT_BY_CATEGORY not in before["flags"]
    assert run("tenant", "policy", "acme", "--category-budget", f"{before['category']}=0")[0] == 0
    found = asked(warden, seen_through)
    assert found["verdict"] == "quarantine" and not found["degraded"]
    assert NOT_BY_CATEGORY in found["flags"]


def test_a_table_says_what_each_budget_lets_through() -> None:
    share = {"hits": 2, "n": 1_000, "rate": 0.002, "low": 0.0005, "high": 0.007}
    found = [{"tenant": "acme", "category": code, "budget": 0.0004, "held_back": share} for code in ("BE", "")]
    grid = spending_grid({"spending": found})
    assert grid is not None and [row[2] for row in grid.rows] == ["0.04%", "0.04%"]
    assert "of 1,000" in grid.rows[0][3] and grid.rows[1][1] == "all others"
    assert spending_grid({"spending": []}) is None


def test_budgets_that_cannot_be_are_refused_in_words(run: Run, warden: Any) -> None:
    policy = ("tenant", "policy", "acme", "--category-budget")
    for wrong, exit_code, words in (
        ("BE=0.0006", 65, "add up to 0.0011, which is more than the 0.001"),
        ("XX=0.0001", 65, "no category 'XX'"),
        ("BE=2", 65, "category budget of BE is 2.0"),
        ("BE", 2, "CODE=SHARE"),
        ("BE=much", 2, "CODE=SHARE"),
    ):
        code, _, errors = run(*policy, wrong, "--category-budget", "VF=0.0005")
        assert code == exit_code and words in " ".join(errors.replace("│", " ").split()), (wrong, errors)
    tenants = Platform(warden.settings).tenants
    assert "category_budgets" not in tenants.get("acme").policy
    assert run(*policy, "VF=0.0005", "--category-budget", "BE=0.0005")[0] == 0
    # What is given of the whole is not to be taken from it.
    code, _, errors = run("tenant", "policy", "acme", "--budget", "0.0002")
    assert code == 65 and "more than the 0.0002" in " ".join(errors.split())
    assert tenants.get("acme").policy["category_budgets"] == {"BE": 0.0005, "VF": 0.0005}
    assert "policy.change" in run("audit", "list")[1]
