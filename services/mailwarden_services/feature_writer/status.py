"""What the feature writer says of itself, in a file beside the spool, for those who ask from another process."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from mailwarden.stores.online.streams import StreamLag
from mailwarden.stores.spool_files import read_committed, read_mark
from mailwarden.stores.spool_reader import checkpoint_path

READER_NAME = "feature_writer"
SILENT_SECONDS = 15.0
"""A writer that works tells of itself every second or so; one that folds a gap may be longer about it."""

_FILE = "feature_writer.status"


@dataclass(frozen=True, slots=True)
class WriterStatus:
    """not_sent, not_logged: records in the writer's hands. rejected: records set aside.

    words: what keeps it from doing its work, each a sentence; empty where all is well. streams: by partition, what
    waits to be folded. oldest_seconds: since the oldest event that is not folded was taken from the spool.
    """

    not_sent: int
    not_logged: int
    rejected: int
    words: tuple[str, ...]
    streams: tuple[StreamLag, ...] = ()
    oldest_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class WriterLag:
    """What the writer has yet to do.

    lag_bytes: accepted and not logged. status: None where no writer ever reported. words: why features may be old.
    seconds: since the oldest event that is not folded was accepted, as far as anyone knows.
    """

    lag_bytes: int
    status: WriterStatus | None
    words: tuple[str, ...]
    seconds: float = 0.0


def write_status(spool: Path, status: WriterStatus) -> None:
    """Replace what readers see; what cannot be written is left out, since folding matters more."""
    temporary = spool / f"{_FILE}.tmp"
    try:
        spool.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(orjson.dumps(asdict(status)))
        os.replace(temporary, spool / _FILE)
    except OSError:
        return


def read_lag(spool: Path, *, since: float, now: float | None = None) -> WriterLag:
    """How far the writer of a spool is behind.

    since: when the asker started, seconds since the epoch, before which nobody's silence counts. now: the time of
    asking, that of the call by default.
    """
    folder = spool.expanduser().resolve()
    lag = max(0, read_committed(folder) - read_mark(checkpoint_path(folder, READER_NAME)))
    now = time.time() if now is None else now
    status, heard = None, since
    try:
        read = orjson.loads((folder / _FILE).read_bytes())
        streams = tuple(StreamLag(**stream) for stream in read.pop("streams"))
        status = WriterStatus(**read | {"words": tuple(read["words"]), "streams": streams})
        heard = max(since, (folder / _FILE).stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):
        status = None
    words = () if status is None else status.words
    seconds = 0.0 if status is None else status.oldest_seconds
    if lag and now - heard > SILENT_SECONDS:
        words = (
            *words,
            f"the feature writer has not been heard of for {now - heard:.0f} s, and {lag:,} bytes of accepted mail "
            "wait for it; see feature_writer.log, or start `python -m mailwarden_services.feature_writer`",
        )
        seconds += now - heard
    return WriterLag(lag, status, words, seconds)
