"""The newest text of a message apart from the mail that it quotes, by the structure that a thread leaves in it.

A quote is what an attribution, a block of quoted header fields, or a forwarding line stands above, or what is marked in
a message that names the ones before it. Marks alone (">", an indented block, a mail program's class name) are anybody's
to write: what stands under them is new text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from mailwarden.ingest.quote_words import LABELS, LONGEST_LABEL, OPENINGS, SAYS, SAYS_AT_END, SEPARATORS, Label

Names = Literal["nothing", "answered", "thread"]
"""What a message's headers name of mail before it: nothing, the message that it answers (In-Reply-To), or the thread
(References)."""

MARK = "\x02"
"""Begins each line of an HTML body that stands in a block which may be a quote."""

_BLANKS = " \t\xa0\r"
_COLONS = ":："
_QUOTED_LINE = re.compile(r"[ \t\xa0]{0,8}(?:[A-Za-z]{1,3})?>|[ \t\xa0]{0,8}\| ")
_RULE = "-_=*~ \t\xa0"
_MARKS = frozenset(">|\x02")
_RULES = frozenset("-_=*~")
_SAYS = re.compile(rf"(?<!\w)(?:{SAYS})(?!\w)", re.IGNORECASE)
_SAYS_WITHIN = 80
_WHO_SAYS = re.compile(r"[ \t\xa0]{0,8}(?:On|Am|Le|El|Il|Op|Em|Den|In|At|W|Dnia|Dne|Dňa|Pe|La)\b|[^\d@<>]*[\d@<>]")
_ADDRESS = re.compile(r"[<(\[]\s{0,3}(?:mailto:)?[^\s<>()@]{1,64}@[^\s<>()@]{1,190}\s{0,3}[>)\]]")
_TIME = re.compile(r"(?<!\d)\d{1,2}[:.時时시h]\d{2}(?!\d)|(?<!\d)\d{1,2}[點点시]")
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d{2}(?!\d)|(?<!\d)\d{1,2}[./-]\d{1,2}[./-]\d{2}(?!\d)")
_NAME_AND_DATE = re.compile(
    r"[^:：]{1,40}[:：][ \t\xa0]{0,40}[^\W\d_][^\d:：]{1,80}[ \t\xa0]"
    r"\d{1,2}[./-]\d{1,2}[./-](?:19|20)?\d{2}[ \t\xa0]{1,3}\d{1,2}[:.]\d{2}"
)
_GROUPWISE = re.compile(r">>> (?=[^>]{0,200}[^\W\d])[^>]{1,200}(?:>[^>]{1,60})?>>>[ \t\xa0\r]*\Z")
_DATES_WORDS = re.compile(r"[^\W\d_]{2,}")
_MOST_WORDS = 14
_STARTS = re.compile(
    r"[ \t\xa0]{0,8}(?:(?:On|Am|Le|El|Il|Op|Em|Den|Dnia|Dne|W|Pe|La|В|Στις)[ \t\xa0]|[^\s\d]{0,12},? ?\d{1,4}[ ./年년-]"
    r"|[^<>@]{0,100}<[^<>@\s]{1,64}@)",
)
_LONGEST_OPENING = max(map(len, OPENINGS))
_LOOKED_AHEAD = 8
_LONGEST_FIELDS = 40
_LONGEST = 600


def split_quotes(text: str, names: Names = "nothing") -> tuple[str, str]:
    """(newest text, quoted text) of a plain body, or of an HTML body whose blocks begin their lines with `MARK`.

    names: what supports ">" lines that have no attribution: a thread does, and a message that is answered does where
    an answer stands below them.
    """
    lines = text.split("\n")
    candidates = _candidates(lines)
    if not candidates:
        return text.strip(), ""
    return _Split(lines, names, candidates).read()


def _candidates(lines: list[str]) -> set[int]:
    """Where a quote may begin, by the first and the last character of a line and the word before a colon."""
    found: set[int] = set()
    for number, line in enumerate(lines):
        line = line.strip()
        if not line:
            continue
        last = line[-1]
        if last == ":" or last == "：":
            found.update((number - 2, number - 1, number))
        elif (
            line[0] in _MARKS
            or ">" in line[1:4]
            or (line[0] in _RULES and _may_open(line))
            or ((":" in line or "：" in line) and _label_of(line) is not None)
        ):
            found.add(number)
    return found


def _may_open(line: str) -> bool:
    """Whether a line that begins with a dash or its like is drawn as one, or has the words of a forwarding line."""
    if line[1:2] == line[0]:
        return True
    words = line.strip(_RULE)
    return not words or _lower(words[: _LONGEST_OPENING + 1]).startswith(OPENINGS)


class _Split:
    def __init__(self, lines: list[str], names: Names, candidates: set[int]) -> None:
        self.lines = lines
        self.names = names
        self.candidates = candidates
        self.attributed = False
        self.new: list[str] = []
        self.quoted: list[str] = []

    def read(self) -> tuple[str, str]:
        lines, number = self.lines, 0
        waiting = iter(sorted(self.candidates))
        candidate = next(waiting)
        while number < len(lines):
            while candidate < number:
                candidate = next(waiting, len(lines))
            if candidate > number:
                self.new += lines[number:candidate]
                number = candidate
                continue
            line = lines[number]
            if not line.strip():
                self.new.append(line)
                number += 1
            elif _is_groupwise(line):
                self.quoted += lines[number:]
                break
            elif _is_marked(line):
                number = self._run(number)
            elif _opens_rest(lines, number, self.names != "nothing"):
                self.quoted += lines[number:]
                break
            else:
                taken = _attribution_lines(lines, number)
                if not taken:
                    self.new.append(line)
                    number += 1
                elif _next_is_marked(lines, number + taken):
                    self.attributed = True
                    self.quoted += lines[number : number + taken]
                    number += taken
                else:
                    self.quoted += lines[number:]
                    break
        new, quoted = ("\n".join(part).strip() for part in (self.new, self.quoted))
        return new.replace(MARK, ""), quoted.replace(MARK, "")

    def _run(self, number: int) -> int:
        """Sort a run of marked lines; where it ends."""
        lines = self.lines
        stop = last = number
        while stop < len(lines) and (_is_marked(lines[stop]) or not lines[stop].strip(_BLANKS)):
            if lines[stop].strip(_BLANKS):
                last = stop
            stop += 1
        stop = last + 1
        run = lines[number:stop]
        in_html = run[0].startswith(MARK)
        if self.attributed or _names_its_source([_unmarked(line) for line in run[: _LOOKED_AHEAD + 4]]):
            self.attributed = True
        elif in_html:
            # Somebody's indented words, in which a quote may stand further down.
            lines[number:stop] = [_unmarked(line) for line in run]
            self.candidates |= {number + at for at in _candidates(lines[number:stop])}
            return number
        elif not self._is_supported(stop):
            self.new += run
            return stop
        self.quoted += run
        return stop

    def _is_supported(self, stop: int) -> bool:
        if self.names == "answered":
            return not any(self.new) or any(line.strip(_BLANKS) for line in self.lines[stop:])
        return self.names == "thread"


def _is_marked(line: str) -> bool:
    return line.startswith(MARK) or _QUOTED_LINE.match(line) is not None


def _is_groupwise(line: str) -> bool:
    """Whether a line is the attribution that GroupWise writes between marks, above words without any."""
    return line.startswith(">>> ") and _GROUPWISE.match(line) is not None and _is_dated(line)


def _is_dated(line: str) -> bool:
    return _YEAR.search(line) is not None and _TIME.search(line) is not None


def _unmarked(line: str) -> str:
    if line.startswith(MARK):
        return line[1:]
    found = _QUOTED_LINE.match(line)
    return line[found.end() :] if found is not None else line


def _names_its_source(run: list[str]) -> bool:
    """Whether a marked run begins with what says whose words follow."""
    first = next((number for number, line in enumerate(run) if line.strip(_BLANKS)), None)
    if first is None:
        return False
    # A line of words may stand above the fields of the header.
    return _opens_rest(run, first, False) or _attribution_lines(run, first) > 0 or _is_block(run, first + 1)


def _next_is_marked(lines: list[str], number: int) -> bool:
    for line in lines[number : number + 3]:
        if line.strip(_BLANKS):
            return _is_marked(line)
    return False


def _label_of(line: str) -> Label | None:
    """What a line's header field is, None where it is none."""
    return _label(line[: LONGEST_LABEL + 12])


@lru_cache(maxsize=2048)
def _label(begin: str) -> Label | None:
    colon = begin.find(":")
    if colon < 0:
        colon = begin.find("：")
        if colon < 0:
            return None
    return LABELS.get(_lower(begin[:colon].strip("* \t\xa0")))


def _lower(words: str) -> str:
    """In lower case, the Turkish capital I with its dot too."""
    return words.lower() if words.isascii() else words.lower().replace("i\u0307", "i")


def _opens_rest(lines: list[str], number: int, supported: bool) -> bool:
    """Whether all from here on is a quoted or forwarded message. supported: the message's headers name a thread."""
    line = lines[number].strip(_BLANKS)
    if len(line) > 300:
        return False
    if line[0] in "-_=*~" or line[-1] in ":：-":
        words = _lower(line.strip(_RULE).rstrip(_COLONS + _RULE))
        if not words:
            return _is_block(lines, _next_line(lines, number + 1))
        dashed = line[0] in "-_=*~" and line.startswith(line[0] * 2)
        opens = words.startswith(OPENINGS) or (dashed and words.startswith(SEPARATORS))
        following = _next_line(lines, number + 1)
        if opens and (supported or _has_label(lines, number + 1) or _attribution_lines(lines, following)):
            return True
        if opens and words.startswith("forwarded by ") and _is_dated(" ".join(lines[number : number + 2])[:_LONGEST]):
            return True  # Notes says who and when in the line itself
        if dashed and _is_block(lines, following, whole=True):
            return True  # whatever the language between the dashes
    return _is_block(lines, number)


def _next_line(lines: list[str], number: int) -> int:
    while number < len(lines) and not lines[number].strip(_BLANKS):
        number += 1
    return number


def _has_label(lines: list[str], number: int) -> bool:
    return any(_label_of(_unmarked(line).strip(_BLANKS)) is not None for line in lines[number : number + _LOOKED_AHEAD])


def _is_block(lines: list[str], number: int, *, whole: bool = False) -> bool:
    """Whether three fields of a header begin here, the sender's among them; one alone is a word of prose. whole: they
    are set off by a line of dashes, and any may be the first of four."""
    first = _label_of(lines[number].strip(_BLANKS)) if number < len(lines) else None
    if first is None or (not whole and first not in ("from", "date")):
        return False
    block: list[str] = []
    beside = 0
    for line in lines[number : number + _LONGEST_FIELDS]:
        line = _unmarked(line).strip(_BLANKS)
        block.append(line)
        # The lines of a long list of receivers are one field.
        beside += not (line.endswith((",", ";")) and _label_of(line) is None)
        if beside == _LOOKED_AHEAD:
            break
    kinds = {_label_of(line) for line in block} - {None}
    # A date comes first where events are announced too, and from and to are hours there.
    enough = "from" in kinds and len(kinds) >= (3 if first == "from" else 4)
    if not enough:
        return False
    # Notes writes the date behind the sender's name.
    return "date" in kinds or any("@" in line for line in block) or _NAME_AND_DATE.match(block[0]) is not None


def _attribution_lines(lines: list[str], number: int) -> int:
    """How many lines from here are an attribution, 0 where none begins."""
    if number >= len(lines) or len(lines[number]) > _LONGEST:
        return 0
    line = lines[number]
    if _ends_in_colon(line):
        if _is_attribution(line):
            return 1
        if _says_at(line) is not None and _next_is_marked(lines, number + 1):
            return 1  # "Ann Lee wrote:" says nothing by itself, and all before ">" lines
    if any(map(_ends_in_colon, lines[number + 1 : number + 3])) and _STARTS.match(line):
        dated = _YEAR.search(line) is not None or _TIME.search(line) is not None
        for more in (2, 3):
            joined = [_unmarked(line) for line in lines[number : number + more]]
            if not joined[-1].strip(_BLANKS) or (not dated and _is_attribution(joined[-1])):
                break  # "Signed-off-by: Ann Lee <ann@corp.example>" is a line of its own above one
            together = " ".join(joined)
            if len(together) <= _LONGEST and _is_attribution(together):
                return more
    return 0


def _ends_in_colon(line: str) -> bool:
    return line.rstrip(_BLANKS).endswith((":", "："))


def _is_attribution(line: str) -> bool:
    line = line.strip(_BLANKS)
    if not line or line[-1] not in _COLONS:
        return False
    says = _says_at(line)
    if says is not None:
        return _WHO_SAYS.match(line, 0, says) is not None or _YEAR.search(line) is not None
    # Some write no verb: a date, a time and an address say it all, with few words beside.
    if _ADDRESS.search(line) is None or (_YEAR.search(line) is None and _TIME.search(line) is None):
        return False
    return len(_DATES_WORDS.findall(_ADDRESS.sub(" ", line))) <= _MOST_WORDS


def _says_at(line: str) -> int | None:
    """Where a verb of saying stands, at most 80 characters before the colon that ends the line."""
    colon = len(line.rstrip(_BLANKS)) - 1
    if colon < 0 or line[colon] not in _COLONS:
        return None
    before = line[:colon].rstrip(_BLANKS)
    if before.endswith(SAYS_AT_END):
        return len(before) - 1
    for verb in _SAYS.finditer(line, max(0, colon - _SAYS_WITHIN - 12), colon):
        if colon - verb.end() <= _SAYS_WITHIN:
            return verb.start()
    return None
