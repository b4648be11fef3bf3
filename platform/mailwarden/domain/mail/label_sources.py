"""How much a label's source is trusted: which of several labels of a message counts, and what it weighs in training.

1. Of several labels that of the most trusted source counts: analyst and audit, then index, then user; within one source
   the label known last. A withdrawal takes back all that was said before it, whoever said it.
2. A user's report weighs half an analyst's word: people report newsletters that they once asked for.
3. An audit's label weighs as many messages as the one that was drawn stands for, at most `STANDS_FOR_MOST`: what nobody
   reports has its share, and no single message more than a hundred others.
"""

from __future__ import annotations

from collections.abc import Mapping

RANKS: Mapping[str, int] = {"analyst": 2, "audit": 2, "index": 1, "user": 0}
"""By source, the more trusted the greater."""

WEIGHTS: Mapping[str, float] = {"analyst": 1.0, "audit": 1.0, "index": 1.0, "user": 0.5}
"""By source, what a label weighs; that of an audit times the messages that it stands for."""

UNSAID = "index"
"""What a label counts as from before its source was kept."""

STANDS_FOR_MOST = 100
