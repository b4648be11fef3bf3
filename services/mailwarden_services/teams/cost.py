"""What filling a view costs: rows to fold, bytes in Redis, minutes of Spark, estimated before anything is done."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.keys import KeyTemplate, sketch_field, state_field
from mailwarden_services.teams.log_sample import LogSample, count_rows, sample_log

if TYPE_CHECKING:
    from mailwarden.materialize.job import MaterializeReport

START_SECONDS = 15.0
"""Of Spark, before the first row."""

_FILE = "rates.json"


@dataclass(frozen=True, slots=True)
class Rates:
    """rows_a_second: folded and written offline. keys_a_second: loaded online. measured: False for the defaults."""

    rows_a_second: float
    keys_a_second: float
    measured: bool


DEFAULT = Rates(rows_a_second=20_000.0, keys_a_second=10_000.0, measured=False)
"""Before anything was materialised: of two shared cores with a Redis beside them."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one view. redis_bytes: of its states; as many more until the former generation retires, where there is one.

    seconds: of Spark, offline and online part, the start left out.
    """

    view: str
    sample: LogSample
    redis_bytes: int
    offline_bytes: int
    seconds: float


def estimate(log: EventLog, view: ActivityView, rates: Rates, *, project: str, beside: Sequence[ActivityView]) -> Cost:
    """What computing and loading all states of a view would cost now.

    beside: views that are online already; those over the same keys share a hash with it.
    """
    found = sample_log(log, view)
    shared = any(other.keys == view.keys for other in beside)
    a_key = redis_bytes(
        hash_key=_hash_key_bytes(view, project) + found.key_bytes,
        fields=_fields(view, found),
        shared=shared,
    )
    return Cost(
        view=view.name,
        sample=found,
        redis_bytes=round(found.keys * a_key),
        offline_bytes=round(found.keys * (found.key_bytes + found.state_bytes + found.sketch_bytes)),
        seconds=found.rows / rates.rows_a_second + found.keys / rates.keys_a_second,
    )


def redis_bytes(*, hash_key: float, fields: Sequence[tuple[float, float]], shared: bool) -> float:
    """Bytes that a hash of these fields takes in Redis 7 with jemalloc, as MEMORY USAGE counts them.

    hash_key: bytes of the key. fields: bytes of name and value of each. shared: the hash is there for other fields.
    """
    total = sum(_allocated(24) + _string(name) + _string(value) for name, value in fields)
    if not shared:
        # The key's entry, object and string, and the hash's own table.
        total += _allocated(24) + _allocated(16) + _string(hash_key) + _allocated(56) + _allocated(32)
    return total


def read_rates(settings: Settings) -> Rates:
    """What the latest whole materialisation measured, or the defaults; raises DataError where it cannot be read."""
    path = settings.offline_path / _FILE
    try:
        return Rates(**json.loads(path.read_text()))
    except FileNotFoundError:
        return DEFAULT
    except (ValueError, TypeError) as exc:
        raise DataError(f"{path} cannot be read ({exc!r}); delete it") from exc


def keep_rates(settings: Settings, report: MaterializeReport, views: Sequence[ActivityView], log: EventLog) -> None:
    """Keep how fast a materialisation was; views that were not computed as a whole say nothing and are passed over."""
    whole = {found.view: found for found in report.views if found.how == "full" and found.online is not None}
    rows = keys = 0
    offline = online = 0.0
    for view in views:
        if found := whole.get(view.name):
            rows += count_rows(log, view)
            keys += found.loaded
            offline += found.offline_seconds
            online += found.online_seconds
    if not rows or not keys:
        return
    rates = Rates(rows / max(offline, 0.001), keys / max(online, 0.001), measured=True)
    path = settings.offline_path / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(asdict(rates)))
    temporary.replace(path)


def _fields(view: ActivityView, found: LogSample) -> list[tuple[float, float]]:
    fields = [(float(len(state_field(view))), found.state_bytes)]
    if layout_of(view).distinct_names:
        fields.append((float(len(sketch_field(view))), found.sketch_bytes))
    return fields


def _hash_key_bytes(view: ActivityView, project: str) -> int:
    """Of a key in Redis, the values that name the entity left out."""
    return len(KeyTemplate(project, view.keys).key("", ("",) * len(view.keys)))


def _string(length: float) -> float:
    """A simple dynamic string: its header, by length, and a closing zero."""
    header = 1 if length < 32 else 3 if length < 256 else 5 if length < 65_536 else 9
    return _allocated(length + header + 1)


def _allocated(size: float) -> float:
    """The size class of jemalloc that holds so many bytes: steps of 16 up to 128, then four a doubling."""
    if size <= 8:
        return 8
    step = 16
    while size > 8 * step:
        step *= 2
    return math.ceil(size / step) * step
