"""What is folded for each address under each of its display names: since when, and how often."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import Extreme, Measure

MEASURES = (Measure("messages"), Measure("labelled_bad", of="labelled_bad", on="label"))

EXTREMES = (Extreme("first_used", "first"), Extreme("last_used", "last"))
