"""What the loop's steps decide before Spark starts."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.detection.tenant_budget import TRAINED, TenantBudget
from mailwarden.errors import DataError, NotFound
from mailwarden.training.register import register
from mailwarden.training.train import Trained
from mailwarden_services.bootstrap import Platform
from mailwarden_services.loop import Loop
from mailwarden_services.scoring_api.answers import policy_of


def views(loop: Loop) -> list[str]:
    return [view.name for view in loop.platform.activity]


def test_naming_a_detector_keeps_the_champions_others_as_they_are(warden: Any, trained_bundle: Trained) -> None:
    loop = Loop(Platform(warden.settings))
    champion, kept = loop._kept(["header_rules"], views(loop))
    assert champion is not None and champion[0] == 1
    assert kept == {n: b for n, b in trained_bundle.detectors.items() if n != "header_rules"} != {}
    assert loop._kept([], views(loop)) == (None, {})


def test_one_of_another_version_is_not_kept(warden: Any, trained_bundle: Trained) -> None:
    loop = Loop(Platform(warden.settings))
    members = dict(trained_bundle.bundle.members)
    members["behaviour"] = replace(members["behaviour"], code=99)
    bundle = replace(trained_bundle.bundle, members=members)
    register(replace(trained_bundle, bundle=bundle), loop.platform.registry, loop.platform.artefacts,
             code_revision="tests", created_us=9, promote="tests")  # fmt: skip
    champion, kept = loop._kept(["header_rules"], views(loop))
    assert champion is not None and champion[0] == 2 and "behaviour" in champion[1].members
    assert set(kept) == set(bundle.members) - {"header_rules", "behaviour"}


def test_detectors_that_saw_other_views_are_not_fused(warden: Any) -> None:
    loop = Loop(Platform(warden.settings))
    with pytest.raises(DataError, match="no view left out; leave out the same views, or train all"):
        loop._kept(["header_rules"], [])
    with pytest.raises(NotFound, match="there is no detector 'header_rule'"):
        loop._kept(["header_rule"], [])


def test_skew_without_a_logged_vector_says_what_to_do(warden: Any) -> None:
    with pytest.raises(NotFound, match=r"no feature vector was logged yet .*mailwarden serve"):
        Loop(Platform(warden.settings)).skew()


def test_the_scorer_is_told_the_tenants_budget(warden: Any) -> None:
    tenants = Platform(warden.settings).tenants
    tenants.create("careful", domains=(), policy={"false_positive_budget": 0.0001}, created_us=3)
    assert policy_of(tenants.get("careful")).budget == TenantBudget(0.0001)
    assert policy_of(tenants.get("acme")).budget == TRAINED


def test_a_worker_reads_links_by_the_list_of_the_one_that_sends_it_mail(tmp_path: Path) -> None:
    (tmp_path / "redirectors.txt").write_text(
        "# name: redirectors\n# version: 1\n# mode: extend\n\nlinks.corp.example/go: redirector query to\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MAILWARDEN_LISTS"}
    send = "import pickle, sys; from mailwarden_services.loop import TenantParser\n"
    send += "sys.stdout.buffer.write(pickle.dumps(TenantParser({})))"
    own = {**environment, "MAILWARDEN_LISTS": str(tmp_path)}
    sent = subprocess.run([sys.executable, "-c", send], env=own, capture_output=True, check=True).stdout
    read = "import pickle, sys; from mailwarden.domain.mail.message import Envelope\n"
    read += "parser = pickle.loads(sys.stdin.buffer.read())\n"
    read += "raw = b'From: a@b.example\\n\\nhttps://links.corp.example/go?to=https://there.example/x\\n'\n"
    read += "print(*(url.domain for url in parser('acme', raw, Envelope()).urls))"
    worker = [sys.executable, "-c", read]
    found = subprocess.run(worker, input=sent, env=environment, capture_output=True, check=True).stdout
    assert found.split() == [b"there.example"]
