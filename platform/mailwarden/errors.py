"""The one tree of exceptions: a message names the thing, the place and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MailwardenError(Exception):
    """Base of every error that Mailwarden raises on purpose."""


class ConfigError(MailwardenError):
    """A setting is missing or wrong; raised at start, never at the first request."""


class DataError(MailwardenError):
    """Input handed to Mailwarden cannot be read as what it claims to be."""


class NotFound(MailwardenError):
    """The named thing does not exist in the named store."""


class ContractError(MailwardenError):
    """A team's view or detector breaks the contract of its kind."""


class StoreError(MailwardenError):
    """A store failed; the subclasses tell whether trying again can help."""


class StoreTimeout(StoreError):
    """A store did not answer in the time allowed."""


class StoreUnavailable(StoreError):
    """A store cannot be reached."""


class NotLogged(StoreError):
    """What was accepted is not in the event log yet, which has it within seconds where its writer runs."""


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.5) -> str:
    """ " Did you mean ...?" with the nearest known name, "" where none is near.

    cutoff: 0..1, how like it must be.
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" Did you mean {near[0]!r}?" if near else ""
