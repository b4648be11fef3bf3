"""From a verdict to what is asked of the mail system: a tenant's mode, its policy, and which way the mail goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from mailwarden.domain.detection.decision import VERDICTS, Verdict
from mailwarden.domain.mail.events import Direction

Action = Literal["accept", "banner", "junk", "quarantine", "reject"]
ACTIONS: tuple[Action, ...] = get_args(Action)
"""What a mail system may be asked for, the least strict first."""

Mode = Literal["monitor", "enforce"]
MODES: tuple[Mode, ...] = get_args(Mode)

RejectFrom = Literal["banner", "junk", "quarantine"]
REJECT_FROM: tuple[RejectFrom, ...] = get_args(RejectFrom)


@dataclass(frozen=True, slots=True)
class ActionPolicy:
    """What a tenant lets its verdicts do.

    mode: in monitor nothing is asked of the mail system but to accept. reject: the verdict from which mail is refused
    at SMTP time; None for never. headers_in_monitor: headers that say the verdict are added in monitor too.
    act_on_outbound: mail that leaves is acted on as mail that comes in is; else it is only learnt from.
    """

    mode: Mode = "monitor"
    reject: RejectFrom | None = None
    headers_in_monitor: bool = False
    act_on_outbound: bool = False

    def leaves_alone(self, direction: Direction, *, submitted: bool) -> bool:
        """Whether mail of that direction is only learnt from.

        submitted: the mail system says that the tenant itself sent it; who merely claims to, by the From that they
        write, is acted on.
        """
        return submitted and direction == "outbound" and not self.act_on_outbound

    def action(self, verdict: Verdict, direction: Direction, *, submitted: bool) -> Action:
        """What is asked of the mail system; submitted: as above."""
        if self.mode == "monitor" or verdict == "deliver" or self.leaves_alone(direction, submitted=submitted):
            return "accept"
        if self.reject is not None and VERDICTS.index(verdict) >= VERDICTS.index(self.reject):
            return "reject"
        return verdict

    def shows(self, direction: Direction, *, submitted: bool) -> bool:
        """Whether headers that say the verdict are added to mail of that direction."""
        if self.leaves_alone(direction, submitted=submitted):
            return False
        return self.mode == "enforce" or self.headers_in_monitor


def least_strict(actions: Iterable[Action]) -> Action:
    """The strictest action that all of these accept, which is the least strict of them; accept for none."""
    return min(actions, key=ACTIONS.index, default="accept")


def mildest(verdicts: Iterable[Verdict]) -> Verdict:
    """The same of verdicts; deliver for none."""
    return min(verdicts, key=VERDICTS.index, default="deliver")
