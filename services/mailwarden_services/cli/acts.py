"""What is done by hand, written into the audit log beside what is done over HTTP."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mailwarden_services.cli.options import now_us

if TYPE_CHECKING:
    from mailwarden_services.bootstrap import Platform


def who() -> str:
    """Whoever sits at the command line, as the audit log has it."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli:unknown"


def note(
    platform: Platform, tenant: str, what: str, target: str = "", details: Mapping[str, Any] | None = None
) -> None:
    """Write down what a command did; see `AuditEntry`."""
    platform.audit.add(at_us=now_us(), tenant=tenant, who=who(), what=what, target=target, details=details)
