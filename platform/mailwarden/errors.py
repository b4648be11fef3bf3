"""The one tree of exceptions: a message names the thing, the place and the mend."""

from __future__ import annotations


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
