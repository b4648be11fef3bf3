"""One message while it is read: what it may still cost, what is malformed, and what could not be read in full."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mailwarden.domain.mail.message import Aspect, Defect
from mailwarden.domain.status import Status, worst
from mailwarden.ingest.budget import Budget, Limit

MAX_DEFECTS = 200
MAX_DETAIL = 200

T = TypeVar("T")


class Reading:
    """Collects what went wrong in reading order, and spends from the budget of the whole message.

    budget: shared by a message and those inside it. Defects are bounded, but for the first of each code: the last one
    kept says that there were more.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._defects: list[Defect] = []
        self._seen: set[tuple[str, int]] = set()
        self._codes: set[str] = set()
        self._many = False
        self._unread: dict[Aspect, Status] = {}

    def defect(self, code: str, detail: str = "", part: int = 0) -> None:
        """Record a defect once a code and part: a thousand bad lines say no more than the first."""
        if (code, part) in self._seen:
            return
        # The first of a code is kept behind any flood of others: features are made of which codes there are.
        if len(self._defects) >= MAX_DEFECTS and code in self._codes:
            self._many = True
            return
        self._codes.add(code)
        self._seen.add((code, part))
        printable = "".join(c if c.isprintable() else "?" for c in detail[:MAX_DETAIL])
        self._defects.append(Defect(code, printable, part))

    def take(self, limit: Limit, wanted: int = 1, part: int = 0) -> int:
        """How many of `wanted` the budget still allows; where that is fewer, the message says what was not read."""
        granted = self.budget.take(limit, wanted)
        if granted < wanted:
            self.over(limit, part)
        return granted

    def over(self, limit: Limit, part: int = 0) -> None:
        """There is more in the message than the limit allows."""
        self.cut(limit.aspects, limit.code, f"more than {limit.most:,} {limit.what}", part)

    def cut(self, aspects: tuple[Aspect, ...], code: str, detail: str = "", part: int = 0) -> None:
        """What a limit of one header or part, or of the message, leaves unread."""
        self.defect(code, detail, part)
        for aspect in aspects:
            self.unread(aspect, Status.OVER_BUDGET)

    def merge(self, other: Reading) -> None:
        """Take over what another reading of the same message found, behind what this one did."""
        for defect in other._defects:
            self.defect(defect.code, defect.detail, defect.part)
        self._many = self._many or other._many
        for aspect, status in other._unread.items():
            self.unread(aspect, status)

    def merge_as(self, other: Reading, aspect: Aspect) -> None:
        """The same, where all that was not read there counts as one aspect here."""
        for defect in other._defects:
            self.defect(defect.code, defect.detail, defect.part)
        for status in other._unread.values():
            self.unread(aspect, status)

    def unread(self, aspect: Aspect, status: Status) -> None:
        """An aspect was not read in full; of several reasons the worst is kept."""
        self._unread[aspect] = worst((status, self._unread.get(aspect, Status.PRESENT)))

    def attempt(self, aspect: Aspect, read: Callable[[], T], otherwise: T, part: int = 0) -> T:
        """What `read` gives; where it raises, `otherwise`, a defect, and the aspect is damaged.

        The last resort of one part, header or link, so that the rest of a stranger's message is read.
        """
        try:
            return read()
        except Exception as error:
            self.defect(f"{aspect}_unreadable", type(error).__name__, part)
            self.unread(aspect, Status.DAMAGED)
            return otherwise

    def defects(self) -> tuple[Defect, ...]:
        """The defects so far, in reading order."""
        return (*self._defects, Defect("too_many_defects")) if self._many else tuple(self._defects)

    def not_read(self) -> tuple[tuple[Aspect, Status], ...]:
        """What was not read in full so far, and why; each aspect once, in the order of their names."""
        return tuple(sorted(self._unread.items()))
