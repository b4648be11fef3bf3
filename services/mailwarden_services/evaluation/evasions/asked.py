"""What an evaluation of evasions is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from mailwarden_services.evaluation.home import Wanted


@dataclass(frozen=True, slots=True)
class EvasionsAsked:
    """wanted: of which mail the attacks are. attacks: how many that are caught are tried. pairs: on how many of them
    each pair of evasions is; 0 for single evasions alone. a_campaign: attacks of one campaign at most. seed: of what is
    drawn, and of what evasions make up."""

    wanted: Wanted
    attacks: int = 200
    pairs: int = 40
    a_campaign: int = 3
    seed: int = 7
