"""Feast's entities, one join key each; a view lists several."""

from __future__ import annotations

from mailwarden.stores.feast.objects import ENTITIES

# Feast registers what it finds as names of a module, not what stands in a tuple.
globals().update({entity.name: entity for entity in ENTITIES})
