"""A real history with attacks put among it, written as a folder that the ordinary ingest reads."""

from __future__ import annotations

import csv
import random
import time
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from email.utils import getaddresses
from pathlib import Path
from typing import TextIO

from mailwarden.errors import DataError
from mailwarden.simulation.injection.acquaintance import Acquaintance
from mailwarden.simulation.injection.campaigns import campaigns
from mailwarden.simulation.injection.form import HostForm, put_into_form
from mailwarden.simulation.injection.letter import Letter
from mailwarden.simulation.injection.origin import take_origin
from mailwarden.simulation.injection.placement import Placed, Timeline, draw_times, ranks, wanted
from mailwarden.simulation.injection.readdress import readdress
from mailwarden.simulation.injection.received import reshuffled
from mailwarden.simulation.injection.spill import NATIVE, Attack, Spill
from mailwarden.simulation.mime import US_PER_S

COLUMNS = ("path", "label", "means", "campaign", "source", "recipient", "received_at", "beside")
_A_FOLDER = 5_000


@dataclass(frozen=True, slots=True)
class HostMessage:
    """A message of the host's history as ingest reads it.

    path: in its source. received_at_us: None where nothing gives a time; from_mbox: an mbox `From ` line gave it.
    recipients: whom it was for. label: what it is known to be, "" where nothing says.
    """

    path: str
    raw: bytes
    received_at_us: int | None
    recipients: tuple[str, ...]
    label: str = "ham"
    from_mbox: bool = False


Host = Callable[[], Iterable[HostMessage]]
"""The host's mail from its beginning, the same at every call."""


@dataclass(frozen=True, slots=True)
class Injected:
    """What was written. index: path of INDEX; marks: of the file that says which were injected, and how; wanted: how
    many attacks the share asked for."""

    index: Path
    marks: Path
    host: int
    injected: int
    wanted: int


@dataclass(slots=True)
class Survey:
    """What the first reading of a host finds."""

    timeline: Timeline = field(default_factory=Timeline)
    form: HostForm = field(default_factory=HostForm)
    known: Acquaintance | None = None

    @classmethod
    def of(
        cls,
        host: Iterable[HostMessage],
        trusted: frozenset[str] = frozenset(),
        known: Acquaintance | None = None,
        tick: Callable[[int], None] | None = None,
    ) -> Survey:
        """Read the host's mail once. known: learns who writes what, where attacks are to be made for the host."""
        survey = cls(form=HostForm(trusted), known=known)
        for number, message in enumerate(host, 1):
            letter = Letter.read(message.raw)
            survey.timeline.add(message.received_at_us)
            survey.form.learn(letter, shown_of(letter), message.recipients)
            if known is not None:
                known.learn(letter, message.raw, message.recipients, message.received_at_us)
            if tick is not None:
                tick(number)
        return survey


def shown_of(letter: Letter) -> tuple[str, ...]:
    """The addresses of To and Cc, in lower case."""
    named = getaddresses([*letter.all("to"), *letter.all("cc")])
    return tuple(address.lower() for _, address in named if "@" in address)


def choose(attacks: Iterable[Attack], count: int, spill: Spill, rng: random.Random) -> None:
    """Put a fair draw of so many of the attacks into the spill, in their order; all, where there are no more.

    The attacks are read once; what a later one takes the place of stays in the file, unread.
    """
    kept: list[int] = []
    for seen, attack in enumerate(attacks):
        if len(kept) < count:
            kept.append(len(spill))
            spill.add(attack)
        elif (place := rng.randrange(seen + 1)) < count:
            kept[place] = len(spill)
            spill.add(attack)
    spill.chosen = sorted(kept)


def make(survey: Survey, count: int, after: int, spill: Spill, seed: int) -> None:
    """Put about so many attacks of the world's own campaigns on the surveyed host into the spill."""
    if survey.known is None:
        raise DataError("simulate: attacks can be made only for a host whose writers are known")
    order = survey.timeline.order()
    times = draw_times(survey.timeline, order, count, after, random.Random(f"times {seed}"))
    for attack in campaigns(survey.known, times, survey.timeline.at(order[-1]), seed):
        spill.chosen.append(len(spill))
        spill.add(attack)


def inject(
    out: Path,
    host: Host,
    survey: Survey,
    spill: Spill,
    *,
    share: float,
    after: int = 0,
    seed: int = 7,
    tick: Callable[[int], None] | None = None,
) -> Injected:
    """Write the host's mail and the chosen attacks of the spill, each named by its rank in order of arrival.

    share: of all mail. after: only behind so many messages of the host. The host is read once more; in memory stay 24
    bytes a message. Attacks whose time is settled keep it. Raises DataError where `out` holds something, or cannot be
    written.
    """
    rng = random.Random(f"inject {seed}")
    order = survey.timeline.order()
    placed = _times(spill, survey, order, after, rng)
    rank_of, beside = ranks(survey.timeline, order, placed)
    del order
    index, marks = out / "INDEX", out / "injected.csv"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"simulate: {out} is not an empty folder; give a new one")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (
            index.open("w", encoding="utf-8") as labels,
            marks.open("w", encoding="utf-8", newline="") as told,
        ):
            writing = _Writing(out, survey, spill, rank_of, beside, labels, told, rng)
            for number, message in enumerate(host()):
                writing.host(number, message)
                if tick is not None:
                    tick(number + 1)
    except OSError as failure:
        raise DataError(f"simulate: cannot write {failure.filename or out}; check space and rights") from failure
    return Injected(index, marks, len(rank_of), len(placed), wanted(len(rank_of) - after, share))


def _times(spill: Spill, survey: Survey, order: list[int], after: int, rng: random.Random) -> list[tuple[int, int]]:
    """(number, time): attacks that were made keep their time, real ones get one each, in their order."""
    made = [(number, spill.times[number]) for number in spill.chosen if spill.read(number).recipient]
    settled = {number for number, _ in made}
    real = sorted((n for n in spill.chosen if n not in settled), key=lambda n: (spill.times[n], n))
    times = draw_times(survey.timeline, order, len(real), after, rng) if real else []
    return made + list(zip(real, times, strict=True))


class _Writing:
    """The second reading of a host."""

    def __init__(
        self,
        out: Path,
        survey: Survey,
        spill: Spill,
        rank_of: array[int],
        beside: dict[int, list[Placed]],
        labels: TextIO,
        told: TextIO,
        rng: random.Random,
    ) -> None:
        self._out, self._survey, self._spill = out, survey, spill
        self._rank_of, self._beside = rank_of, beside
        self._labels, self._told, self._rng = labels, csv.writer(told), rng
        self._told.writerow(COLUMNS)
        self._ids: set[str] = set()

    def host(self, number: int, message: HostMessage) -> None:
        """Write a message of the host, and the attacks that stand behind it."""
        path = self._write(self._rank_of[number], message.raw, message)
        if message.label:
            self._labels.write(f"{message.label} {path}\n")
        for placed in self._beside.get(number, ()):
            self._attack(placed, message)

    def _attack(self, placed: Placed, beside: HostMessage) -> None:
        attack = self._spill.read(placed.number)
        if attack.means == NATIVE:
            self._tell(placed, attack, attack.recipient, attack.raw, beside)
            return
        form, rng = self._survey.form, self._rng
        anchor = Letter.read(beside.raw)
        letter = Letter.read(attack.raw)
        origin = take_origin(letter, rng)
        recipient = attack.recipient or self._recipient(beside)
        shown = form.usual_address(recipient, shown_of(anchor))
        change = readdress(letter, origin.recipients, recipient, shown, rng)
        origin = replace(origin, mail_from=_reverse_path(change(origin.mail_from.encode()).decode()))
        if not form.traces["received"] and recipient not in shown_of(letter):
            # Where no path says whom a message was for, its reader has To alone.
            letter.put("To", recipient)
            letter.remove(("cc",))
        put_into_form(letter, origin, form, anchor, recipient, placed.at_us, rng)
        given = letter.first("message-id")
        if given in self._ids or not given:
            letter.put("Message-ID", f"<{reshuffled(rng, 'a1b2c3d4e5f6.20A7')}@{origin.helo}>")
        self._ids.add(given)
        self._tell(placed, attack, recipient, letter.to_bytes(), beside)

    def _tell(self, placed: Placed, attack: Attack, recipient: str, raw: bytes, beside: HostMessage) -> None:
        path = self._write(placed.rank, raw, beside, at_us=placed.at_us)
        self._labels.write(f"{attack.label} {path}\n")
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(placed.at_us // US_PER_S))
        self._told.writerow(
            (path, attack.label, attack.means, attack.campaign, attack.source, recipient, stamp, beside.path)
        )

    def _recipient(self, beside: HostMessage) -> str:
        known = [name for name in beside.recipients if "@" in name]
        if known:
            return self._rng.choice(known)
        usual = self._survey.form.recipients
        if not usual:
            raise DataError("simulate: no message of the host says whom it is for, so attacks have nobody to go to")
        return self._rng.choices(list(usual), list(usual.values()))[0]

    def _write(self, rank: int, raw: bytes, like: HostMessage, at_us: int | None = None) -> str:
        path = f"mail/{rank // _A_FOLDER:04d}/{rank:08d}.eml"
        file = self._out / path
        if like.from_mbox:
            moment = like.received_at_us if at_us is None else at_us
            raw = _mbox_line(Letter.read(raw), moment or 0) + raw
        if not file.parent.exists():
            file.parent.mkdir(parents=True)
        file.write_bytes(raw)
        return path


def _reverse_path(address: str) -> str:
    """An address that bears another in its local part, as bounces do, with one @."""
    local, _, domain = address.rpartition("@")
    return f"{local.replace('@', '=')}@{domain}" if local else address


def _mbox_line(letter: Letter, at_us: int) -> bytes:
    stamp = time.strftime("%a %b %d %H:%M:%S %Y +0000", time.gmtime(at_us // US_PER_S))
    sender = letter.first("return-path").strip("<> ") or "MAILER-DAEMON"
    return f"From {sender} {stamp}\n".encode("latin-1", "replace")
