"""The whole loop on simulated mail: ingest, Spark, Redis, training, HTTP, labels, retraining, skew, report."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailwarden.errors import ConfigError
from mailwarden.settings import Settings
from mailwarden.simulation.company import company
from mailwarden.stores.sql import Registry, open_engine
from mailwarden.training.register import BUNDLE
from mailwarden_detectors import discover
from mailwarden_services.replay.experiment import Experiment, ReplayPlan
from mailwarden_services.replay.figures import write_scores
from mailwarden_services.replay.report import write_report
from mailwarden_services.replay.result import report_of, score_table

SEED = 11


@contextlib.contextmanager
def quiet(words: str, total: int | None) -> Iterator[Callable[[int], None]]:
    yield lambda done: None


def children() -> dict[int, str]:
    """Processes below this one, however deep, by id, with their command lines."""
    found: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(folder.name)] = parent, words

    def below(pid: int) -> bool:
        while pid in found:
            pid = found[pid][0]
            if pid == os.getpid():
                return True
        return False

    return {pid: words for pid, (_, words) in found.items() if below(pid)}


@pytest.mark.usefixtures("environment", "spark_stopped")
def test_mail_goes_in_and_decisions_come_out_of_models_that_learn_from_them(small_corpus: Path) -> None:
    firm = company(SEED)
    before = children()
    # The sockets' paths must stay short.
    with tempfile.TemporaryDirectory(prefix="mw-loop-") as folder:
        plan = ReplayPlan(
            source=small_corpus.parent,
            labels=str(small_corpus),
            out=Path(folder),
            train_until=0.7,
            retrain_days=2.0,
            reparse=True,
            label_delay_days=1.0,
            tenant=firm.tenant,
            domains=firm.domains,
            trusted_authserv_ids=(firm.authserv_id,),
            seed=5,
        )
        settings = Settings(spark_driver_memory="1g", spark_shuffle_partitions=2, spool_fsync=False)
        outcome = Experiment(plan, settings, say=lambda words: None, ticker=quiet).run()

        lines = small_corpus.read_text().splitlines()
        assert outcome.split == round(0.7 * len(lines))
        assert len(outcome.scored) == len(lines) - outcome.split
        answers = [scored.answer for scored in outcome.scored]
        assert all(answer["decision_id"] and not answer["degraded"] for answer in answers)
        assert [answer["seq"] for answer in answers] == sorted({answer["seq"] for answer in answers})
        given = [scored.message.path for scored in outcome.scored]
        assert given == sorted(line.split(" ", 1)[1] for line in lines)[outcome.split :]
        assert outcome.labels_given > 0.4 * len(answers)

        # Each vector knew all that came before it: the message before at least, or the labels in between.
        known = [answer["features"]["as_of_seq"] for answer in answers]
        assert all(known[n] >= answers[n - 1]["seq"] for n in range(1, len(answers)))
        assert all(answer["features"]["as_of_seq"] < answer["seq"] for answer in answers)
        versions = [answer["model_version"] for answer in answers]
        assert len(outcome.trainings) >= 2
        assert versions == sorted(versions) and len(set(versions)) == len(outcome.trainings)
        messages = [training["messages"] for training in outcome.trainings]
        assert messages == sorted(set(messages))

        skew = outcome.skew
        assert skew["mismatches"] == 0 and skew["stale_values"] == 0 and skew["unavailable"] == 0
        assert skew["vectors"] >= len(answers)
        served_by = {number for line in skew["views"] for number in line["facts"]}
        assert {"0", "1"} <= served_by, "each fact set has served"
        content = {f"content_{part}" for part in ("text", "headers", "links", "attachments", "inner", "identity")}
        of_content = sum(line["compared"] for line in skew["features"] if line["view"].startswith("content_"))
        assert {line["view"] for line in skew["features"] if line["compared"] == skew["vectors"]} >= content
        assert skew["changed"] == 0 and skew["gone"] == 0 and skew["status_mismatches"] == 0
        assert skew["values_with_history"] > 0.3 * (skew["compared_values"] - of_content) > 0
        # Each bundle that served says again, in Spark, what it said of its own decisions.
        assert skew["scores_different"] == skew["scores_unanswered"] == 0
        assert skew["scores_compared"] == len(discover()) * skew["vectors"]
        assert {line["bundle"] for line in skew["scores"]} == set(versions)

        table = score_table(outcome)
        report = report_of(plan, outcome, table, mail="simulated", command="test", title="A test")
        write_scores(plan.out / "scores.csv", table)
        written = write_report(plan.out, report, table)
        assert written.name == "report.md" and "1-ROCA" in written.read_text()
        kept = json.loads((plan.out / "report.json").read_text())
        assert kept["skew"]["mismatches"] == 0 and kept["run"]["seed"] == 5
        assert kept["fused"]["roca"] < 15.0
        with (plan.out / "scores.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["path"] for row in rows] == given
        assert all(0.0 <= float(row["score"]) <= 1.0 for row in rows)
        assert [png.name for png in plan.out.glob("*.png")]

        home = plan.out / "state"
        engine = open_engine(f"sqlite:///{home / 'mailwarden.db'}")
        registry = Registry(engine)
        champion = registry.champion(BUNDLE)
        assert champion is not None and champion.version == versions[-1] == outcome.trainings[-1]["version"]
        for version, training in zip(registry.versions(BUNDLE), outcome.trainings, strict=True):
            assert version.record.data_fingerprint == training["data_fingerprint"]
            assert (version.record.seed, version.created_us) == (5, training["at_us"])
            assert version.record.code_revision and version.record.feature_service
        prints = {version.record.data_fingerprint for version in registry.versions(BUNDLE)}
        assert len(prints) == len(set(versions))
        engine.dispose()

        with pytest.raises(ConfigError, match="earlier replay"):
            Experiment(plan, settings, say=lambda words: None, ticker=quiet)
        # Spark's own processes and Python's tracker end with this one; one without words has ended already.
        staying = ("pyspark", "java", "resource_tracker")
        left = [
            w for pid, w in children().items() if w and pid not in before and not any(name in w for name in staying)
        ]
        assert left == []
        assert not list(home.rglob("*.sock"))
