"""What an evasion is: a message taken apart, put together so that its reader sees the same and a filter may not."""

from __future__ import annotations

from collections.abc import Callable

from mailwarden.simulation.evasions.pieces import Pieces, html_part, message_of

Evasion = Callable[[Pieces, int], bytes]
"""Takes the pieces and a seed."""

SHORT, LONG, VERY_LONG = 600, 7_000, 150_000
"""Letters of harmless text."""


class Evasions(dict[str, Evasion]):
    """Evasions by name, the kind first, in the order that they are told."""

    def named(self, name: str) -> Callable[[Evasion], Evasion]:
        """Add a function under a name."""

        def add(evasion: Evasion) -> Evasion:
            self[name] = evasion
            return evasion

        return add


def shown(pieces: Pieces, body: str, head: str = "") -> bytes:
    """A message of one HTML document, with its files behind it. body, head: what stands in these elements."""
    return message_of(pieces, html_part(body, head))


def kind_of(name: str) -> str:
    """The kind of an evasion, by its name."""
    return name.partition(":")[0]
