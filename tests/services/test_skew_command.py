"""`skew` on the command line: what it prints of a measurement and of those before it, and its exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mailwarden.monitoring.skew_history import SkewHistory, run_of
from mailwarden.monitoring.skew_report import FeatureSkew, ScoreLine, ScoreSkew, SkewReport, ViewSkew
from mailwarden_services.cli import application
from mailwarden_services.loop import Loop

Run = Callable[..., tuple[int, str]]

FEATURE = FeatureSkew("sender_activity", "received_7d", 4_100, 1_234, 0, 0, 0, 17)
VIEW = ViewSkew("sender_activity", 4_200, 4_100, 90, 0, {1: 10}, {"present": 1_200, "never_seen": 2_900}, 0, 23)
REPORT = SkewReport(4_200, (VIEW,), (FEATURE,))


@pytest.fixture
def run(wide: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `mailwarden ...` over a home of its own: exit code and standard output."""
    monkeypatch.setenv("MAILWARDEN_HOME", str(tmp_path))

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mailwarden", *words])
        capsys.readouterr()
        try:
            application.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, capsys.readouterr().out

    return call


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.replace("┃", "│").split("│")[1:-1]]


def test_a_measurement_is_shown_by_view_and_by_feature(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loop, "skew", lambda self, progress: REPORT)
    code, text = run("skew")
    rows = [cells(line) for line in text.splitlines() if line.startswith("│")]
    assert rows == [
        ["sender_activity", "4,200", "4,100", "1,200", "2,900", "90", "0", "23", "0", "0"],
        ["sender_activity", "received_7d", "4,100", "1,234", "0", "0", "0", "17"],
    ]
    assert "0 mismatching values among 4,100" in text and "10 rows of other versions of sender_activity" in text
    assert code == 0


def test_content_made_by_other_code_and_mail_that_is_gone_are_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    content = ViewSkew("content_links", 4_200, 4_000, 0, 0, {}, {"present": 3_999, "deadline": 1}, 0, 0, 120, 80)
    report = REPORT.with_content(
        SkewReport(4_200, (content,), (FeatureSkew("content_links", "url_count", 3_999, 0, 0, 0, 0, 0),))
    )
    monkeypatch.setattr(Loop, "skew", lambda self, progress: report)
    code, text = run("skew")
    rows = [cells(line) for line in text.splitlines() if line.startswith("│")]
    assert rows[0] == ["content_links", "4,200", "4,000", "3,999", "0", "1", "0", "0", "0", "120", "80"]
    told = " ".join(text.split())
    assert "content_links is made by other code, lists or parser than 120 rows" in told
    assert "80 rows are of messages whose raw mail is gone" in told
    # Neither is a lie: what could be compared agrees.
    assert code == 0


SCORES = ScoreSkew(
    (
        ScoreLine(3, "behaviour", 4_200, 4_200, 0, {}),
        ScoreLine(3, "message_text", 4_200, 4_000, 0, {"texts gone": 150, "no vector": 50}),
    ),
    unscored=12,
)


def test_scores_are_shown_by_bundle_and_detector_with_what_could_not_be_asked_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Loop, "skew", lambda self, progress: replace(REPORT, scores=SCORES))
    code, text = run("skew")
    rows = [cells(line) for line in text.splitlines() if line.startswith("│")]
    assert rows[2:] == [
        ["3", "behaviour", "4,200", "4,200", "0", "0", "0"],
        ["3", "message_text", "4,200", "4,000", "0", "50", "150"],
    ]
    told = " ".join(text.split())
    assert "0 different scores among 8,200 that detectors were asked for again" in told
    assert "150 scores could not be asked for again: texts that the detector read are kept no longer" in told
    assert "50 scores could not be asked for again: their vector is not in the vector log" in told
    assert "12 messages with logged vectors have no logged scores" in told
    assert code == 0


@pytest.mark.parametrize(
    "report",
    [
        replace(REPORT, scores=replace(SCORES, lines=(replace(SCORES.lines[0], different=1),))),
        replace(REPORT, features=(replace(FEATURE, mismatches=1),)),
        replace(REPORT, views=(replace(VIEW, status_mismatches=1),)),
        replace(REPORT, views=(replace(VIEW, unknown=1),)),
        replace(REPORT, features=()),
    ],
)
def test_what_disagrees_or_compares_nothing_exits_with_1(
    run: Run, monkeypatch: pytest.MonkeyPatch, report: SkewReport
) -> None:
    monkeypatch.setattr(Loop, "skew", lambda self, progress: report)
    assert run("skew")[0] == 1


def test_the_history_is_a_table_a_view_with_a_line_a_run(run: Run, tmp_path: Path) -> None:
    assert run("skew", "--history") == (0, "no run is kept yet; `mailwarden skew` makes one\n")
    for day in range(3):
        at_us = (1_700_000_000 + day * 86_400) * 1_000_000
        SkewHistory(tmp_path / "skew.jsonl").append(run_of(REPORT, at_us=at_us, events=day, vectors=day))
    code, text = run("skew", "--history")
    rows = [cells(line) for line in text.splitlines() if line.startswith("│")]
    assert code == 0 and text.startswith("sender_activity")
    assert [row[0] for row in rows] == [f"2023-11-{day} 22:13:20" for day in (14, 15, 16)]
    assert rows[0][1:] == ["4,100", "4,100", "1,234", "0", "0", "17", "23"]
    assert "scores" not in text
    with_scores = replace(REPORT, scores=SCORES)
    SkewHistory(tmp_path / "skew.jsonl").append(run_of(with_scores, at_us=at_us + 86_400_000_000, events=3, vectors=3))
    rows = [cells(line) for line in run("skew", "--history")[1].split("\nscores")[1].splitlines() if line[:1] == "│"]
    assert [row[1:] for row in rows] == [["0", "0", "0"]] * 3 + [["8,200", "0", "200"]]
