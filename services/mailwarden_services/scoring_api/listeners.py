"""Listeners of a mail system, by the names that it gives them: whose mail comes in there, and which way it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from mailwarden.domain.mail.events import Flow
from mailwarden.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Listener:
    """tenant: whose all of its mail is; "" where recipients' domains tell. flow: which way its mail goes."""

    tenant: str
    flow: Flow


def listeners_of(text: str) -> Mapping[str, Listener]:
    """Listeners by name from `name=tenant:direction` with commas; raises ConfigError.

    >>> listeners_of("mx=:inbound, submission=acme:outbound")["submission"]
    Listener(tenant='acme', flow='outbound')
    """
    found: dict[str, Listener] = {}
    for entry in (one.strip() for one in text.split(",")):
        if not entry:
            continue
        name, equals, rest = entry.partition("=")
        tenant, colon, flow = (part.strip() for part in rest.rpartition(":"))
        name = name.strip()
        if not equals or not colon or not name or flow not in get_args(Flow) or name in found:
            raise ConfigError(
                f"MAILWARDEN_LISTENERS: {entry!r} cannot be read; write each listener once, as name=tenant:inbound or "
                "name=tenant:outbound, the tenant left out where recipients' domains tell whose mail it is."
            )
        found[name] = Listener(tenant, "inbound" if flow == "inbound" else "outbound")
    return found
