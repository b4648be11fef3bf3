"""The labelled mail of a home as bundles judge it now, by the reads that training makes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.tenant_budget import TRAINED, TenantBudget
from mailwarden.domain.mail.events import LABELS
from mailwarden.errors import DataError, NotFound
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.keys import Keys, joined
from mailwarden.evaluation.language import languages_of
from mailwarden.evaluation.scored import GOOD, Scored, check_classes
from mailwarden.evaluation.scored import joined as joined_tables
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.spark.failures import translated
from mailwarden.stores.sql import ModelRecord
from mailwarden.training.prepare import ask, feature_table
from mailwarden.training.rows import write_training_rows
from mailwarden_features.feature_services import feast_objects
from mailwarden_services.bootstrap import Platform
from mailwarden_services.evaluation.facts import Learned, facts_of, labels_of, learned
from mailwarden_services.evaluation.gaps import GapsFound, gaps_of
from mailwarden_services.evaluation.groups import TENANT, Hiding, group_of, groups_of
from mailwarden_services.evaluation.judge import Judge, Messages, judged
from mailwarden_services.loop import Loop, Progress, quiet
from mailwarden_services.scoring_api.answers import budget_of
from mailwarden_services.teams.content_changes import made_by_others, read_by

ROWS_AT_ONCE = 16_384
TEXTS = ("content_text:new_text", "content_text:subject")
"""What a message's language is told by: the first that says something."""

_KEYS = ("tenant", "message_id", "recipient", "seq", "event_timestamp", "label")
_ORDER = ("event_timestamp", "tenant", "seq", "recipient")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is judged. tenant: None for all. from_us, until_us: received in that time, its end not in it. known_by_us:
    labels known later are not seen."""

    known_by_us: int
    tenant: str | None = None
    from_us: int | None = None
    until_us: int | None = None


def judge_of(platform: Platform, version: int | None, *, groups: bool = False) -> tuple[Judge, ModelRecord]:
    """A bundle, by default the one that serves, loaded, with its registry's record. groups: whether each group of
    features that it reads is hidden once.

    Raises NotFound where there is none, or none of its detectors loads.
    """
    record, bundle = platform.bundle(version)
    champion = platform.champion(record.version)
    if not champion.detectors:
        why = "; ".join(f"{name}: {words}" for name, words in champion.away.items())
        raise NotFound(f"no detector of bundle {record.version} loads, so that nothing can be judged by it. {why}")
    hiding = Hiding(champion, groups_of(champion, platform.features.views)) if groups else None
    return Judge(bundle, champion, budgets_of(platform), hiding), record


def budgets_of(platform: Platform) -> dict[str, TenantBudget]:
    """By tenant, its own false-positive budget where it has one."""
    found = {tenant.name: budget_of(tenant) for tenant in platform.tenants.list()}
    return {name: budget for name, budget in found.items() if budget != TRAINED}


def learned_by(record: ModelRecord) -> Learned | None:
    """What a bundle may have learned from; None where it came from elsewhere than this home's mail."""
    if record.record.known_by_us is None:
        return None
    given: Mapping[str, Any] = record.record.parameters
    return Learned(record.record.known_by_us, given.get("tenants_known_by_us") or {}, given.get("through"))


@dataclass(frozen=True, slots=True)
class Judged:
    """tables: of the same messages in one order, a bundle each. kept: (n,) those that figures are of. gaps: of the
    first bundle's errors among these."""

    tables: tuple[Scored, ...]
    kept: NDArray[np.bool_]
    gaps: GapsFound


Chosen = Callable[[Sequence[Scored]], NDArray[np.bool_]]
"""Which messages of tables figures are of; raises DataError where they are none."""


def judge_home(
    loop: Loop,
    judges: Sequence[tuple[Judge, ModelRecord]],
    wanted: Wanted,
    chosen: Chosen,
    progress: Progress = quiet,
) -> Judged:
    """Every labelled message that is wanted as each bundle judges it, with the gaps of the first.

    Values are those of the moment that each message was accepted. Raises DataError where nothing is labelled, or
    offline values were made by other code than is installed.
    """
    platform = loop.platform
    read = tuple(dict.fromkeys([*(name for judge, _ in judges for name in judge.features), *TEXTS]))
    features = [name for name in read if name in TEXTS or any(judge.sees(name) for judge, _ in judges)]
    hidden = texts_among(platform, set(read) - set(features))
    check_content(platform, {name for judge, _ in judges for name in read_by(_classes(judge), platform.content)})
    with labelled_messages(loop, features, wanted, progress, hidden=hidden, both=True) as found_messages:
        progress("scoring")
        parts: list[list[Scored]] = [[] for _ in judges]
        for messages in found_messages:
            language = _languages(messages)
            for (judge, _), found in zip(judges, parts, strict=True):
                found.append(replace(judged(judge, messages), slices={"language": language}))
        progress("slices")
        whole = [joined_tables(found) for found in parts]
        tables = _with_facts(platform, whole, [record for _, record in judges], wanted)
        kept = chosen(tables)
        progress("gaps")
        here = np.empty_like(kept)
        here[whole[0].order()] = kept
        told_by = _told_by(platform, judges[0][0])
        gaps = gaps_of(found_messages.only(told_by), whole[0], here, told_by)
    return Judged(tables, kept, gaps)


def _told_by(platform: Platform, judge: Judge) -> list[str]:
    """The numeric features that a gap may be told by: those that detectors see. What the tenant as a whole does tells
    times from times, and no message from another."""
    views = {view.name: view for view in platform.features.views}
    return [
        name
        for name in judge.features
        if judge.sees(name)
        and platform.features.dtype(name) != "string"
        and group_of(views[name.partition(":")[0]]) != TENANT
    ]


class LabelledMail:
    """Messages of a set in files, read anew each time that somebody goes through them; see `messages_of`."""

    def __init__(self, folder: Path, features: Sequence[str], hidden: Mapping[str, bool]) -> None:
        self._set = folder, features, hidden

    def __iter__(self) -> Iterator[Messages]:
        return messages_of(*self._set)

    def only(self, features: Sequence[str]) -> LabelledMail:
        """The same with these features of it alone; what is not asked for is not read."""
        return LabelledMail(self._set[0], features, {})


@contextmanager
def labelled_messages(
    loop: Loop,
    features: Sequence[str],
    wanted: Wanted,
    progress: Progress = quiet,
    *,
    hidden: Mapping[str, bool] = MappingProxyType({}),
    both: bool = False,
) -> Iterator[LabelledMail]:
    """The labelled mail that is wanted, in order, with these features as of the moment that each message was accepted.

    hidden: see `messages_of`. both: there must be good and bad mail. Raises DataError where nothing is labelled.
    """
    platform = loop.platform
    facts = platform.facts.snapshot()
    store = open_feature_store(platform.settings, feast_objects(), fact_set=facts.number)
    platform.settings.run_path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=platform.settings.run_path, prefix="evaluate-") as folder:
        rows, values, ordered = (Path(folder) / name for name in ("rows", "values", "ordered"))
        progress("reading labelled rows")
        write_training_rows(
            loop.spark,
            facts,
            rows,
            cutoff_us=wanted.known_by_us,
            tenant=wanted.tenant,
            from_us=wanted.from_us,
            until_us=wanted.until_us,
        )
        _check_labels(rows, both=both)
        progress(f"{len(features)} features of them")
        ask(store, rows, features, values)
        with translated("ordering rows"):
            loop.spark.read.parquet(str(values)).select(*columns_of(features)).sort(*_ORDER).write.parquet(str(ordered))
        yield LabelledMail(ordered, features, hidden)


def messages_of(
    folder: Path, features: Sequence[str], hidden: Mapping[str, bool], rows_at_once: int = ROWS_AT_ONCE
) -> Iterator[Messages]:
    """Whole messages of a set that lies in files in order, some thousand rows at a time.

    hidden: features that are not in it and stand as nulls, by name whether they are texts.
    """
    files = sorted(str(file) for file in folder.glob("*.parquet"))
    columns = columns_of(features)
    held: pa.Table | None = None
    for batch in ds.dataset(files, format="parquet").to_batches(columns=columns, batch_size=rows_at_once):
        table = pa.Table.from_batches([batch])
        held = table if held is None else pa.concat_tables([held, table])
        if held.num_rows < rows_at_once:
            continue
        starts = _starts(held)
        if len(starts) > 1:
            yield _messages(held.slice(0, int(starts[-1])), starts, features, hidden)
            held = held.slice(int(starts[-1]))
    if held is not None and held.num_rows:
        starts = np.append(_starts(held), held.num_rows)
        yield _messages(held, starts, features, hidden)


def columns_of(features: Sequence[str]) -> list[str]:
    """Columns of a set in files: keys, features, and why those of each view are null."""
    told = {f"{name.partition(':')[0]}__status" for name in features}
    return [*_KEYS, *(name.replace(":", "__", 1) for name in features), *sorted(told)]


def texts_among(platform: Platform, features: Collection[str]) -> dict[str, bool]:
    """By name of some features whether each is a text."""
    known = {f"{view.name}:{one.name}": one.dtype for view in platform.features.views for one in view.features}
    return {name: known.get(name) == "string" for name in sorted(features)}


def _starts(rows: pa.Table) -> Any:
    keys = joined(rows["tenant"].combine_chunks(), rows["message_id"].combine_chunks()).dictionary_encode().indices
    codes = np.asarray(keys)
    return np.append(0, np.flatnonzero(codes[1:] != codes[:-1]) + 1) if len(codes) else np.empty(0, np.intp)


def _messages(rows: pa.Table, starts: Any, features: Sequence[str], hidden: Mapping[str, bool]) -> Messages:
    read = feature_table(rows, features)
    nothing: dict[str, Any] = {
        name: np.full(read.n, None, dtype=object) if text else np.full(read.n, np.nan) for name, text in hidden.items()
    }
    first = rows.select(list(_KEYS)).take(pa.array(starts[:-1]))
    times = first["event_timestamp"].cast(pa.timestamp("us", tz=first["event_timestamp"].type.tz))
    return Messages(
        rows=FeatureTable({**read.columns, **nothing}, read.n, read.statuses),
        starts=starts,
        tenant=Coded.of(first["tenant"]),
        message_id=first["message_id"].cast(pa.large_string()).combine_chunks(),
        at_us=np.asarray(times.cast(pa.int64()), dtype=np.int64),
        label=Coded.of(first["label"], LABELS),
    )


def _languages(messages: Messages) -> Coded:
    rows = messages.rows.take(messages.starts[:-1])
    found = [languages_of(pa.array(rows.columns[name], pa.large_string())) for name in TEXTS]
    codes = found[-1].codes
    for one in reversed(found[:-1]):
        codes = np.where(one.codes >= 0, one.codes, codes)
    return Coded(codes, found[0].words)


def _with_facts(
    platform: Platform, tables: Sequence[Scored], records: Sequence[ModelRecord], wanted: Wanted
) -> tuple[Scored, ...]:
    """The tables in order, with campaigns and slices; what was learned from is each bundle's own."""
    first = tables[0]
    tenants = [word for word, n in zip(first.tenant.words, first.tenant.counts().tolist(), strict=True) if n]
    keys = Keys(first.tenant.to_arrow().dictionary_decode(), first.message_id)
    facts = facts_of(platform, keys, tenants)
    labels = labels_of(platform, keys, tenants, wanted.known_by_us)
    order = first.order()
    found = []
    for one, record in zip(tables, records, strict=True):
        slices = {**one.slices, **facts.slices}
        what = learned_by(record)
        if what is not None:
            slices["learned"] = learned(first.tenant, facts, labels, what)
        found.append(replace(one, campaign=facts.campaign, slices=slices).take(order))
    return tuple(found)


def _check_labels(rows: Path, *, both: bool) -> None:
    """Raise DataError where nothing is labelled, or, for `both`, labels are of one class, before the features of all
    are computed."""
    table = ds.dataset(str(rows), format="parquet").to_table(columns=["label", "weight"])
    good = pc.equal(table["label"], GOOD)
    # The weights of a message's rows come to one.
    total, n_good = (
        round(pc.sum(weights).as_py() or 0.0) for weights in (table["weight"], table.filter(good)["weight"])
    )
    if both or not total:
        check_classes(total - n_good, n_good, total, "labelled mail")


def check_content(platform: Platform, views: Collection[str]) -> None:
    """Raise DataError where offline values of one of these content views were made by other code or lists."""
    stale = sorted(made_by_others(platform.settings, platform.content.only(views)))
    if stale:
        raise DataError(
            f"offline values of {', '.join(stale)} were made by other code, lists or parser than are installed; run "
            "`mailwarden materialize`, then evaluate"
        )


def _classes(judge: Judge) -> dict[str, Any]:
    return {name: type(detector) for name, detector in judge.champion.detectors.items()}
