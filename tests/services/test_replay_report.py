from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from mailwarden.domain.detection.decision import log_odds, sigmoid
from mailwarden.errors import DataError
from mailwarden.evaluation.figures import latency_figures, one_minus_roca, roc_steps
from mailwarden_services.replay.figures import ScoreTable, figures, read_scores, write_scores
from mailwarden_services.replay.report import write_report
from mailwarden_services.replay.summary import summary_table
from mailwarden_services.reports.words import without_addresses

ADDRESS = "someone.private@victim.example"


def small_table(**changed: Any) -> ScoreTable:
    columns: dict[str, Any] = {
        "path": ["mail/1.eml", f"mail/{ADDRESS}/2.eml", 'mail/3,"x".eml', "mail/4.eml"],
        "received_at_us": np.array([1_772_409_600_000_000, 1_772_409_600_000_001, 1_772_409_601_500_000, 7]),
        "label": ["ham", "ham", "CP", "BE"],
        "log_odds": log_odds(np.array([0.1, 0.4, 0.35, 0.8])),
        "score": np.array([0.1, 0.4, 0.35, 0.8]),
        "verdict": ["deliver", "banner", "deliver", "quarantine"],
        "category": ["", "BE", "", "VF"],
        "detectors": {"rules": np.array([0.2, 0.1, 0.9, 0.8]), "text": np.array([0.1, 0.2, 0.3, 1 / 3])},
        "latency_seconds": np.array([0.001, 0.002, 0.003, np.nan]),
    }
    return ScoreTable(**{**columns, **changed})


def drawn_table(n: int) -> ScoreTable:
    rng = np.random.default_rng(7)
    label = np.where(rng.random(n) < 0.2, rng.choice(["CP", "BE", "SP"], n), "ham").tolist()
    bad = np.array([each != "ham" for each in label])
    logit = rng.normal(np.where(bad, 5.0, -5.0), 2.5)
    return ScoreTable(
        path=[f"{i}.eml" for i in range(n)],
        received_at_us=np.arange(n, dtype=np.int64) * 1_000_000,
        label=label,
        log_odds=logit,
        score=sigmoid(logit),
        verdict=["junk" if value > 0 else "deliver" for value in logit],
        category=["CP" if value > 0 else "" for value in logit],
        detectors={name: sigmoid(logit + rng.normal(0, 3, n)) for name in ("header_rules", "message_text")},
        latency_seconds=rng.gamma(4, 0.002, n),
    )


def full_report(table: ScoreTable) -> dict[str, Any]:
    return {
        "title": "Replay of a test",
        "mail": "simulated",
        "split": {"train_messages": 600, "test_messages": len(table), "split_at": "2026-03-02T00:00:00+00:00"},
        **figures(table, 0.0),
        "subsets": {"one mailbox": figures(table.rows(np.arange(len(table)) % 2 == 0), 0.0)},
        "throughput": {"messages_per_second": 123.4, "cpu_ms_per_message": {"api": 4.2, "writer": 2.1}},
        "skew": {"compared_values": 1000, "values_with_history": 900, "mismatches": 0, "stale_values": 0},
        "retrainings": [{"at_us": 0, "version": 1, "weights": {"message_text": 1.0}}],
        "example": {"verdict": "quarantine", "category": "CP", "signals": [{"words": f"{ADDRESS} is new | to you"}]},
        "training": {
            "seed": np.int64(7),
            "loss": float("nan"),
            "detectors": {"message_text": {"rows": 600}},
            "held_out": {"fused": figures(table)["fused"]},
        },
        "run": {
            "command_line": f"mailwarden replay --to {ADDRESS}",
            "code_revision": "abc",
            "versions": {"numpy": "2"},
        },
    }


def shown(report: dict[str, Any]) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for each in summary_table(report):
        console.print(each)
    return console.export_text()


def test_figures_of_a_hand_made_table() -> None:
    found = figures(small_table(), 0.0)
    fused = found["fused"]
    assert found["n"] == 4 and found["unlabelled"] == 0
    assert fused["roca"] == 25.0
    # One of two bad messages is missed at log-odds 0, no good one is flagged: half a miss counts.
    assert fused["lam"] == pytest.approx(100 / (1 + 3**0.5))
    assert [recall["caught"] for recall in fused["recall"]] == [1, 1]
    assert fused["recall"][0]["low"] < 0.5 < fused["recall"][0]["high"]
    assert {code: each[0]["caught"] for code, each in fused["by_category"].items()} == {"BE": 1, "CP": 0}
    assert found["detectors"]["rules"]["roca"] == 0.0
    assert found["verdicts"] == {
        "BE": {"quarantine": 1},
        "CP": {"deliver": 1},
        "ham": {"banner": 1, "deliver": 1},
    }
    assert found["categories"] == {"BE": {"VF": 1}}
    assert found["latency"] == {"n": 3, "p50_ms": 2.0, "p95_ms": 2.9, "p99_ms": 2.98, "mean_ms": 2.0, "max_ms": 3.0}


def test_unlabelled_messages_are_in_no_ranking_but_in_latency() -> None:
    found = figures(small_table(label=["ham", "", "CP", "BE"]))
    assert (found["n"], found["unlabelled"], found["latency"]["n"]) == (4, 1, 3)
    assert found["fused"]["roca"] == 0.0 and found["fused"]["good"] == 1
    assert found["fused"]["lam"] is None


def test_a_detector_that_said_nothing_caught_nothing(tmp_path: Path) -> None:
    table = small_table(detectors={"rules": np.array([0.2, np.nan, np.nan, 0.8])})
    assert figures(table)["detectors"]["rules"]["roca"] == 37.5
    back = read_scores(write_scores(tmp_path / "scores.csv", table))
    assert np.isnan(back.detectors["rules"]).tolist() == [False, True, True, False]
    assert write_report(tmp_path, {"mail": "mail of site.mbox", **figures(table)}, table).exists()
    assert "## Good from bad, mail of site.mbox: 2 bad, 2 good" in (tmp_path / "report.md").read_text()


def test_figures_stand_without_one_of_the_classes() -> None:
    found = figures(small_table(label=["ham"] * 4), 0.0)
    assert found["fused"]["roca"] is None and found["fused"]["by_category"] == {}


def test_latency_of_nothing_measured() -> None:
    assert latency_figures(np.full(3, np.nan)) == {"n": 0}


def test_a_table_refuses_ragged_columns_and_unknown_labels() -> None:
    with pytest.raises(DataError, match="3, 4"):
        small_table(verdict=["deliver"] * 3)
    with pytest.raises(DataError, match="'fish'"):
        small_table(label=["ham", "fish", "CP", "BE"])


def test_scores_read_back_as_written(tmp_path: Path) -> None:
    table = small_table(score=np.array([1e-12, 0.1 + 0.2, np.nextafter(1.0, 0), 0.5]))
    path = write_scores(tmp_path / "scores.csv", table)
    assert path.read_text().splitlines()[0] == "path,received_at,label,score,verdict,category,rules,text"
    assert "2026-03-02T00:00:00.000001+00:00" in path.read_text()
    back = read_scores(path)
    assert back.path == table.path and back.label == table.label
    assert back.verdict == table.verdict and back.category == table.category
    assert back.received_at_us.tolist() == table.received_at_us.tolist()
    assert back.score.tolist() == table.score.tolist()
    assert {name: each.tolist() for name, each in back.detectors.items()} == {
        name: each.tolist() for name, each in table.detectors.items()
    }
    assert sigmoid(back.log_odds) == pytest.approx(table.score, abs=1e-15)
    assert np.isnan(back.latency_seconds).all()
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_scores_csv_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    for text in ("", "path,label\na,ham\n", "path,received_at,label,score,verdict,category\na,b,ham,0.1,deliver,\n"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"scores\.csv"):
            read_scores(path)


def test_roc_steps_take_ties_together_and_agree_with_the_area() -> None:
    bad = np.array([True, False, True, False])
    rate, recall = roc_steps(np.array([0.9, 0.9, 0.5, 0.1]), bad)
    assert rate.tolist() == [0.0, 0.5, 0.5, 1.0] and recall.tolist() == [0.0, 0.5, 1.0, 1.0]
    table = drawn_table(500)
    rate, recall = roc_steps(table.log_odds, table.bad)
    area = float(np.sum(np.diff(rate) * (recall[1:] + recall[:-1]) / 2))
    assert 100 * (1 - area) == pytest.approx(one_minus_roca(table.log_odds, table.bad))


def test_report_with_everything(tmp_path: Path) -> None:
    table = drawn_table(800)
    report = full_report(table)
    path = write_report(tmp_path, report, table)
    text = path.read_text()
    assert path == tmp_path / "report.md"
    for words in (
        "# Replay of a test",
        "**Simulated mail.**",
        "Good from bad, simulated mail",
        "CP credential phishing",
        "| message_text |",
        "one mailbox",
        "123.4 messages/s",
        "| mismatches | 0 |",
        "1970-01-01T00:00:00+00:00",
        "One message got quarantine as CP credential phishing",
        "code_revision: abc",
        f"## Held out in training: {table.bad.sum()} bad",
        "message_text: rows 600",
    ):
        assert words in text, words
    # Wherever figures stand, it says what mail they are of.
    headings = [line for line in text.splitlines() if line.startswith(("## ", "!["))]
    assert sum("simulated mail" in line for line in headings) == 9
    for name in ("scores", "recall", "latency"):
        assert f"]({name}.png)" in text
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["skew"]["mismatches"] == 0
    assert stored["training"]["seed"] == 7 and stored["training"]["loss"] is None
    assert stored["fused"]["recall"][0]["budget"] == 0.001
    assert not list(tmp_path.glob("*.part"))


def test_tables_of_a_report_are_well_formed(tmp_path: Path) -> None:
    table = drawn_table(300)
    lines = write_report(tmp_path, full_report(table), table).read_text().splitlines()
    widths: list[int] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|"):
            cells = line.replace("\\|", "").count("|")
            if before.startswith("|"):
                assert cells == widths[-1], line
            widths.append(cells)
    assert len(widths) > 20


def test_report_json_is_the_same_bytes_for_the_same_report(tmp_path: Path) -> None:
    table = small_table()
    report = full_report(table)
    write_report(tmp_path / "a", report, table)
    write_report(tmp_path / "b", dict(reversed(report.items())), table)
    assert (tmp_path / "a/report.json").read_bytes() == (tmp_path / "b/report.json").read_bytes()


@pytest.mark.parametrize("label", [["ham", "ham", "CP", "BE"], ["ham"] * 4, ["CP"] * 4, [""] * 4])
def test_report_with_little(tmp_path: Path, label: list[str]) -> None:
    table = small_table(label=label, latency_seconds=np.full(4, np.nan))
    text = write_report(tmp_path, {"mail": "real", **figures(table)}, table).read_text()
    assert "**Real mail.**" in text and "simulat" not in text
    assert not (tmp_path / "latency.png").exists()
    assert (tmp_path / "recall.png").exists() == (len(set(label)) > 1)
    assert shown({"mail": "real", **figures(table)}).strip()


def test_report_without_anything(tmp_path: Path) -> None:
    table = small_table().rows(np.zeros(4, dtype=bool))
    assert write_report(tmp_path, {}, table).read_text().startswith("# Replay")
    assert shown({}).strip() == ""


def test_no_whole_address_is_written(tmp_path: Path) -> None:
    table = small_table()
    report = full_report(table)
    report["subsets"] = {ADDRESS: figures(table)}
    report["run"]["files"] = [Path(f"/srv/{ADDRESS}/cur")]
    write_report(tmp_path, report, table)
    for path in tmp_path.iterdir():
        assert ADDRESS.encode() not in path.read_bytes(), path.name
    assert "…@victim.example is new" in (tmp_path / "report.md").read_text()
    assert ADDRESS not in shown(report)


def test_addresses_are_found_in_any_clothes() -> None:
    for text in (
        ADDRESS,
        f"<{ADDRESS}>",
        f'"x" <{ADDRESS}>, y',
        f"mailto:{ADDRESS}",
        f"to={ADDRESS};",
        f"a\n{ADDRESS}",
    ):
        assert "private" not in without_addresses(text), text
    assert without_addresses(["10 @ 5", 3, None]) == ["10 @ 5", 3, None]


def test_terminal_summary_has_recall_by_category_and_detector() -> None:
    table = drawn_table(800)
    text = shown(full_report(table))
    for words in ("Recall at the false-positive budget, simulated mail", "BE business", "fused", "message_text"):
        assert words in text
    found = figures(table)["fused"]["by_category"]["CP"][0]
    assert f"{100 * found['rate']:.1f}%" in text
    assert "latency p50 / p95 / p99" in text and "mismatches" in text
    assert "4.20 ms a message" in text
    assert "…@victim.example is new | to you" in text
