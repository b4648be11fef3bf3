"""The way out of the quarantine: release, deletion and expiry, each written down."""

from __future__ import annotations

import shlex
import smtplib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from mailwarden.errors import ConfigError, DataError, MailwardenError, NotFound, StoreUnavailable
from mailwarden.stores.quarantine import Held, Quarantine
from mailwarden_services.mail_gateway.places import NextHop, read_next_hop

log = structlog.get_logger(__name__)

HAND_OVER_SECONDS = 120.0
"""What the next hop may take for one reply."""


class AuditLog(Protocol):
    """Where acts are written down."""

    def add(
        self, *, at_us: int, tenant: str, who: str, what: str, target: str, details: Mapping[str, Any] | None
    ) -> None:
        """Write down one act."""


@dataclass
class Releases:
    """What people do with held mail. The steps of a release, and why it delivers once, are in `stores.quarantine`.

    next_hop: where all mail of the store is handed on; "" takes the one that each message was on its way to.
    postsuper: the command that moves mail in Postfix's queue. who: as the audit log has it.
    """

    quarantine: Quarantine
    audit: AuditLog | None = None
    next_hop: str = ""
    postsuper: str = "postsuper"
    now_us: Callable[[], int] = lambda: time.time_ns() // 1_000

    def release(self, held_id: str, *, who: str, tenant: str | None = None, again: bool = False) -> Held:
        """Deliver a held message; the row as it then is.

        again: also where an earlier release may have delivered it. Raises NotFound, DataError where it is in no state
        to be released, StoreUnavailable where the next hop did not take it: it is held as before then, or, where nobody
        can know, `releasing`.
        """
        before = self.quarantine.get(held_id, tenant)
        # What Postfix holds may be released twice without being delivered twice.
        repeatable = again or before.place == "postfix_hold"
        claimed = self.quarantine.claim(held_id, self.now_us(), tenant=tenant, again=repeatable)
        if claimed.place == "store":
            done = self._hand_over(claimed)
        else:
            done = self._off_hold(claimed, taken_up=before.state == "releasing")
        self._note(done, who, "quarantine.release", {"recipients": list(claimed.left), "again": again})
        return done

    def settle(self, held_id: str, *, who: str, tenant: str | None = None) -> Held:
        """Take a release of which nobody knows how it ended for delivered."""
        held = self.quarantine.settle(held_id, self.now_us(), tenant=tenant)
        self._note(held, who, "quarantine.settle", {})
        return held

    def delete(self, held_id: str, *, who: str, tenant: str | None = None) -> Held:
        """Delete a held message; nobody gets it."""
        held = self.quarantine.get(held_id, tenant)
        if held.state == "held" and held.place == "postfix_hold":
            self._delete_unless_shared(held)
        ended = self.quarantine.end(held_id, "deleted", self.now_us(), tenant=tenant)
        self._note(ended, who, "quarantine.delete", {})
        return ended

    def expire(self) -> int:
        """Let go of what was held for as long as it is kept; how many. Running it twice does no more than once."""
        count = 0
        while due := self.quarantine.expiring(self.now_us()):
            done = 0
            for held in due:
                try:
                    if held.place == "postfix_hold":
                        self._delete_unless_shared(held)
                    self.quarantine.end(held.held_id, "expired", self.now_us())
                    self._note(held, "expiry", "quarantine.expire", {})
                    done += 1
                except MailwardenError as error:
                    log.warning("not expired", held_id=held.held_id, error=str(error))
            count += done
            if done < len(due):
                break
        self.quarantine.sweep(self.now_us() / 1_000_000)
        return count

    def _hand_over(self, claimed: Held) -> Held:
        try:
            content = self.quarantine.content(claimed)
            hop = read_next_hop(self.next_hop or claimed.next_hop)
        except MailwardenError as error:
            self.quarantine.not_delivered(claimed, str(error), self.now_us())
            raise
        # LMTP answers for each recipient, and the library reads one answer: so one recipient at a time there.
        parts = [claimed.left] if hop.protocol == "smtp" else [(one,) for one in claimed.left]
        done = claimed
        for recipients in parts:
            done = self._deliver(claimed, hop, content, recipients)
        return done

    def _deliver(self, claimed: Held, hop: NextHop, content: bytes, recipients: Sequence[str]) -> Held:
        sent = False
        smtp: smtplib.SMTP | None = None
        try:
            smtp = _connected(hop)
            _offer(smtp, claimed.mail_from, recipients, content)
            self.quarantine.sending(claimed, self.now_us())
            sent = True
            code, said = smtp.data(content)
            words = "" if code == 250 else f"{hop} answered {code} {_words(said)}"
        except smtplib.SMTPResponseException as error:
            words = f"{hop} answered {error.smtp_code} {_words(error.smtp_error)}"
        except (OSError, smtplib.SMTPException) as error:
            words = f"{hop} could not be spoken with: {error}"
            if sent:
                raise StoreUnavailable(
                    f"{claimed.held_id} may have been delivered: {words}. Ask the next hop's log; then release it "
                    "again, or settle it"
                ) from error
        finally:
            if smtp is not None:
                smtp.close()
        if not words:
            return self.quarantine.delivered(claimed, recipients, self.now_us())
        self.quarantine.not_delivered(claimed, words, self.now_us())
        raise StoreUnavailable(f"{claimed.held_id} was not released, and is held as before: {words}")

    def _off_hold(self, claimed: Held, *, taken_up: bool) -> Held:
        together = [row for row in self.quarantine.in_mta(claimed.queue_id) if row.held_id != claimed.held_id]
        try:
            self.quarantine.sending(claimed, self.now_us())
            moved = self._run_postsuper("-H", claimed.queue_id)
        except MailwardenError as error:
            self.quarantine.not_delivered(claimed, str(error), self.now_us())
            raise
        # One that was taken up ended somewhere near its postsuper: what is no longer on hold was released by that.
        if not moved and not taken_up:
            words = f"Postfix has no mail {claimed.queue_id} on hold; it was released or deleted by other means"
            self.quarantine.not_delivered(claimed, words, self.now_us())
            raise NotFound(f"{claimed.held_id} was not released: {words}")
        # One queue file for all recipients: another tenant's row of it is released with it.
        for row in together:
            try:
                other = self.quarantine.claim(row.held_id, self.now_us(), again=True)
                self.quarantine.delivered(other, other.left, self.now_us())
            except DataError as error:
                log.warning("released with another's row", held_id=row.held_id, error=str(error))
        return self.quarantine.delivered(claimed, claimed.left, self.now_us())

    def _delete_unless_shared(self, held: Held) -> None:
        """Have Postfix delete it, unless its one queue file is held for another tenant as well."""
        if any(row.held_id != held.held_id for row in self.quarantine.in_mta(held.queue_id)):
            log.info("Postfix keeps it for another row", held_id=held.held_id, queue_id=held.queue_id)
            return
        if not self._run_postsuper("-d", held.queue_id, "hold"):
            log.info("Postfix has it no more", held_id=held.held_id, queue_id=held.queue_id)

    def _run_postsuper(self, option: str, queue_id: str, *queues: str) -> bool:
        if not queue_id.isalnum():
            raise DataError(f"{queue_id!r} is no queue id of Postfix's")
        command = [*shlex.split(self.postsuper), option, queue_id, *queues]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(
                f"{command[0]} cannot be run: {error}; run this where Postfix runs, or set MAILWARDEN_POSTSUPER"
            ) from error
        if done.returncode != 0:
            raise StoreUnavailable(f"{' '.join(command)} failed: {done.stderr.strip()}")
        return "1 message" in done.stderr

    def _note(self, held: Held, who: str, what: str, details: Mapping[str, Any]) -> None:
        if self.audit is None:
            return
        told = {"message_id": held.message_id, "state": held.state, **details}
        self.audit.add(at_us=self.now_us(), tenant=held.tenant, who=who, what=what, target=held.held_id, details=told)


def _connected(hop: NextHop) -> smtplib.SMTP:
    if hop.place.path is not None:
        if hop.protocol != "lmtp":
            raise ConfigError(f"{hop}: SMTP over a unix socket is not spoken; write lmtp:unix:PATH, or HOST:PORT")
        return smtplib.LMTP(str(hop.place.path), timeout=HAND_OVER_SECONDS)
    kind = smtplib.LMTP if hop.protocol == "lmtp" else smtplib.SMTP
    return kind(hop.place.host, hop.place.port, timeout=HAND_OVER_SECONDS)


def _offer(smtp: smtplib.SMTP, mail_from: str, recipients: Sequence[str], content: bytes) -> None:
    """Everything before the message: raises SMTPResponseException where the sender or any recipient is refused."""
    smtp.ehlo_or_helo_if_needed()
    options = []
    if not content.isascii() and smtp.has_extn("8bitmime"):
        options.append("BODY=8BITMIME")
    if not all(one.isascii() for one in (mail_from, *recipients)):
        options.append("SMTPUTF8")
    code, words = smtp.mail(mail_from, options)
    if code != 250:
        raise smtplib.SMTPResponseException(code, words)
    for recipient in recipients:
        code, words = smtp.rcpt(recipient)
        if code not in (250, 251):
            raise smtplib.SMTPResponseException(code, f"{recipient}: {_words(words)}")


def _words(error: bytes | str) -> str:
    return error.decode("utf-8", "replace") if isinstance(error, bytes) else error
