"""`simulate`: a made-up company's mail, or a real history with attacks put among it, as a folder that ingest reads."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailwarden.errors import ConfigError
from mailwarden_services.cli.progress import out, say, ticker

if TYPE_CHECKING:
    from mailwarden.ingest.index import LabelIndex
    from mailwarden.simulation.company import Company
    from mailwarden.simulation.draft import SimulatedMessage
    from mailwarden.simulation.injection.merging import HostMessage
    from mailwarden.simulation.injection.spill import Attack


DAYS_A_MONTH = 30.4
MESSAGES_A_PERSON = 2.75
"""A day, of all that a made-up company sends and gets."""


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command()(simulate)


def simulate(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the mail and its INDEX; new or empty.")],
    into: Annotated[
        Path | None, typer.Option(help="A real history: an .eml, a folder, an mbox, a Maildir, or a tar (zst, gz).")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Label index of --into; without one all of that mail is taken for good.")
    ] = None,
    good: Annotated[bool, typer.Option("--good", help="Of --into only what its labels call good.")] = False,
    attacks: Annotated[Path | None, typer.Option(help="Real attacks of another source to put among it.")] = None,
    attacks_labels: Annotated[str | None, typer.Option(help="Label index of --attacks.")] = None,
    messages: Annotated[int, typer.Option(help="Of a made-up company: about so many messages.")] = 10_000,
    months: Annotated[float, typer.Option(help="Of a made-up company: over so many months.")] = 3.0,
    company: Annotated[str, typer.Option(help="Of a made-up company: its name, of which its domain is made.")] = "",
    employees: Annotated[
        int | None, typer.Option(help="Of a made-up company: by default as many as write that much mail.")
    ] = None,
    spam: Annotated[float, typer.Option(help="Of a made-up company: share of spam in all mail.")] = 0.12,
    share: Annotated[float, typer.Option(help="Of attacks in all mail, 0 to below 1.")] = 0.01,
    after: Annotated[int, typer.Option(help="Put attacks only behind so many messages of the host.")] = 0,
    trust: Annotated[
        list[str], typer.Option(help="An authserv-id that the host believes; repeatable. Else the usual one on top.")
    ] = [],  # noqa: B006 - typer's way to say "none given"
    domain: Annotated[
        list[str], typer.Option(help="A domain of the host's own; repeatable. Else that of most recipients.")
    ] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(help="The same seed gives the same mail, byte for byte.")] = 7,
) -> None:
    """Write mail with known attacks in it as a folder of .eml files with an INDEX.

    Without --into, the mail of a made-up company, streamed whatever its size: departments, vendors and their invoices,
    newsletters, lists, offices and travel, people and vendors that come, good mail that looks like an attack (labelled
    ham), and attackers of every category who adapt. `directory.csv` says who works there, `truth.csv` what each message
    is, its campaign, and which hard case or disguise.

    With --into, a real history is copied and attacks are put among it: addressed to its recipients, with a path of the
    host's own form, spread over its span. Without --attacks they are made for the host: in its partners' names, in
    threads stolen from it, from accounts of its own. `injected.csv` says which they are, and how each was made.

    Examples:

        mailwarden simulate --messages 50000 --months 6 --company "Acme Tools" --out artifacts/world
        mailwarden simulate --into inbox.mbox --share 0.02 --out artifacts/attacked
        mailwarden simulate --into inbox.mbox --attacks phish --attacks-labels phish.index --out artifacts/mixed
        mailwarden simulate --into mail --labels INDEX --good --after 500 --share 0.05 \\
            --attacks phish --attacks-labels phish.index --out artifacts/mixed
    """
    if not 0 <= share < 1:
        raise ConfigError(f"--share {share} is no share; give one from 0 to below 1, such as 0.01")
    if (attacks is None) != (attacks_labels is None):
        raise ConfigError("--attacks and --attacks-labels go together; give both or none")
    if good and labels is None:
        raise ConfigError("--good goes with --labels, which say what is good")
    if into is None:
        _make(out_dir, messages, months, company, employees, share, spam, seed)
        return
    plan = _Injection(
        into, labels, good, attacks, attacks_labels, share, after, frozenset(trust), frozenset(domain), seed
    )
    _inject(out_dir, plan)


def _make(
    out_dir: Path, messages: int, months: float, name: str, employees: int | None, share: float, spam: float, seed: int
) -> None:
    from mailwarden.simulation import simulate as world
    from mailwarden.simulation.company import MOST_EMPLOYEES, NAME
    from mailwarden.simulation.corpus import write_corpus
    from mailwarden.simulation.directory import write_directory

    if messages < 1 or not months > 0:
        raise ConfigError(f"--messages {messages} and --months {months} leave no mail; give more than none of each")
    days = max(1, round(months * DAYS_A_MONTH))
    a_day = max(1, round(messages / days))
    staff = employees or min(max(round(a_day / MESSAGES_A_PERSON), 10), MOST_EMPLOYEES)

    def directory(firm: Company) -> None:
        write_directory(out_dir / "directory.csv", firm)

    mail = world.simulate(
        seed,
        days=days,
        employees=staff,
        messages_per_day=a_day,
        attack_share=share,
        spam_share=spam,
        name=name or NAME,
        deep=True,
        at_end=directory,
    )
    with ticker(f"simulating {days:,} days of {staff:,} people's mail (seed {seed})", messages) as tick:
        index = write_corpus(out_dir, counted(mail, tick))
    out.print(f"{index}, {out_dir / 'truth.csv'}, {out_dir / 'directory.csv'}", highlight=False, soft_wrap=True)


def counted(mail: Iterable[SimulatedMessage], tick: Callable[[int], None]) -> Iterator[SimulatedMessage]:
    """The same, each told to the ticker."""
    for number, message in enumerate(mail, 1):
        yield message
        tick(number)


@dataclass(frozen=True, slots=True)
class _Injection:
    """What is put among what; each as the command's option of that name."""

    into: Path
    labels: str | None
    good: bool
    attacks: Path | None
    attacks_labels: str | None
    share: float
    after: int
    trusted: frozenset[str]
    domains: frozenset[str]
    seed: int


def _inject(out_dir: Path, plan: _Injection) -> None:
    from mailwarden.simulation.injection.acquaintance import Acquaintance
    from mailwarden.simulation.injection.merging import Survey, choose, inject, make
    from mailwarden.simulation.injection.placement import wanted
    from mailwarden.simulation.injection.spill import Spill
    from mailwarden_services.replay.experiment import read_index

    index = None if plan.labels is None else read_index(plan.into, plan.labels)

    def host() -> Iterator[HostMessage]:
        return host_mail(plan.into, index, good=plan.good)

    rng = random.Random(f"choose {plan.seed}")
    known = Acquaintance(rng, _text_of, plan.domains) if plan.attacks is None else None
    with ticker(f"reading {plan.into.name}", None) as tick:
        survey = Survey.of(host(), plan.trusted, known, tick)
    count = wanted(len(survey.timeline) - plan.after, plan.share)
    with tempfile.TemporaryDirectory(prefix="mailwarden-simulate-") as folder:
        spill = Spill(Path(folder) / "attacks")
        if plan.attacks is None or plan.attacks_labels is None:
            say(f"making {count:,} attacks on {plan.into.name}")
            make(survey, count, plan.after, spill, plan.seed)
        else:
            say(f"choosing {count:,} attacks of {plan.attacks.name}")
            choose(attack_mail(plan.attacks, read_index(plan.attacks, plan.attacks_labels)), count, spill, rng)
        with ticker(f"writing {out_dir}", len(survey.timeline)) as tick:
            made = inject(out_dir, host, survey, spill, share=plan.share, after=plan.after, seed=plan.seed, tick=tick)
        spill.close()
    if made.injected < made.wanted:
        say(f"there are {made.injected:,} attacks, of {made.wanted:,} that --share {plan.share} asks for")
    out.print(f"{made.host:,} messages of the host and {made.injected:,} injected: {made.index}", highlight=False)
    out.print(f"which were injected, and how: {made.marks}", highlight=False)


def _text_of(raw: bytes) -> str:
    from mailwarden.domain.mail.message import Envelope
    from mailwarden.ingest.parse import parse_message

    return parse_message(raw, Envelope()).new_text


def host_mail(path: Path, index: LabelIndex | None, *, good: bool = False) -> Iterator[HostMessage]:
    """A history as ingest reads it, in the source's order.

    index: without one all is good mail. good: only what the index calls so.
    """
    from mailwarden.ingest.glance import glance
    from mailwarden.ingest.sources import open_source
    from mailwarden.simulation.injection.merging import HostMessage

    source = open_source(path)
    for message in source:
        entry = None if index is None else index.find(source.full_path(message))
        label = "ham" if index is None else "" if entry is None else entry.label
        if good and label != "ham":
            continue
        seen = glance(message)
        yield HostMessage(
            message.path, message.raw, seen.received_at_us, seen.recipients, label, seen.time_source == "mbox_from"
        )


def attack_mail(path: Path, index: LabelIndex) -> Iterator[Attack]:
    """The messages of a source that its index calls neither good nor unlabelled."""
    from mailwarden.ingest.glance import glance
    from mailwarden.ingest.sources import open_source
    from mailwarden.simulation.injection.spill import Attack

    source = open_source(path)
    for message in source:
        entry = index.find(source.full_path(message))
        if entry is not None and entry.label != "ham":
            label = entry.label
            yield Attack(message.raw, label, f"{path.name}/{message.path}", at_us=glance(message).received_at_us)
