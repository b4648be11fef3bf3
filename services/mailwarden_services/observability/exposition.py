"""What `/metrics` says: of a home with one process its own series, of one with several shards those of all.

Each shard counts for itself, and whoever is asked asks the others for theirs. Every series then bears the `shard` that
it is of, since a sum over processes is no counter: it falls where one of them is started again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mailwarden.settings import Settings
from mailwarden_services.feature_writer.status import WriterLag
from mailwarden_services.scoring_api.metrics import Metrics
from mailwarden_services.sequencer.remote import asked

METHOD = "metrics"
"""By which another shard is asked on its socket."""

ASK_SECONDS = 1.0
"""In which the other shards answer, or are said to be away."""

_UP = "mailwarden_shard_up"


class Exposition:
    """What one process tells Prometheus. lag: how far the writer of its own shard is behind; blocks.

    away: why messages are scored without history, "" where they are not. beside: words of what is wrong with processes
    beside it, to be set by whoever starts them.
    """

    def __init__(
        self, metrics: Metrics, lag: Callable[[], WriterLag], settings: Settings, away: Callable[[], str] = str
    ) -> None:
        self._metrics, self._lag, self._away = metrics, lag, away
        self._shard, self._shards = settings.shard, settings.shards
        self._partitions = range(settings.shard % settings.shards, settings.streams, settings.shards)
        self._others: Mapping[int, Path] = {
            shard: settings.sequencer_socket(shard) for shard in range(settings.shards) if shard != settings.shard
        }
        self.beside: Callable[[], Sequence[str]] = tuple

    async def own(self) -> bytes:
        """This process's series, without a shard's name."""
        lag = await asyncio.to_thread(self._lag)
        self._metrics.writer_is_behind(replace(lag, words=(*lag.words, *self.beside())), self._partitions)
        self._metrics.history_away.set(bool(self._away()))
        return self._metrics.render()

    async def whole(self) -> bytes:
        """The series of all shards; of one that does not answer in time only that it is away."""
        if not self._others:
            return await self.own()
        own, *others = await asyncio.gather(self.own(), *map(_of_shard, self._others.values()))
        found = {self._shard: own, **dict(zip(self._others, others, strict=True))}
        return labelled({shard: found[shard] for shard in sorted(found)})


async def _of_shard(path: Path) -> bytes | None:
    try:
        answer = await asked(path, METHOD, ASK_SECONDS)
    except Exception:
        # Whatever is wrong with one shard, the others are told of.
        return None
    return answer if isinstance(answer, bytes) else None


def labelled(texts: Mapping[int, bytes | None]) -> bytes:
    """Expositions by shard as one, each series with its shard's number; None for a shard that is away.

    >>> text = b"# HELP a_total A.\\n# TYPE a_total counter\\na_total 1.0\\n"
    >>> print(labelled({0: text, 1: None}).decode(), end="")
    # HELP mailwarden_shard_up Whether the shard told its series when it was asked
    # TYPE mailwarden_shard_up gauge
    mailwarden_shard_up{shard="0"} 1.0
    mailwarden_shard_up{shard="1"} 0.0
    # HELP a_total A.
    # TYPE a_total counter
    a_total{shard="0"} 1.0
    """
    up = [f'{_UP}{{shard="{shard}"}} {float(text is not None)}' for shard, text in texts.items()]
    families: dict[str, list[str]] = {
        _UP: [f"# HELP {_UP} Whether the shard told its series when it was asked", f"# TYPE {_UP} gauge", *up]
    }
    for shard, text in texts.items():
        if text is not None:
            _add(families, text.decode().splitlines(), shard)
    return "".join(f"{line}\n" for lines in families.values() for line in lines).encode()


def _add(families: dict[str, list[str]], lines: Iterable[str], shard: int) -> None:
    """Add a shard's lines to those of their families; every family begins with its HELP and its TYPE."""
    family: list[str] = []
    told = False
    for line in lines:
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            told = name in families
            family = families.setdefault(name, [])
        if line.startswith("#"):
            if not told:
                family.append(line)
            continue
        name, brace, rest = line.partition("{")
        if brace:
            family.append(f'{name}{{shard="{shard}",{rest}')
        else:
            name, _, rest = line.partition(" ")
            family.append(f'{name}{{shard="{shard}"}} {rest}')
