"""The simulated world as rows to learn from: each message read and its history asked as serving does, in order.

1. A message is read by serving's reader, numbered as the sequencer would, and its vectors are read from an online store
   that holds what came before it.
2. Then it is folded, with the labels that are known by the next message's time, `LABEL_DELAY_DAYS` after their own.

Neither Spark nor a lake takes part: what a bulk join gives is the same to the last bit, and takes minutes to begin.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr

from mailwarden.domain.aggregates.windows import DAY_US
from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.detection.rows import FeatureTable, MatrixColumns
from mailwarden.domain.mail.content import ContentSet
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.facts import label_event_of
from mailwarden.domain.mail.trust import Trust
from mailwarden.ingest.index import LABEL_DELAY_DAYS
from mailwarden.ingest.receive import Site
from mailwarden.scoring.scorer import RowPlan
from mailwarden.simulation.company import Company, company
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.simulation.simulate import simulate
from mailwarden.simulation.site_lists import write_lists
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.lake.event_log import EventView
from mailwarden.stores.online.reader import ReadRequest
from mailwarden.training.dataset import LabelledRows, labelled_rows
from mailwarden.training.prepare import TrainingInput
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import with_redis
from mailwarden_services.reading.read import Reader

SEED, DAYS, MESSAGES_PER_DAY = 7, 30, 110

PATIENT_SECONDS = 60.0

Tick = Callable[[int], None]

_EMPTY = EventView(None)


@dataclass(frozen=True, slots=True)
class World:
    """A simulated company's mail, every byte settled by these."""

    seed: int = SEED
    days: int = DAYS
    messages_per_day: int = MESSAGES_PER_DAY

    @property
    def company(self) -> Company:
        """Whose mail it is."""
        return company(self.seed)

    def mail(self) -> Iterator[SimulatedMessage]:
        """The mail, in order of arrival."""
        return simulate(self.seed, days=self.days, messages_per_day=self.messages_per_day)


@dataclass(frozen=True, slots=True)
class WorldRows:
    """What a world gives to learn from. sha256: of its mail and labels, in hex."""

    found: TrainingInput
    sha256: str
    messages: int


def world_rows(platform: Platform, world: World, detectors: Mapping[str, type[Detector]], tick: Tick) -> WorldRows:
    """Rows and features of a world, as the views and lists of a platform see it; tick: told how many are read.

    A Redis of its own holds the history, and is gone with it. The world's invented names of free mail, free hosts and
    brands are added to the platform's lists.
    """
    with (
        tempfile.TemporaryDirectory(prefix="mailwarden-world-") as folder,
        _scratch(platform, Path(folder)) as scratch,
        closing(Contacts(Path(folder) / "contacts.sqlite")) as contacts,
        closing(Campaigns(Path(folder) / "campaigns")) as campaigns,
        contacts.numbering(world.company.tenant) as numbering,
        campaigns.numbering(world.company.tenant) as copies,
    ):
        numbering.begin(_EMPTY)
        copies.begin(_EMPTY)
        reader, content = Reader(scratch.content), scratch.content
        gathering = _Gathering(RowPlan(scratch.activity, content), content)
        firm = world.company
        site = Site(firm.tenant, frozenset(firm.domains), trust=Trust(authserv_ids=frozenset({firm.authserv_id})))
        digest, seq, fold = hashlib.sha256(), 0, list[Event]()
        waiting: deque[Event] = deque()
        for message in world.mail():
            digest.update(hashlib.sha256(message.raw).digest() + message.label.encode())
            reading = reader.whole(message.raw, message.envelope, site)
            event = reading.event
            while waiting and waiting[0].known_at_us <= event.received_at_us:
                seq += 1
                fold.append(replace(waiting.popleft(), seq=seq))
            if fold:
                scratch.online_writer.fold(fold)
            seq += 1
            (new,) = numbering.first([(event.sender, event.recipients, seq, event.message_id)])
            (campaign,) = copies.join([(seq, event.signature)])
            event = replace(event, seq=seq, new_recipients=new, campaign=campaign)
            (vectors,) = scratch.online_reader.read([ReadRequest(event)])
            gathering.add(event, message.label, gathering.plan.table(reading.content, vectors), vectors.recipients)
            fold = [event]
            waiting.append(
                label_event_of(
                    event,
                    label=message.label,
                    replaced=None,
                    seq=0,
                    known_at_us=event.received_at_us + round(LABEL_DELAY_DAYS * DAY_US),
                )
            )
            tick(gathering.messages)
        rows, table = gathering.result()
    features = {
        name: FeatureTable(
            {feature: table.columns[feature] for feature in kind.features},
            table.n,
            {view: table.status(view) for view in dict.fromkeys(f.partition(":")[0] for f in kind.features)},
        )
        for name, kind in detectors.items()
    }
    return WorldRows(TrainingInput(rows, features), digest.hexdigest(), rows.n_messages)


@contextmanager
def _scratch(platform: Platform, folder: Path) -> Iterator[Platform]:
    """A platform of the same views over a home and a Redis of its own."""
    lists = write_lists(folder / "lists", beside=platform.settings.lists_path)
    # Nobody waits for one message here, and a busy machine must not end it all.
    patient = {"redis_timeout_seconds": PATIENT_SECONDS}
    own = {"home": folder / "home", "lists": str(lists), "redis_url": SecretStr("")}
    settings = platform.settings.model_copy(update=own | patient)
    with with_redis(settings, keep=False) as named:
        yield Platform(named, activity=platform.activity, content_views=platform.content_views)


class _Gathering:
    """Rows in order of arrival, a row a recipient."""

    def __init__(self, plan: RowPlan, content: ContentSet) -> None:
        self.plan, self._content = plan, content
        self.messages = 0
        self._events: list[tuple[Event, str, str, int]] = []
        self._tables: list[FeatureTable] = []

    def add(self, event: Event, label: str, table: FeatureTable, recipients: tuple[str, ...]) -> None:
        """A message's rows."""
        self._events += [(event, label, recipient, len(recipients)) for recipient in recipients]
        self._tables.append(table)
        self.messages += 1

    def result(self) -> tuple[LabelledRows, FeatureTable]:
        """All of them."""
        events = [event for event, _, _, _ in self._events]
        rows, order = labelled_rows(
            tenant=[event.tenant for event in events],
            message_id=[event.message_id for event in events],
            recipient=[recipient for _, _, recipient, _ in self._events],
            seq=np.array([event.seq for event in events], dtype=np.int64),
            at_us=np.array([event.received_at_us for event in events], dtype=np.int64),
            labels=[label for _, label, _, _ in self._events],
            weight=np.array([1.0 / n for _, _, _, n in self._events]),
        )
        return rows, _stacked(self._tables).take(order)


def _stacked(tables: list[FeatureTable]) -> FeatureTable:
    """Tables of one row plan, one behind the other, without an array a feature and message."""
    parts: list[MatrixColumns] = []
    for table in tables:
        assert isinstance(table.columns, MatrixColumns)
        parts.append(table.columns)
    matrix = np.concatenate([part.matrix for part in parts])
    texts: NDArray[Any] = np.concatenate([part.texts for part in parts])
    statuses = {view: np.concatenate([table.statuses[view] for table in tables]) for view in tables[0].statuses}
    return FeatureTable(MatrixColumns(parts[0].places, matrix, texts), len(matrix), statuses)
