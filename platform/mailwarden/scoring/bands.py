"""Detectors that suddenly decide alone: bounded and flagged, tenant by tenant, before anybody looks.

A detector that breaks goes on giving scores: it fires on everything, or holds down all that the others find. So of
every message it is asked what the verdict would be without each detector.

1. Two sums a tenant and detector begin at 0 and never fall below it (each a CUSUM). A message adds ln(p1 / p0) where
   the detector stood alone, and ln((1 - p1) / (1 - p0)) where it did not; p0 is the share in which a sound one stands
   alone at most, p1 that of a broken one.
2. The first sum is of all messages: what the others would not hold back is held back by this detector, or it is sure
   that the message is bad and no other finds that likely (`sure_alone`), whether it has its way or another holds it
   down (`ALONE`). The second is of those
   that the others would hold back: held down by this one alone (`AGAINST`). A detector that fires on everything makes
   the sound one that holds it down look like that. So it grows slower, and not while another detector is out.
3. Of one sender only the first message of several in a row counts as decided alone, so that no wave of one sender sets
   a detector aside.
4. From `LIMIT` on the detector is out of its band: what counts is the fusion without it, with the thresholds found for
   that, and the decision says so. It is asked on, and is back once its sum is at 0 again.

Invariants: a detector that stands alone in fewer than a third of a tenant's messages stays in its band in the long run,
whatever an attacker sends; no score depends on a sum, only which fusion counts.

Source: Page, Continuous inspection schemes, Biometrika 1954; a false alarm comes at most once in exp(LIMIT) messages on
average (Lorden 1971).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

LIMIT = 20.0
ALONE = (0.05, 0.8)
AGAINST = (0.3, 0.95)
SURE, LIKELY = 0.95, 0.5
"""Calibrated probability from which on a detector is sure that a message is bad, and above which it finds it likely."""

_CEILING = 1.5 * LIMIT
_TENANTS_KEPT = 10_000


def sure_alone(probabilities: Mapping[str, float]) -> str | None:
    """The detector that is sure that a message is bad, where no other finds that likely; None where there is none.

    probabilities: calibrated, of those that speak of it. Of a wave of bad mail several find it likely.
    """
    likely = [name for name, probability in probabilities.items() if probability > LIKELY]
    return likely[0] if len(likely) == 1 and probabilities[likely[0]] >= SURE else None


@dataclass(slots=True)
class _Sum:
    steps: tuple[float, float]
    total: float = 0.0
    out: bool = False
    last_sender: str = ""

    @classmethod
    def of(cls, shares: tuple[float, float]) -> _Sum:
        sound, broken = shares
        return cls((math.log((1.0 - broken) / (1.0 - sound)), math.log(broken / sound)))

    def see(self, alone: bool, sender: str) -> None:
        if alone and sender:
            if sender == self.last_sender:
                return
            self.last_sender = sender
        self.total = min(_CEILING, max(0.0, self.total + self.steps[alone]))
        self.out = self.total >= LIMIT or (self.out and self.total > 0.0)


@dataclass(slots=True)
class _Band:
    alone: _Sum = field(default_factory=lambda: _Sum.of(ALONE))
    against: _Sum = field(default_factory=lambda: _Sum.of(AGAINST))


@dataclass(slots=True)
class Bands:
    """The bands of every tenant's detectors as this process saw its mail; tenants seen last are kept."""

    _of: OrderedDict[str, dict[str, _Band]] = field(default_factory=OrderedDict)

    def see(
        self, tenant: str, sender: str, held: bool, without: Mapping[str, bool], sure: str | None = None
    ) -> frozenset[str]:
        """Which detectors are out of their band, after this message.

        sender: its address, "" where there is none. held: whether it would be held back with all of them; without: by
        detector, whether it would be without that one. sure: see `sure_alone`.
        """
        own = self._of.setdefault(tenant, {})
        self._of.move_to_end(tenant)
        while len(self._of) > _TENANTS_KEPT:
            self._of.popitem(last=False)
        out = set()
        for name, others in without.items():
            band = own.setdefault(name, _Band())
            band.alone.see((held or name == sure) and not others, sender)
            if band.alone.out:
                out.add(name)
        for name, others in without.items():
            against = own[name].against
            if others and not out - {name}:
                against.see(not held, sender)
            if against.out:
                out.add(name)
        return frozenset(out)
