"""Models trained on what simulated messages alone say, history withheld: quick to make, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.content import ContentSet, ContentView
from mailwarden.domain.mail.message import Message
from mailwarden.domain.status import CODES
from mailwarden.ingest.parse import parse_message
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.training.dataset import labelled_rows
from mailwarden.training.thresholds import Budgets
from mailwarden.training.train import Trained, TrainingOptions, train


def read_simulated(message: SimulatedMessage, authserv_id: str) -> Message:
    """A simulated message as its site reads it."""
    return parse_message(message.raw, message.envelope, trusted_authserv_ids=frozenset({authserv_id}))


def content_table(content: ContentSet, messages: Iterable[Message], wanted: Iterable[str]) -> FeatureTable:
    """A row a message with these features (`view:feature`): its content, and null for all that history would say.

    Raises what a view's function raises.
    """
    rows = [content.values_of(message, _raise) for message in messages]
    n = len(rows)
    columns: dict[str, NDArray[np.float64] | NDArray[np.object_]] = {name: np.full(n, np.nan) for name in wanted}
    for view in content.views:
        for index, feature in enumerate(view.features):
            values = [row.values[view.name][index] for row in rows]
            columns[f"{view.name}:{feature.name}"] = (
                np.array([value or "" for value in values], dtype=object)
                if feature.dtype == "string"
                else np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
            )
    statuses = {
        view.name: np.array([CODES[row.status[view.name]] for row in rows], dtype=np.uint8) for view in content.views
    }
    return FeatureTable(columns, n, statuses)


def train_on_content(
    messages: Sequence[SimulatedMessage],
    content: ContentSet,
    detectors: Mapping[str, type[Detector]],
    *,
    authserv_id: str,
    withheld: Sequence[str],
    seed: int,
    tenant: str = "acme",
) -> Trained:
    """All detectors fitted to a tenant's simulated mail in order of arrival. withheld: the activity views, all of them
    null."""
    wanted = {feature for kind in detectors.values() for feature in kind.features}
    found = content_table(content, (read_simulated(message, authserv_id) for message in messages), wanted)
    rows, order = labelled_rows(
        tenant=[tenant] * found.n,
        message_id=[f"{number:032x}" for number in range(found.n)],
        recipient=[""] * found.n,
        seq=np.arange(1, found.n + 1),
        at_us=np.array([message.envelope.received_at_us for message in messages], dtype=np.int64),
        labels=[message.label for message in messages],
        weight=np.ones(found.n),
    )
    table = found.take(order)
    features = {
        name: FeatureTable({feature: table.columns[feature] for feature in kind.features}, table.n, table.statuses)
        for name, kind in detectors.items()
    }
    options = TrainingOptions(seed=seed, budgets=Budgets(0.05, 0.02, 0.01), refit=False, ablate=tuple(withheld))
    return train(rows, features, detectors, options)


def _raise(view: ContentView, failure: Exception) -> None:
    raise failure
