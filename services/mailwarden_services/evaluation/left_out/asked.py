"""What an evaluation of tenants left out is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mailwarden.errors import ConfigError
from mailwarden.training.train import TrainingOptions


@dataclass(frozen=True, slots=True)
class LeftOutAsked:
    """host: the tenant that is left out, whose good mail tells of false positives. sources: others that are left out
    too, whose bad mail is judged as if it had come to the host. good_alone: tenants of which good mail alone is learned
    from, since their bad mail is of a source that is left out. warm_up: the host's first messages, whose labels nobody
    sees. shares: bad mail among them, 0..1; empty for as it came. set_aside: message ids of which nothing is learned or
    judged, since their labels were found wrong."""

    host: str
    sources: tuple[str, ...] = ()
    good_alone: tuple[str, ...] = ()
    warm_up: int = 500
    shares: tuple[float, ...] = (0.01, 0.05, 0.3)
    set_aside: frozenset[str] = frozenset()
    options: TrainingOptions = field(default_factory=TrainingOptions)
    record: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.host in self.sources:
            raise ConfigError(f"{self.host} is named twice to be left out; name each tenant once")
        if self.warm_up < 1:
            raise ConfigError(f"a warm-up of {self.warm_up} messages is none; give one at least")
        for share in self.shares:
            if not 0.0 <= share < 1.0:
                raise ConfigError(f"{share:g} is no share of bad mail in a warm-up; give one from 0 on, as 0.05")


def read_set_aside(path: Path | None) -> frozenset[str]:
    """Message ids of a file, one a line; none where no file is named. Raises ConfigError where it cannot be read."""
    if path is None:
        return frozenset()
    try:
        return frozenset(path.read_text("ascii").split())
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"--set-aside {path} is no file of message ids, one a line ({exc})") from exc
