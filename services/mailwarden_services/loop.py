"""The steps of the loop as commands take them: materialise, train, promote, measure skew."""

from __future__ import annotations

import math
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from mailwarden import __version__
from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.domain.mail.trust import NO_TRUST, Trust
from mailwarden.errors import DataError, NotFound
from mailwarden.materialize.job import MaterializeReport, materialize
from mailwarden.monitoring.skew import measure_skew, read_vectors
from mailwarden.monitoring.skew_content import measure_content_skew, read_raw
from mailwarden.monitoring.skew_history import SkewHistory, run_of
from mailwarden.monitoring.skew_report import SkewReport
from mailwarden.stores.bundle import Bundle
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.lake.fact_sets import FactSnapshot
from mailwarden.stores.redirector_list import redirectors_in_use, use_redirectors
from mailwarden.stores.spark.facts import read_facts
from mailwarden.stores.spark.session import spark_session
from mailwarden.training.export import ExportOptions, export_dataset
from mailwarden.training.prepare import TrainingInput, check_rows, prepare
from mailwarden.training.register import BUNDLE, register
from mailwarden.training.rows import write_training_rows
from mailwarden.training.train import TrainingOptions, train
from mailwarden_features.feature_services import feast_objects
from mailwarden_services.bootstrap import Platform, parse
from mailwarden_services.rescoring import score_skew
from mailwarden_services.starter.kinds import starter_of
from mailwarden_services.teams.changes import refuse_changed
from mailwarden_services.teams.content_changes import (
    changed_since_training,
    content_for_training,
    read_by,
)
from mailwarden_services.teams.cost import keep_rates
from mailwarden_services.teams.retiring import read_by_bundle

Progress = Callable[[str], None]


def quiet(_: str) -> None:
    """A progress that says nothing."""


class Loop:
    """Spark's side of one platform: materialisation, training and skew."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    @cached_property
    def spark(self) -> SparkSession:
        """The Spark session of this process, started when it is first needed."""
        return spark_session(self.platform.settings, "mailwarden")

    def materialize(
        self, progress: Progress = quiet, *, only: Sequence[str] = (), afresh: bool = False
    ) -> MaterializeReport:
        """Bring offline files and the online store up to the event log; only, afresh: see `materialize.job`.

        Raises ContractError where a view changed under the version that it had, unless all is made afresh.
        """
        platform = self.platform
        if not afresh:
            refuse_changed(platform.activity, platform.settings)
        report = materialize(
            self.spark,
            platform.settings,
            platform.activity,
            platform.content,
            self._parser(),
            lambda what, done, total: progress(f"{what} ({done} of {total})"),
            only=only,
            afresh=afresh,
        )
        keep_rates(platform.settings, report, platform.activity, platform.events)
        return report

    def train(
        self,
        *,
        now_us: int,
        known_by_us: int | None,
        seed: int,
        reason: str,
        detectors: Sequence[str] = (),
        without: Sequence[str] = (),
        tenants_known_by_us: Mapping[str, int] | None = None,
        progress: Progress = quiet,
    ) -> dict[str, Any]:
        """Train detectors on all labelled mail, register them and have the bundle serve.

        One that would never act does not take the place of a starter, which does.

        Detectors that are not named stay in the bundle as the champion has them, fused anew with those that are.
        now_us: the time of training, for the registry. known_by_us: labels known later are not seen; None for
        `now_us`. tenants_known_by_us: the same for tenants whose mail lies in another time. detectors: names, all by
        default. without: views to leave out. Returns what was done, as plain JSON values. Raises NotFound on an
        unknown detector or view, DataError where there is too little labelled mail, or the champion's other detectors
        were trained without other views.
        """
        platform = self.platform
        _check_views(platform, without)
        champion, kept = self._kept(detectors, without)
        chosen = {
            name: kind
            for name, kind in platform.detectors.items()
            if not detectors or name in detectors or (champion is not None and name in champion[1].members)
        }
        cutoff_us = now_us if known_by_us is None else known_by_us
        found, facts, trained_on = self.labelled(
            chosen, cutoff_us, tenants_known_by_us=tenants_known_by_us or {}, progress=progress
        )
        options = TrainingOptions(seed=seed, ablate=tuple(without))
        trained = train(
            found.rows,
            found.features,
            chosen,
            options,
            history=[view.name for view in platform.activity],
            kept=kept,
            content=trained_on,
            progress=progress,
        )
        # Of too few good messages no threshold is found.
        acts = math.isfinite(trained.bundle.thresholds.banner)
        serves = acts or platform.starter() is None
        records = register(
            trained,
            platform.registry,
            platform.artefacts,
            code_revision=code_revision(),
            created_us=now_us,
            event_log_version=facts.log.version,
            known_by_us=cutoff_us,
            inputs={
                "fact_set": facts.number,
                "tenants_known_by_us": dict(tenants_known_by_us or {}),
                "kept_from": champion[0] if champion and kept else None,
                "through": found.rows.through(),
                **read_by_bundle(platform.features.views, platform.detectors, list(trained.bundle.members)),
            },
            promote=reason if serves else "",
        )
        return {
            "version": records[BUNDLE].version,
            "serves": serves,
            "data_fingerprint": trained.fingerprint,
            "messages": found.rows.n_messages,
            "rows": found.rows.n,
            "event_log_version": facts.log.version,
            "fact_set": facts.number,
            "known_by_us": cutoff_us,
            "seed": seed,
            "kept": sorted(kept),
            "without_views": list(without),
            "content": trained_on,
            "not_learned": trained.not_learned,
            "thresholds": list(trained.threshold_words),
            "shared": trained.evaluations["fused"].shared,
            "held_out": {name: found.as_json() for name, found in trained.evaluations.items()},
        }

    def labelled(
        self,
        detectors: Mapping[str, type[Detector]],
        cutoff_us: int,
        *,
        tenants_known_by_us: Mapping[str, int] = MappingProxyType({}),
        limit: int | None = None,
        to_train: bool = True,
        progress: Progress = quiet,
    ) -> tuple[TrainingInput, FactSnapshot, dict[str, list[int]]]:
        """Labelled mail with what detectors read of it, the fact set that it was read from, and by content view the
        version and fingerprint of its values.

        limit: about so many rows at most. to_train: see first that there is enough to train on. Raises DataError.
        """
        platform, settings = self.platform, self.platform.settings
        read = platform.content.only(read_by(detectors, platform.content))
        facts = platform.facts.snapshot()
        # Rows and values of one set, whichever becomes the newest meanwhile.
        store = open_feature_store(settings, feast_objects(), fact_set=facts.number)
        settings.run_path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=settings.run_path, prefix="train-") as folder:
            rows = Path(folder) / "rows"
            progress("reading training rows")
            write_training_rows(
                self.spark, facts, rows, cutoff_us=cutoff_us, tenant_cutoffs_us=tenants_known_by_us, limit=limit
            )
            if to_train:
                check_rows(rows)
            trained_on = content_for_training(settings, read)
            found = prepare(store, rows, detectors, Path(folder), progress=progress)
        # Whoever materialises at the same time must not have changed what the set was read from.
        content_for_training(settings, read)
        return found, facts, trained_on

    def export(self, out: Path, options: ExportOptions, progress: Progress = quiet) -> dict[str, Any]:
        """Write a training set as plain Parquet, and return its card; see `training.export`.

        Raises NotFound where there is no such tenant.
        """
        platform = self.platform
        if options.tenant is not None:
            platform.tenants.get(options.tenant)
        facts = platform.facts.snapshot()
        store = open_feature_store(platform.settings, feast_objects(), fact_set=facts.number)
        record = {**options.record, "code_revision": code_revision()}
        return export_dataset(lambda: self.spark, store, facts, out, replace(options, record=record), progress)

    def skew(self, progress: Progress = quiet) -> SkewReport:
        """Recompute every logged vector, and every score of one, and compare; raises NotFound where none was logged.

        What was found is kept in `skew_history`.
        """
        platform = self.platform
        logged = platform.vectors.snapshot()
        if not logged.files:
            raise NotFound(
                f"no feature vector was logged yet in {platform.settings.vectors_path}; score mail with "
                "`mailwarden serve` first: each message scored logs one"
            )
        log = platform.events.snapshot()

        def events(number: int) -> DataFrame:
            return read_facts(self.spark, platform.facts.snapshot(number))

        vectors = read_vectors(self.spark, logged)
        scratch, parser = platform.settings.run_path, self._parser()
        raw = read_raw(self.spark, platform.raw.snapshot())
        content = measure_content_skew(raw, vectors, platform.content, parser, scratch, progress)
        report = measure_skew(events, vectors, platform.activity, scratch, progress).with_content(content)
        progress("scores")
        report = replace(report, scores=score_skew(platform, self.spark))
        run = run_of(report, at_us=time.time_ns() // 1_000, events=log.version, vectors=logged.version)
        skew_history(platform).append(run)
        return report

    def _parser(self) -> TenantParser:
        return TenantParser({tenant.name: tenant.trusts for tenant in self.platform.tenants.list()})

    def _kept(self, names: Sequence[str], without: Sequence[str]) -> tuple[tuple[int, Bundle] | None, dict[str, bytes]]:
        """Where detectors are named, the champion (version, bundle) and those of its others that stay as they are.

        One that is installed in another version since then does not stay, nor one that reads a content view which
        changed: it is trained with the named ones.
        """
        platform = self.platform
        _check_detectors(platform.detectors, names)
        champion = platform.registry.champion(BUNDLE) if names else None
        # What a starter learned is not this home's.
        if champion is None or starter_of(champion.record.parameters) is not None:
            return None, {}
        bundle = Bundle.from_bytes(platform.artefacts.get(champion.artefact_uri, champion.artefact_sha256))
        versions = {name: kind.version for name, kind in platform.detectors.items()}
        changed = set(changed_since_training(bundle, platform.content))
        kept = {
            name: platform.fetch(member)
            for name, member in bundle.members.items()
            if name not in names
            and versions.get(name) == member.code
            and changed.isdisjoint(read_by({name: platform.detectors[name]}, platform.content))
        }
        withheld = bundle.record["options"]["ablate"]
        if kept and sorted(withheld) != sorted(without):
            raise DataError(
                f"the champion's other detectors ({', '.join(sorted(kept))}) were trained with "
                f"{', '.join(withheld) or 'no view'} left out, and cannot be fused with ones trained with "
                f"{', '.join(without) or 'no view'} left out; leave out the same views, or train all detectors"
            )
        return (champion.version, bundle), kept


def skew_history(platform: Platform) -> SkewHistory:
    """Where the platform keeps what its skew measurements found."""
    return SkewHistory(platform.settings.root / "skew.jsonl")


def _check_detectors(known: Mapping[str, type[Detector]], names: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise NotFound(f"there is no detector {name!r}; there are {', '.join(sorted(known))}")


def _check_views(platform: Platform, names: Sequence[str]) -> None:
    known = {view.name for view in platform.features.views}
    for name in names:
        if name not in known:
            raise NotFound(f"there is no view {name!r} to leave out; there are {', '.join(sorted(known))}")


class TenantParser:
    """The platform's parser with what each tenant trusts, as it is sent to Spark's workers.

    Mail is read under the trust that it was received with; the present one is for mail with which none is kept. A
    worker reads links by the list of the process that sends it, whose fingerprint stands beside what is computed.
    """

    def __init__(self, trusted: Mapping[str, Trust]) -> None:
        self._trusted = dict(trusted)
        self._redirectors = redirectors_in_use()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        use_redirectors(self._redirectors)

    def __call__(self, tenant: str, raw: bytes, envelope: Envelope) -> Message:
        """The Message of a tenant's raw mail."""
        return parse(raw, envelope, self._trusted.get(tenant, NO_TRUST))


def code_revision() -> str:
    """The git revision of the code, with `+changes` where files differ from it; the version outside of a checkout."""
    here = Path(__file__).parent
    try:
        revision = _git(here, "rev-parse", "HEAD")
        return revision + ("+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return __version__


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
