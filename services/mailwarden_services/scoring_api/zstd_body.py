"""Bodies that come compressed with zstd, opened no further than a message may be large."""

from __future__ import annotations

import asyncio
import io

import zstandard

from mailwarden_services.scoring_api.in_flight import Account
from mailwarden_services.scoring_api.problems import Problem, too_large

WINDOW_MOST = 1 << 25
"""Bytes that a decompressor may look back: what zstd's levels use, its ultra ones apart."""


async def opened(body: bytes, limit: int, account: Account | None = None) -> bytes:
    """The content of a zstd frame; raises Problem: 413 where it is over `limit` bytes, 400 where it is no frame.

    account: what it opens to counts there.
    """
    return await asyncio.to_thread(_open, body, limit, account)


def _open(body: bytes, limit: int, account: Account | None) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        with zstandard.ZstdDecompressor(max_window_size=WINDOW_MOST).stream_reader(io.BytesIO(body)) as reader:
            while chunk := reader.read(1 << 20):
                chunks.append(chunk)
                size += len(chunk)
                if size > limit:
                    raise too_large(limit)
                if account is not None:
                    account.take(len(chunk))
    except zstandard.ZstdError as exc:
        raise Problem(400, "bad-request", "Bad request", "The body is no zstd frame that can be opened.") from exc
    return b"".join(chunks)
