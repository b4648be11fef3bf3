"""What a load is made of: a site's own messages, the TREC corpus where it lies beside the checkout, simulated mail."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from email.utils import parseaddr
from itertools import islice
from pathlib import Path
from random import Random
from zlib import crc32

from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import DataError
from mailwarden.ingest.index import LabelIndex
from mailwarden.ingest.receive import unwrapped
from mailwarden.ingest.sources import looks_like_mail, open_source
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.bench.reading import TREC

SEED = 11
RECIPIENTS = 40
"""People of the tenant to whom mail of another site is addressed."""


def load_mail(chosen: str, n: int, domain: str) -> tuple[str, list[SimulatedMessage]] | None:
    """The name of a choice, and n of its messages at most, with envelopes of the tenant whose domain is given.

    chosen: an .eml, mbox, Maildir, folder or archive, a pattern of files, or an index of `label path` lines; "" is the
    corpus where it is there. Of files so many are drawn by chance, always the same ones; an mbox or an archive gives
    its first. None where nothing is chosen and no corpus is there. Raises DataError where a choice holds no mail.
    """
    if not chosen and not TREC.exists():
        return None
    name = chosen or TREC.name
    raws = list(islice(_raws(chosen or str(TREC), n), n))
    if not raws:
        raise DataError(
            f"{chosen} names no mail. Give a message, an mbox, a folder, an archive, a pattern or an index."
        )
    return name, [SimulatedMessage(raw, _envelope(raw, domain), "", str(i), None) for i, raw in enumerate(raws)]


def _raws(chosen: str, n: int) -> Iterator[bytes]:
    path = Path(chosen).expanduser()
    if path.is_dir() and not (path / "cur").is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
    elif path.is_file() and (listed := _of_index(path)):
        files = listed
    elif path.exists():
        yield from (message.raw for message in open_source(path))
        return
    else:
        files = [Path(found) for found in glob.glob(str(path), recursive=True)]
    files.sort()
    Random(SEED).shuffle(files)
    for file in files:
        raw = file.read_bytes() if file.is_file() else b""
        if looks_like_mail(unwrapped(raw, Envelope())[0]):
            yield unwrapped(raw, Envelope())[0]


def _of_index(path: Path) -> list[Path]:
    """The files that an index names; none where it is no index."""
    try:
        return [Path(entry.path) for entry in LabelIndex.read(path)]
    except DataError:
        return []


def _envelope(raw: bytes, domain: str) -> Envelope:
    """Sender and recipient from the header fields, so that people write to each other again as they did."""
    fields: dict[str, str] = {}
    for line in raw[:65_536].splitlines():
        if not line:
            break
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value)
    address = parseaddr(fields.get("return-path") or fields.get("from", ""))[1]
    sender = address if address.isascii() and address.isprintable() and "@" in address else "unknown@load.example.com"
    person = crc32(fields.get("to", "").strip().lower().encode()) % RECIPIENTS
    return Envelope(mail_from=sender, rcpt_to=(f"person{person}@{domain}",))
