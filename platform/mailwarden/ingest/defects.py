"""What is malformed in a message, gathered while it is read."""

from __future__ import annotations

from mailwarden.domain.mail.message import Defect

MAX_DEFECTS = 200
MAX_DETAIL = 200


class DefectLog:
    """Collects defects in reading order, bounded: the last one kept says that there were more."""

    def __init__(self) -> None:
        self._defects: list[Defect] = []
        self._seen: set[tuple[str, int]] = set()

    def add(self, code: str, detail: str = "", part: int = 0) -> None:
        """Record a defect once a code and part: a thousand bad lines say no more than the first."""
        if (code, part) in self._seen or len(self._defects) > MAX_DEFECTS:
            return
        self._seen.add((code, part))
        if len(self._defects) == MAX_DEFECTS:
            self._defects.append(Defect("too_many_defects"))
            return
        printable = "".join(c if c.isprintable() else "?" for c in detail[:MAX_DETAIL])
        self._defects.append(Defect(code, printable, part))

    def read(self) -> tuple[Defect, ...]:
        """The defects so far, in reading order."""
        return tuple(self._defects)
