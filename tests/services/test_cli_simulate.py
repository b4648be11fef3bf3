"""`mailwarden simulate` on the command line: a world, and attacks among a history."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from mailwarden.ingest.index import LabelIndex
from mailwarden.ingest.sources import open_source

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from typer.testing import CliRunner

    from mailwarden_services.cli.application import app

    out = tmp_path_factory.mktemp("world") / "mail"
    words = ["simulate", "--messages", "500", "--months", "1", "--company", "Acme Tools", "--share", "0.1"]
    result = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out


def test_a_world_is_a_folder_that_ingest_reads(world: Path) -> None:
    source, index = open_source(world), LabelIndex.read(world / "INDEX")
    found = [index.find(source.full_path(message)) for message in source]
    assert 350 < len(found) == len(index) < 650 and all(found)
    assert sorted(source.skipped) == ["INDEX", "directory.csv", "truth.csv"]
    with (world / "directory.csv").open(encoding="utf-8", newline="") as file:
        assert {row["address"].partition("@")[2] for row in csv.DictReader(file)} == {"acme-tools.example"}


def test_attacks_of_one_source_go_into_the_good_mail_of_another(run: Run, world: Path, tmp_path: Path) -> None:
    out, index = tmp_path / "mixed", str(world / "INDEX")
    words = ("simulate", "--into", str(world), "--labels", index, "--good", "--attacks", str(world))
    code, said, _ = run(*words, "--attacks-labels", index, "--share", "0.05", "--after", "50", "--out", str(out))
    assert code == 0
    labels = [entry.label for entry in LabelIndex.read(out / "INDEX")]
    host = sum(entry.label == "ham" for entry in LabelIndex.read(world / "INDEX"))
    injected = len(labels) - host
    assert injected == round((host - 50) * 0.05 / 0.95) == sum(label != "ham" for label in labels)
    assert f"{host:,} messages of the host and {injected:,} injected" in said


def test_without_attacks_they_are_made_for_the_host(run: Run, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "attacked"
    code, _, _ = run("simulate", "--into", str(world), "--share", "0.05", "--out", str(out))
    assert code == 0
    with (out / "injected.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows and {row["source"] for row in rows} == {"the world"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--share", "1"), "--share"),
        (("--attacks", "x"), "--attacks-labels"),
        (("--good", "--into", "x"), "--labels"),
        (("--messages", "0"), "--messages"),
    ],
)
def test_options_that_cannot_work_are_refused(run: Run, tmp_path: Path, words: tuple[str, ...], named: str) -> None:
    code, _, said = run("simulate", *words, "--out", str(tmp_path / "out"))
    assert code == 78 and named in said
