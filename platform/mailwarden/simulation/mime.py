"""A draft put into RFC 5322 bytes as its sender's mailer and the border host would write it."""

from __future__ import annotations

import base64
import binascii
import html
import quopri
import random
import re
from dataclasses import replace

from mailwarden.simulation.clients import boundary, own_fields
from mailwarden.simulation.draft import Draft, File
from mailwarden.simulation.people import Person

US_PER_S = 1_000_000
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LINK = re.compile(r"\[\[([^|\]]*)\|([^\]]*)\]\]")
_COMPANY_OFFSET_MINUTES = 60


def message_id(rng: random.Random, sender: Person) -> str:
    """A Message-ID of the form that the sender's mailer gives."""
    bits = rng.getrandbits(128)
    match sender.mailer:
        case "suite":
            return f"<{bits:032X}@MX{bits % 9}.{sender.domain}>"
        case "bird":
            return f"<{_dashed(bits)}@{sender.domain}>"
        case "post":
            return f"<{_dashed(bits).upper()}@{sender.domain}>"
        case "webmail":
            return f"<CA+{base64.urlsafe_b64encode(bits.to_bytes(16, 'big')).decode().rstrip('=')}@web.{sender.domain}>"
        case "bulk":
            return f"<{bits >> 64:016x}.{bits & 0xFFFFFF}@bounce.{sender.domain}>"
        case _:
            return f"<{bits >> 80:012x}@{sender.domain}>"


def date_header(time_us: int, offset_minutes: int) -> str:
    """The time as RFC 5322 writes it, in the given offset from UTC."""
    seconds = time_us // US_PER_S + offset_minutes * 60
    days, rest = divmod(seconds, 86_400)
    year, month, day = civil(days)
    sign = "-" if offset_minutes < 0 else "+"
    hours, minutes = divmod(abs(offset_minutes), 60)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{_DAYS[(days + 3) % 7]}, {day:02d} {_MONTHS[month - 1]} {year} {clock} {sign}{hours:02d}{minutes:02d}"


def civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of a count of days since 1970-01-01 (Gregorian)."""
    z = days + 719_468
    era, doe = divmod(z, 146_097)
    yoe = (doe - doe // 1460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + 3 if mp < 10 else mp - 9
    return yoe + era * 400 + (month <= 2), month, doy - (153 * mp + 2) // 5 + 1


def render(rng: random.Random, draft: Draft, received_us: int, company_domain: str, authserv_id: str) -> bytes:
    """The message as it lies in the mailbox, lines ended by LF; received_us: arrival at the border host."""
    lines = [f"Return-Path: <{reverse_path(draft)}>"]
    lines += _trace(rng, draft, received_us, company_domain, authserv_id)
    lines += _signature(rng, draft)
    lines += _own_headers(draft, received_us)
    content = _content(rng, draft)
    return ("\n".join(lines) + "\n").encode("utf-8") + content


def reverse_path(draft: Draft) -> str:
    """The SMTP reverse path of a draft."""
    return draft.sender.address if draft.mail_from is None else draft.mail_from


def recipients(draft: Draft) -> tuple[str, ...]:
    """The envelope's recipients, distinct and in order."""
    return draft.rcpt or tuple(dict.fromkeys(p.address for p in (*draft.to, *draft.cc)))


def as_machine(draft: Draft, bounce_domain: str) -> None:
    """Make the draft one of a machine's: a reverse path for bounces at the domain, and marked as sent by none."""
    draft.mail_from = f"bounce+{draft.message_id[1:12].lower().strip('-.')}@bounces.{bounce_domain}"
    draft.route = replace(draft.route, spf_domain=f"bounces.{bounce_domain}")
    draft.headers = (("Auto-Submitted", "auto-generated"),)


def plain_text(draft: Draft) -> str:
    """The plain-text body with the quoted message."""
    text = draft.read
    if draft.quoted:
        marked = "\n".join("> " + line for line in draft.quoted.split("\n"))
        text += f"\n\n{draft.quoted_head}\n{marked}"
    return text + "\n"


def _trace(rng: random.Random, draft: Draft, received_us: int, company_domain: str, authserv_id: str) -> list[str]:
    route, rcpt = draft.route, recipients(draft)
    queue = f"{rng.getrandbits(40):010X}"
    addressed = f"\n\tfor <{rcpt[0]}>;" if len(rcpt) == 1 else ";"
    protocol = "ESMTPSA" if route.submitted else "ESMTPS"
    stamp = date_header(received_us, _COMPANY_OFFSET_MINUTES)
    lines = [
        f"Received: from {route.host} ({route.host} [{route.ip}])\n\tby mx.{company_domain} (Postfix) with {protocol}"
        f" id {queue}{addressed} {stamp}"
    ]
    if route.submitted:
        lines.append(f"Authentication-Results: {authserv_id}; auth=pass smtp.auth={draft.sender.address}")
        return lines
    from_domain = draft.sender.domain
    results = [
        f"Authentication-Results: {authserv_id}",
        f"spf={route.spf} smtp.mailfrom={route.spf_domain or from_domain}",
    ]
    results.append(f"dkim={route.dkim} header.d={route.dkim_domain} header.s=s1" if route.dkim_domain else "dkim=none")
    results.append(f"dmarc={route.dmarc(from_domain)} header.from={from_domain}")
    if route.arc:
        results.append(f"arc={route.arc}")
    lines.append(";\n\t".join(results))
    if draft.forged_results:
        lines.append(f"Authentication-Results: {draft.forged_results}")
    earlier = date_header(received_us - rng.randint(1, 6) * US_PER_S, draft.sender.utc_offset_minutes)
    lines.append(
        f"Received: from [{draft.sender.client_ip}] by {route.host} with ESMTPA id {rng.getrandbits(32):08x}; {earlier}"
    )
    return lines


def _signature(rng: random.Random, draft: Draft) -> list[str]:
    if not draft.route.dkim_domain:
        return []
    body = base64.b64encode(rng.randbytes(32)).decode()
    seal = base64.b64encode(rng.randbytes(48)).decode()
    return [
        f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={draft.route.dkim_domain}; s=s1;\n"
        f"\th=from:to:subject:date:message-id; bh={body};\n\tb={seal}"
    ]


def _own_headers(draft: Draft, received_us: int) -> list[str]:
    values = {
        "from": _mailbox(draft.sender, draft.charset),
        "to": ",\n ".join(_mailbox(p, draft.charset) for p in draft.to) or "undisclosed-recipients:;",
        "cc": ",\n ".join(_mailbox(p, draft.charset) for p in draft.cc),
        "reply-to": f"<{draft.reply_to}>" if draft.reply_to else "",
        "subject": _encoded(draft.subject, draft.charset) or " ",
        "date": date_header(received_us + draft.skew_s * US_PER_S, draft.sender.utc_offset_minutes),
        "message-id": draft.message_id,
        "in-reply-to": draft.in_reply_to,
        "references": "\n ".join(draft.references),
    }
    lines = [f"{name}: {value}" for name, value in own_fields(draft, values)]
    return lines + [f"{name}: {value}" for name, value in draft.headers]


def _content(rng: random.Random, draft: Draft) -> bytes:
    mark = boundary(rng, draft.sender.mailer)
    text = None if draft.only_html else _text_part(plain_text(draft), "plain", draft.charset)
    page = _text_part(_page(draft), "html", draft.charset) if draft.html or draft.only_html else None
    bodies = [part for part in (text, page) if part is not None]
    body = bodies[0] if len(bodies) == 1 else _multipart("alternative", _inner(mark, 2), bodies)
    inline = [_file_part(f, n) for n, f in enumerate(draft.files) if f.inline]
    if inline:
        body = _multipart("related", _inner(mark, 1), [body, *inline])
    attached = [_file_part(f, n) for n, f in enumerate(draft.files) if not f.inline]
    if attached:
        body = _multipart("mixed", mark, [body, *attached])
    return body


def _inner(mark: str, depth: int) -> str:
    """Another boundary of the same form."""
    return f"{mark[:-1]}{depth}" if mark[-1] != str(depth) else f"{mark[:-1]}{depth + 2}"


def _multipart(kind: str, boundary: str, parts: list[bytes]) -> bytes:
    mark = b"--" + boundary.encode()
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\n\n'.encode()
    return head + b"".join(mark + b"\n" + part + b"\n" for part in parts) + mark + b"--\n"


def _text_part(text: str, subtype: str, charset: str) -> bytes:
    try:
        encoded = text.encode(charset)
    except UnicodeEncodeError:
        charset, encoded = "utf-8", text.encode("utf-8")
    long_lines = max(map(len, encoded.split(b"\n"))) > 900
    if not long_lines and encoded.isascii():
        return (
            f"Content-Type: text/{subtype}; charset={charset}\nContent-Transfer-Encoding: 7bit\n\n".encode() + encoded
        )
    transfer, body = "base64", base64.encodebytes(encoded)
    if charset != "utf-8" or len(encoded) % 3:
        transfer, body = "quoted-printable", quopri.encodestring(encoded)
    head = f"Content-Type: text/{subtype}; charset={charset}\nContent-Transfer-Encoding: {transfer}\n\n"
    return head.encode() + body


def _page(draft: Draft) -> str:
    blocks = [f"<p>{_marked_up(p)}</p>" for p in draft.paragraphs if p]
    if draft.hidden:
        blocks.append(f'<div style="display:none;font-size:0">{html.escape(draft.hidden)}</div>')
    blocks += [f'<p><img src="cid:part{n}@inline" alt=""></p>' for n, f in enumerate(draft.files) if f.inline]
    if draft.quoted:
        quoted = html.escape(draft.quoted).replace("\n", "<br>\n")
        blocks.append(f"<p>{html.escape(draft.quoted_head)}</p>\n<blockquote>{quoted}</blockquote>")
    return "<html><body>\n" + "\n".join(blocks) + "\n</body></html>\n"


def _marked_up(paragraph: str) -> str:
    shown = html.escape(paragraph, quote=False).replace("\n", "<br>\n")
    return _LINK.sub(lambda m: f'<a href="{m[2]}">{m[1] or m[2]}</a>', shown)


def _file_part(file: File, number: int) -> bytes:
    if file.mime_type == "text/calendar":
        head = "Content-Type: text/calendar; charset=utf-8; method=REQUEST\nContent-Transfer-Encoding: 7bit\n\n"
        return head.encode() + file.content.replace(b"\r\n", b"\n")
    place = f"inline\nContent-ID: <part{number}@inline>" if file.inline else f'attachment; filename="{file.name}"'
    head = (
        f'Content-Type: {file.mime_type}; name="{file.name}"\nContent-Transfer-Encoding: base64\n'
        f"Content-Disposition: {place}\n\n"
    )
    return head.encode() + base64.encodebytes(file.content)


def _mailbox(person: Person, charset: str) -> str:
    if not person.name:
        return person.address
    name = person.name if person.name.replace(" ", "").isalnum() and person.name.isascii() else ""
    if not name:
        name = _encoded(person.name, charset) if not person.name.isascii() else f'"{person.name}"'
    return f"{name} <{person.address}>"


def _encoded(text: str, charset: str) -> str:
    if text.isascii():
        return text
    try:
        raw = text.encode(charset)
    except UnicodeEncodeError:
        charset, raw = "utf-8", text.encode("utf-8")
    if len(raw) <= 45:
        return f"=?{charset}?B?{binascii.b2a_base64(raw, newline=False).decode()}?="
    cut = len(text) // 2
    return f"{_encoded(text[:cut], charset)}\n {_encoded(text[cut:], charset)}"


def _dashed(bits: int) -> str:
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
