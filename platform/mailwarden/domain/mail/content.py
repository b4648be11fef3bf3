"""The content view: features computed from one message alone, by one function, in the API and in Spark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from mailwarden.domain.mail.message import Message

ContentValue = float | int | str | None


@dataclass(frozen=True, slots=True)
class ContentFeature:
    """A fact of one message. null: what a null means ("not computable: no Reply-To header")."""

    name: str
    dtype: Literal["int64", "float64", "string"]
    description: str
    unit: str
    null: str


@dataclass(frozen=True, slots=True)
class ContentView:
    """Features of a message without history.

    compute: a module-level pure function from a Message to one value a feature, every name present.
    version: raised when the meaning of any feature changes.
    """

    name: str
    version: int
    owner: str
    description: str
    features: tuple[ContentFeature, ...]
    compute: Callable[[Message], Mapping[str, ContentValue]]
