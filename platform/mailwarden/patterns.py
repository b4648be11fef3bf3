"""Sets of regular expressions, matched in time linear in the text whatever the pattern (RE2).

RE2 comes with Arrow. A call costs some 0.1 ms a pattern, of which most is reading the pattern: enough for the patterns
of a tenant, and too dear for rules that every message of every tenant is held against.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mailwarden.errors import DataError

LONGEST = 500
"""Characters of a pattern."""


def check_pattern(pattern: str) -> None:
    """Raise DataError, without the place, where a pattern is none of RE2's, or longer than `LONGEST`.

    >>> check_pattern("(a+)+b")
    """
    if len(pattern) > LONGEST:
        raise DataError(f"the pattern has {len(pattern)} characters, and {LONGEST} are allowed; split it")
    if not pattern:
        raise DataError("the pattern is empty, and so would match every text; leave it out")
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        words = str(error).removeprefix("Invalid regular expression: ")
        raise DataError(
            f"{pattern!r} is no pattern of RE2 ({words}); look-arounds and back-references are none, see "
            "github.com/google/re2/wiki/Syntax"
        ) from error


class PatternSet:
    """Patterns that `check_pattern` passed, each looked for anywhere in a text."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        self._any = "|".join(f"(?:{pattern})" for pattern in self.patterns)
        try:
            check_any = pc.match_substring_regex(pa.array([""]), self._any) if len(self.patterns) > 1 else None
        except pa.ArrowInvalid:
            check_any = None  # too large together
        self._together = check_any is not None

    def hits(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """(n, patterns) whether each text holds a match of each pattern."""
        found = np.zeros((len(texts), len(self.patterns)), dtype=np.bool_)
        column = pa.array([text.encode("utf-8", "replace").decode() for text in texts], pa.string())
        if self._together and not pc.any(pc.match_substring_regex(column, self._any)).as_py():
            return found
        for at, pattern in enumerate(self.patterns):
            found[:, at] = pc.match_substring_regex(column, pattern).to_numpy(zero_copy_only=False)
        return found
