"""What an evaluation of faults is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from mailwarden.errors import ConfigError
from mailwarden_services.evaluation.home import Wanted

SHARES = (0.05, 0.01, 0.002)


@dataclass(frozen=True, slots=True)
class FaultsAsked:
    """wanted: of which mail. shares: of bad mail in all, 0..1, to which it is thinned. messages: good ones of each
    tenant at most, the last. seed: of which bad messages stay."""

    wanted: Wanted
    shares: tuple[float, ...] = SHARES
    messages: int = 20_000
    seed: int = 7

    def __post_init__(self) -> None:
        if self.messages < 1:
            raise ConfigError(f"{self.messages} good messages are none; give one at least")
        for share in self.shares:
            if not 0.0 < share < 1.0:
                raise ConfigError(f"{share:g} is no share of bad mail; give one between 0 and 1, as 0.01")
