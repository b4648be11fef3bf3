"""Why a recomputed value is missing, as the online read says it, out of the event log."""

from __future__ import annotations

from dataclasses import replace

from pyspark.sql import Column
from pyspark.sql import functions as F

from mailwarden.domain.aggregates.definitions import ActivityView, Feature, Measure, Total
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import NEVER
from mailwarden.domain.aggregates.windows import NOTHING, Window
from mailwarden.domain.status import Status

THERE = ("messages_there", "labels_there")
"""Features that tell whether anything of the key is inside the longest window of a view."""


def with_presence(view: ActivityView) -> ActivityView:
    """The view with `THERE`: how many messages and labels its longest window holds, always some without windows."""
    window = _longest(view)
    messages, labels = THERE
    return replace(
        view,
        measures=(*view.measures, Measure(messages), Measure(labels, on="label")),
        features=(
            *view.features,
            *(Feature(there, Total(there, window), "inside the longest window", "events") for there in THERE),
        ),
    )


def status_of(lacks: Column, last_seq: Column, messages: Column, labels: Column) -> Column:
    """The kind of missing that history says, one of `Status`.

    lacks: whether the message lacks a key. last_seq: behind the value, `NEVER` where nothing is. messages, labels:
    values of `THERE`.
    """
    inside = F.coalesce(messages, F.lit(0)) + F.coalesce(labels, F.lit(0))
    return (
        F.when(lacks, Status.NOT_COMPUTABLE.value)
        .when(last_seq == F.lit(NEVER), Status.NEVER_SEEN.value)
        .when(inside == 0, Status.NONE_IN_WINDOW.value)
        .otherwise(Status.PRESENT.value)
    )


def _longest(view: ActivityView) -> Window:
    length_us, hop_us = layout_of(view).reach
    return Window("all", None, 1) if length_us == -NOTHING else Window("longest", length_us, hop_us)
