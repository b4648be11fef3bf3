"""What is held, a row each: why, for whom, until when, and how far its release has come."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mailwarden.errors import DataError, NotFound
from mailwarden.stores.quarantine.files import HeldFiles
from mailwarden.stores.sql.engine import open_engine, reading, writing
from mailwarden.stores.sql.migrate import upgrade
from mailwarden.stores.sql.tables import quarantine as table

State = Literal["held", "releasing", "released", "deleted", "expired"]
Place = Literal["store", "postfix_hold"]

DAY_US = 86_400_000_000
PASS_US = 7 * DAY_US
"""How long what was released may pass the filter: as long as a mail system tries to deliver it, and two days more."""

ORPHAN_S = 86_400.0
"""Age from which a file without a row is removed: a message is written before its row."""


@dataclass(frozen=True, slots=True)
class HeldMail:
    """What is known of a message as it is held.

    tenant: "" where no tenant was told. recipients: those that it is held for. next_hop: where a release hands it on.
    """

    tenant: str
    message_id: str
    decision_id: str
    mail_from: str
    recipients: tuple[str, ...]
    reason: str
    category: str = ""
    client_ip: str = ""
    subject: str = ""
    header_from: str = ""
    next_hop: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A held message as listed.

    left: recipients who do not have it yet. sending: the next hop may have it already. claim: of the release that is
    at work. passed: recipients for whom it went through the filter after its release. error: how the last release
    ended, "" where well. Times are microseconds since the epoch, UTC.
    """

    held_id: str
    tenant: str
    message_id: str
    decision_id: str
    mail_from: str
    recipients: tuple[str, ...]
    reason: str
    category: str
    client_ip: str
    subject: str
    header_from: str
    next_hop: str
    place: Place
    queue_id: str
    sha256: str
    size: int
    held_us: int
    expires_us: int
    state: State
    changed_us: int
    left: tuple[str, ...]
    sending: bool
    claim: str
    passed: tuple[str, ...]
    error: str


_COLUMNS = [table.c[field.name] for field in fields(Held)]
_GIVEN = tuple(field.name for field in fields(HeldMail))


class Quarantine:
    """The quarantine; `engine` comes from `open_engine`, migrated. keep_days: until what is held expires."""

    def __init__(self, engine: Engine, files: HeldFiles, *, keep_days: int = 30) -> None:
        self._engine, self.files, self.keep_days = engine, files, keep_days

    @classmethod
    def open(cls, url: str, folder: Path, *, keep_days: int) -> Quarantine:
        """The quarantine of a database URL, migrated, and a folder, for a process that needs nothing else of them."""
        upgrade(url)
        return cls(open_engine(url), HeldFiles(folder), keep_days=keep_days)

    def hold(self, mails: Sequence[HeldMail], chunks: Callable[[], Iterable[bytes]], now_us: int) -> tuple[Held, ...]:
        """Keep a message for each of its tenants; it and the rows are on disk when this returns. Raises StoreError.

        chunks: gives the message's bytes from the start, each time that it is called.
        """
        rows: list[Held] = []
        for mail in mails:
            held_id = "q" + secrets.token_hex(16)
            sha256, size = self.files.write(held_id, chunks())
            rows.append(self._row(mail, held_id, "store", "", sha256, size, now_us))
        self._insert(rows)
        return tuple(rows)

    def note(
        self, mails: Sequence[HeldMail], *, queue_id: str, sha256: str, size: int, now_us: int
    ) -> tuple[Held, ...]:
        """Note that Postfix holds a message under a queue id, for each of its tenants."""
        rows = [
            self._row(mail, "q" + secrets.token_hex(16), "postfix_hold", queue_id, sha256, size, now_us)
            for mail in mails
        ]
        self._insert(rows)
        return tuple(rows)

    def get(self, held_id: str, tenant: str | None = None) -> Held:
        """The row of that id, of any tenant or of one; raises NotFound."""
        with reading(self._engine) as connection:
            return _get(connection, held_id, tenant)

    def page(
        self,
        tenant: str | None,
        *,
        state: State | None = "held",
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> tuple[Held, ...]:
        """Return the newest rows, the newest first, at most `limit`.

        tenant: whose; None for all. state: in which; None for any. before: `held_us` and id of the row to go on after.
        """
        wanted = sa.select(*_COLUMNS).order_by(table.c.held_us.desc(), table.c.held_id.desc()).limit(limit)
        if tenant is not None:
            wanted = wanted.where(table.c.tenant == tenant)
        if state is not None:
            wanted = wanted.where(table.c.state == state)
        if before is not None:
            us, held_id = before
            earlier = sa.and_(table.c.held_us == us, table.c.held_id < held_id)
            wanted = wanted.where(sa.or_(table.c.held_us < us, earlier))
        with reading(self._engine) as connection:
            return tuple(Held(*row) for row in connection.execute(wanted))

    def content(self, held: Held) -> bytes:
        """The original bytes of a message in the store; raises NotFound where Postfix has them, or they are gone."""
        if held.place != "store":
            raise NotFound(f"Postfix holds the bytes of {held.held_id}; `postcat -q {held.queue_id}` shows them")
        if held.state in ("deleted", "expired"):
            raise NotFound(f"{held.held_id} was {held.state}; its bytes are gone")
        return self.files.read(held.held_id, held.sha256)

    def claim(self, held_id: str, now_us: int, *, tenant: str | None = None, again: bool = False) -> Held:
        """Step 1 of a release: from `held` to `releasing`. again: also where the last one ended, nobody knows how.

        A release that ended before step 3 is taken up without being asked. Raises NotFound, or DataError where the
        message is not held, is being released now, or may have been delivered.
        """
        with writing(self._engine) as connection:
            held = _get(connection, held_id, tenant)
            if held.state == "releasing":
                if held.changed_us > now_us - RELEASE_US:
                    raise DataError(f"{held_id} is being released now; look again in some minutes")
                if held.sending and not again:
                    raise DataError(
                        f"{held_id} may have been delivered: its last release ended while it was handed over. Ask the "
                        "next hop's log; then release it `again`, or settle it as delivered"
                    )
            elif held.state != "held":
                raise DataError(f"{held_id} cannot be released: it is {held.state}")
            claim = secrets.token_hex(8)
            self._change(connection, held, state="releasing", claim=claim, sending=False, changed_us=now_us, error="")
            return _get(connection, held_id, tenant)

    def sending(self, claimed: Held, now_us: int) -> None:
        """Step 3: from here the next hop may have it. Raises DataError where another release took it over."""
        with writing(self._engine) as connection:
            self._change(connection, claimed, sending=True, changed_us=now_us)

    def delivered(self, claimed: Held, recipients: Sequence[str], now_us: int) -> Held:
        """Step 4, accepted: these recipients have it; `released` once none is left."""
        with writing(self._engine) as connection:
            now = _get(connection, claimed.held_id, None)
            left = tuple(one for one in now.left if one not in set(recipients))
            state = "releasing" if left else "released"
            self._change(connection, claimed, left=left, state=state, sending=False, changed_us=now_us)
            return _get(connection, claimed.held_id, None)

    def not_delivered(self, claimed: Held, error: str, now_us: int) -> None:
        """Step 4, refused, or an end before step 3: it is held as before, with why it could not be released."""
        with writing(self._engine) as connection:
            self._change(connection, claimed, state="held", sending=False, changed_us=now_us, error=error[:1_000])

    def settle(self, held_id: str, now_us: int, *, tenant: str | None = None) -> Held:
        """Take a release that ended nobody knows how for delivered; raises NotFound or DataError."""
        with writing(self._engine) as connection:
            held = _get(connection, held_id, tenant)
            if held.state != "releasing" or not held.sending or held.changed_us > now_us - RELEASE_US:
                raise DataError(f"{held_id} is {held.state}; only a release that ended nobody knows how is settled")
            self._change(connection, held, state="released", sending=False, left=(), changed_us=now_us)
            return _get(connection, held_id, tenant)

    def end(
        self, held_id: str, state: Literal["deleted", "expired"], now_us: int, *, tenant: str | None = None
    ) -> Held:
        """Delete a held message, or let it expire, and its bytes; raises NotFound or DataError."""
        with writing(self._engine) as connection:
            held = _get(connection, held_id, tenant)
            if held.state != "held":
                raise DataError(f"{held_id} cannot be {state}: it is {held.state}")
            self._change(connection, held, state=state, changed_us=now_us)
            ended = _get(connection, held_id, tenant)
        self.files.remove(held_id, held.sha256)
        return ended

    def expiring(self, now_us: int, limit: int = 1_000) -> tuple[Held, ...]:
        """Held messages whose time is over, the oldest first."""
        wanted = sa.select(*_COLUMNS).where(table.c.state == "held", table.c.expires_us <= now_us)
        with reading(self._engine) as connection:
            return tuple(Held(*row) for row in connection.execute(wanted.order_by(table.c.expires_us).limit(limit)))

    def sweep(self, now_s: float) -> int:
        """Remove files that a crash left without a row, and those whose message is no longer held; how many."""
        removed = 0
        with reading(self._engine) as connection:
            for path, held_id in list(self.files.older_than(now_s - ORPHAN_S)):
                state = None
                if held_id is not None:
                    state = connection.execute(sa.select(table.c.state).where(table.c.held_id == held_id)).scalar()
                if state not in ("held", "releasing"):
                    with contextlib.suppress(FileNotFoundError):
                        path.unlink()
                        removed += 1
        return removed

    def in_mta(self, queue_id: str) -> tuple[Held, ...]:
        """Rows of one message that Postfix holds, of all tenants, that are held or being released."""
        wanted = sa.select(*_COLUMNS).where(
            table.c.queue_id == queue_id, table.c.place == "postfix_hold", table.c.state.in_(("held", "releasing"))
        )
        with reading(self._engine) as connection:
            return tuple(Held(*row) for row in connection.execute(wanted))

    def passing(self, hashes: Sequence[str], recipients: Sequence[str], now_us: int) -> Held | None:
        """The released message that these bytes are, for these recipients, if it has not passed for them before."""
        wanted = sa.select(*_COLUMNS).where(
            table.c.sha256.in_(hashes),
            table.c.state.in_(("releasing", "released")),
            table.c.changed_us > now_us - PASS_US,
        )
        with reading(self._engine) as connection:
            for row in connection.execute(wanted):
                held = Held(*row)
                if set(recipients) <= set(held.recipients) - set(held.passed):
                    return held
        return None

    def passed(self, held: Held, recipients: Sequence[str]) -> None:
        """Note that a released message went through the filter for these recipients; it does not do so again."""
        with writing(self._engine) as connection:
            now = _get(connection, held.held_id, None)
            passed = tuple(dict.fromkeys([*now.passed, *recipients]))
            connection.execute(sa.update(table).where(table.c.held_id == held.held_id).values(passed=passed))

    def _row(
        self, mail: HeldMail, held_id: str, place: Place, queue_id: str, sha256: str, size: int, now_us: int
    ) -> Held:
        given: dict[str, Any] = {name: getattr(mail, name) for name in _GIVEN}
        return Held(
            held_id=held_id,
            **given,
            place=place,
            queue_id=queue_id,
            sha256=sha256,
            size=size,
            held_us=now_us,
            expires_us=now_us + self.keep_days * DAY_US,
            state="held",
            changed_us=now_us,
            left=mail.recipients,
            sending=False,
            claim="",
            passed=(),
            error="",
        )

    def _insert(self, rows: Sequence[Held]) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                sa.insert(table), [{field.name: getattr(row, field.name) for field in fields(Held)} for row in rows]
            )

    def _change(self, connection: Connection, held: Held, **values: Any) -> None:
        mine = sa.and_(
            table.c.held_id == held.held_id, table.c.claim == held.claim, table.c.state.in_(("held", "releasing"))
        )
        if connection.execute(sa.update(table).where(mine).values(**values)).rowcount != 1:
            raise DataError(f"{held.held_id} was taken over by another release; look at its state")


RELEASE_US = 10 * 60 * 1_000_000
"""How long a release may be at work; after it, it is taken to have ended."""


def _get(connection: Connection, held_id: str, tenant: str | None) -> Held:
    wanted = sa.select(*_COLUMNS).where(table.c.held_id == held_id)
    if tenant is not None:
        wanted = wanted.where(table.c.tenant == tenant)
    row = connection.execute(wanted).first()
    if row is None:
        raise NotFound(f"nothing is held under {held_id!r}; `quarantine list` shows what is")
    return Held(*row)
