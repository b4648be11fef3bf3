"""Ways to show a reader the same message while a filter reads another; each leaves what is seen as it was.

An evasion takes a message apart (`Pieces`) and gives its bytes anew. What it adds is hidden, or harmless beside the
message; what it moves is still what a mail reader shows, or what one click opens.
"""

from __future__ import annotations

from mailwarden.simulation.evasions import beside, placed, words, written
from mailwarden.simulation.evasions.evasion import Evasion

EVASIONS: dict[str, Evasion] = {**beside.FOUND, **words.FOUND, **placed.FOUND, **written.FOUND}
"""By name, the kind first."""
