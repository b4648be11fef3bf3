"""The alert rules and the board: every expression reads what `/metrics` serves, and promtool takes the rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from mailwarden.stores.online.streams import StreamLag
from mailwarden_services.feature_writer.status import WriterLag, WriterStatus
from mailwarden_services.observability.exposition import labelled
from mailwarden_services.observability.stages import STAGES
from mailwarden_services.scoring_api.intake import Answer
from mailwarden_services.scoring_api.metrics import Metrics

INFRA = Path(__file__).parents[2] / "infra"
RULES = INFRA / "prometheus" / "alerts.yaml"
BOARD = INFRA / "grafana" / "mailwarden.json"

SCRAPED = {"up": {"job", "instance"}}
"""What Prometheus itself adds."""
SELECTOR = re.compile(r"([a-z_][a-z0-9_:]*)\s*\{([^}]*)\}")
MATCHER = re.compile(r"\s*([a-z_]+)\s*(=~|!~|!=|=)\s*\"[^\"]*\"\s*")
GROUPED = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


@pytest.fixture(scope="module")
def served() -> dict[str, set[str]]:
    """Labels by series, of an API that has seen everything once."""
    metrics = Metrics()
    metrics.scored(Answer(b"{}", "junk", "CP", True, seconds=(0.1, 0.1, 0.1, 0.1, 0.1)), 0.6)
    metrics.refused.labels("/v1/score", "503", "store-away").inc()
    metrics.not_scored.labels("no_tenant").inc()
    metrics.labels.labels("ham").inc()
    metrics.writer_is_behind(WriterLag(1, WriterStatus(1, 1, 1, (), (StreamLag(1, 1.0),)), ()))
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(labelled({0: metrics.render(), 1: None}).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def rules() -> Iterator[tuple[str, dict[str, Any]]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule


def panels() -> Iterator[dict[str, Any]]:
    yield from json.loads(BOARD.read_text())["panels"]


def expressions() -> Iterator[tuple[str, str]]:
    for name, rule in rules():
        yield name, rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_an_expression_reads_what_is_served(served: dict[str, set[str]], where: str, expression: str) -> None:
    series = served | SCRAPED
    labels: set[str] = {"job", "instance"}
    selected = SELECTOR.findall(expression)
    assert selected, where
    for name, matchers in selected:
        assert name in series, f"{where}: nothing serves {name}"
        names = [MATCHER.fullmatch(matcher) for matcher in matchers.split(",")]
        assert all(names), f"{where}: {matchers}"
        assert {one[1] for one in names if one} <= series[name] | {"job", "instance"}, f"{where}: {matchers}"
        assert any(one and one[1] == "job" for one in names), f"{where}: whose {name}?"
        labels |= series[name]
    for grouped in GROUPED.findall(expression):
        assert {label.strip() for label in grouped.split(",")} - {""} <= labels, f"{where}: by ({grouped})"
    # Nothing that looks like a name of ours stands outside of a selector.
    assert not re.search(r"\bmailwarden_\w+", SELECTOR.sub("", expression)), where
    assert expression.count("(") == expression.count(")")


def test_alerts_say_how_bad_and_what_it_is() -> None:
    names = [name for name, _ in rules()]
    assert len(names) == len(set(names)) >= 8
    page = (INFRA.parent / "docs" / "observability.md").read_text()
    for name, rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert set(rule["annotations"]) == {"summary", "description"}, name
        assert f"`{name}`" in page, f"docs/observability.md does not say what to do on {name}"


def test_every_metric_of_ours_is_explained(served: dict[str, set[str]]) -> None:
    page = (INFRA.parent / "docs" / "observability.md").read_text()
    for name in served:
        base = re.sub(r"_(total|created|bucket|sum|count)$", "", name)
        assert not base.startswith("mailwarden_") or f"`{base}" in page, name
    assert all(f"`{stage}`" in page for stage in STAGES)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_takes_the_rules() -> None:
    for words in (("check", "rules", RULES.name), ("test", "rules", "alerts_test.yaml")):
        done = subprocess.run(["promtool", *words], cwd=RULES.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_rules_that_are_tested_are_there() -> None:
    tested = yaml.safe_load((RULES.parent / "alerts_test.yaml").read_text())["tests"]
    assert {one["alertname"] for test in tested for one in test["alert_rule_test"]} <= {name for name, _ in rules()}


def test_the_board_is_one_that_grafana_loads() -> None:
    board = json.loads(BOARD.read_text())
    assert board["uid"] and board["title"] and board["schemaVersion"] >= 36
    variables = {one["name"] for one in board["templating"]["list"]}
    assert variables == {"datasource", "job"}
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["type"] in ("timeseries", "stat") and panel["title"] and panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)) >= 1
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= variables | {"__rate_interval"}
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert place["x"] + place["w"] <= 24 and not cells & taken
        taken |= cells
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
