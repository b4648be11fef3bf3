"""Characters that are not seen, and letters drawn like others: what a text shows, and what in it deceives.

Sources: Unicode 15 (format characters, `Default_Ignorable_Code_Point`), UTS 39 (confusables), UTS 51 (emoji). Writing
systems that need joiners or marks of direction keep them, and none of theirs counts.
"""

from __future__ import annotations

import re
import unicodedata
from codecs import charmap_encode
from encodings.cp1252 import encoding_table
from typing import NamedTuple

from mailwarden.domain.mail.lookalikes import ASCII_OF

MAX_EXAMINED = 50_000
"""Invisible characters of one text that are looked at one by one; all beyond are taken out and counted."""

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# A flag of a region is a black flag, tags that spell the region, and a last tag.
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,10}\U000e007f")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u05ff\u0620-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
# Scripts whose words are joined, broken or selected by characters that are not seen themselves.
_JOINING = re.compile(
    "[\u0600-\u06ff\u0700-\u08ff\u0900-\u109f\u1100-\u11ff\u1780-\u18af\u1a00-\u1aff\u1b00-\u1cff\ua8e0-\ua9ff"
    "\uaa00-\uaadf\uabc0-\uabff\ud7b0-\ud7ff\ufb50-\ufdff\ufe70-\ufefc\u0590-\u05ff\u0e00-\u0fff\U00011000-\U00011fff]"
)
_IDEOGRAPH = re.compile("[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U000323af]")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_NOT_A_SYMBOL = frozenset(("Lu", "Ll", "Lt", "Zs", "Cc", "Cf"))
SHY = "\u00ad"
"""The soft hyphen."""
_ZWNJ, _ZWJ = "\u200c", "\u200d"
_OVERRIDDEN = re.compile("\u202e([^\u202c\u202e\n]++)\u202c?+")
_OVERRIDES = "\u202d\u202e"
_LONG_WORD, _SYLLABLE = 12, 2
_LETTERLIKE = "\u2122"

_LETTERS = re.compile("(?:[^\\W\\d_]|[\u24b6-\u24e9\U0001f130-\U0001f149\U0001f150-\U0001f169\U0001f170-\U0001f189])+")
_STYLED = re.compile("[\uff21-\uff5a\U0001d400-\U0001d7ff\u24b6-\u24e9\U0001f130-\U0001f189\u2100-\u214f]")
_WIDE = re.compile("[\uff21-\uff3a\uff41-\uff5a]")
_EAST_ASIAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
_ASCII_LETTER = re.compile("[A-Za-z]")
_FOREIGN = re.compile(
    "[\u0370-\u052f\u0531-\u0587\u10a0-\u10ff\u13a0-\u13ff\u1400-\u167f\u1c80-\u1c8f\u1c90-\u1cbf\u1f00-\u1fff\u2c80-\u2cff\u2d00-\u2d6f"
    "\ua4d0-\ua4ff\ua640-\ua69f\uab70-\uabbf\U00010280-\U000118ff]"
)
# Latin letters of phonetics and old print; those below are letters of living languages (ı, þ, ł).
_ODD_LATIN = re.compile("[\u0184\u0185\u01a6\u01bd\u01c0\u0250-\u02af\u1d00-\u1dbf\ua720-\ua7ff\uab30-\uab6f]")
# Letters and digits of scripts that mix with Latin ones honestly at the edge of a word ("בGoogle"), and numerals that
# end names ("TypeⅡ"): inside of a Latin word they are drawn like o or l there, or are Latin letters to the eye.
_LIKE_O_OR_L = (
    "\u05d5\u05df\u05e1\u0627\u0647\u0661\u0665\u06be\u06c1\u06d5\u06f1\u06f5\u07ca\u0966\u0a66\u0ae6\u0be6\u0c66"
    "\u0ce6\u0d20\u0d66\u0e50\u0ed0\u101d\u1040\ufee9-\ufeec"
)
_WITHIN = re.compile(
    f"(?<=[A-Za-z])[{_LIKE_O_OR_L}]+(?=[A-Za-z])|[\u2160-\u217f](?=[a-z])|(?<=[a-z])[\u216c-\u216f\u217c-\u217f]"
)
_STANDS_WITHIN = re.compile(f"[{_LIKE_O_OR_L}\u2160-\u217f]")
_MODIFIED_WORD = 4
# Beside Latin letters these pass for some, which alone they do not.
_MIXED_ONLY = str.maketrans("вкмнптгиьшщяз", "bkmhntrubwwr3")
# Cyrillic letters that no large language writes.
_RARE = re.compile("[\u0501\u051b\u051d\u0461\u0475\u04bb\u04cf]")
_NEGATIVE = {ord(first) + n: chr(65 + n) for first in "\U0001f150\U0001f170" for n in range(26)}
_DRAWN = {**ASCII_OF, **_NEGATIVE}


def is_western(text: str) -> bool:
    """Whether all of a text is in Windows-1252, as most texts beyond ASCII are.

    Nothing in such a text is unseen but a soft hyphen, and nothing is drawn like an ASCII letter but the sign of a
    trade mark: asking first takes a third of a search for either.
    """
    try:
        charmap_encode(text, "strict", encoding_table)
    except UnicodeEncodeError:
        return False
    return True


class Shown(NamedTuple):
    """A text as it is shown. text: without what is not seen. invisible: characters that no writing system asks for
    where they stood. split_words: places inside of words where such stood."""

    text: str
    invisible: int = 0
    split_words: int = 0


def shown(text: str) -> Shown:
    """What a reader sees of a text, whose invisible characters are taken out and counted.

    Joiners, selectors and marks of direction stay where their script or an emoji asks for them. Blanks that are only
    padded with such characters, as behind a preview text, do not count.

    >>> shown("pass\\u00adword and log\\u200bin")
    Shown(text='password and login', invisible=2, split_words=2)
    """
    if text.isascii() or (is_western(text) and SHY not in text) or _INVISIBLE.search(text) is None:
        return Shown(text)
    overridden = 0
    if "\u202e" in text:
        # Written from right to left, whatever the letters.
        text, overridden = _OVERRIDDEN.subn(lambda found: found[1][::-1], text)
    seen = _Showing(text).read()
    return Shown(seen.text, seen.invisible + overridden, seen.split_words) if overridden else seen


class _Showing:
    def __init__(self, text: str) -> None:
        self.text = text
        self.right_to_left = _RIGHT_TO_LEFT.search(text) is not None
        self.flags = {at for flag in _FLAG.finditer(text) for at in range(*flag.span())} if "\U0001f3f4" in text else ()

    def read(self) -> Shown:
        text = self.text
        pieces: list[str] = []
        invisible = splits = end = 0
        for number, found in enumerate(_INVISIBLE.finditer(text)):
            start = found.start()
            if number >= MAX_EXAMINED:
                rest, more = _INVISIBLE.subn("", text[start:])
                pieces += (text[end:start], rest)
                invisible += more
                splits += 1
                end = len(text)
                break
            character = found[0]
            before, after = self._before(start), self._after(start)
            keeps, counts = self._judge(character, start, before, after)
            if counts:
                invisible += 1
                splits += before.isalnum() and after.isalnum() and (start == 0 or not _INVISIBLE.match(text, start - 1))
            pieces.append(text[end : start + keeps])
            end = start + 1
        pieces.append(text[end:])
        return Shown("".join(pieces), invisible, splits)

    def _before(self, at: int) -> str:
        """The nearest seen character before, within a few; "" where there is none."""
        for near in range(at - 1, max(-1, at - 5), -1):
            if not _INVISIBLE.match(self.text, near):
                return self.text[near]
        return ""

    def _after(self, at: int) -> str:
        for near in range(at + 1, min(len(self.text), at + 5)):
            if not _INVISIBLE.match(self.text, near):
                return self.text[near]
        return ""

    def _judge(self, character: str, at: int, before: str, after: str) -> tuple[bool, bool]:
        """(whether it stays in the text, whether it counts)."""
        if at in self.flags:
            return True, False
        if character >= "\U000e0000" and not _SELECTORS.match(character):
            return False, True  # tags outside of a flag
        if _SELECTORS.match(character):
            honest = bool(before) and unicodedata.category(before) not in _NOT_A_SYMBOL
            return honest, not honest and before.isalpha() and after.isalnum()
        if character in _OVERRIDES:
            return False, True
        if "\u200e" <= character <= "\u202e" or character == "\u061c" or "\u2066" <= character <= "\u2069":
            # Marks of direction stand around names and numbers too, put there by mail programs.
            return self.right_to_left, not self.right_to_left and before.isalpha() and after.isalpha()
        if _JOINING.match(before) or _JOINING.match(after):
            return character in (_ZWNJ, _ZWJ), False
        if character == _ZWJ and before and after and unicodedata.category(before) in ("So", "Sk", "Mn"):
            return True, False
        if not (before.isalnum() and after.isalnum()):
            return False, "\ufff0" <= character <= "\ufffb"
        if _IDEOGRAPH.match(before) or _IDEOGRAPH.match(after):
            return False, character == "\u3164" or character == "\uffa0"
        if character == SHY:
            return False, not self._hyphenates(at)
        return False, True

    def _hyphenates(self, at: int) -> bool:
        """Whether a soft hyphen stands between syllables of a word that is long enough to be broken."""
        text = self.text
        start = at
        while start and at - start < 40 and (text[start - 1].isalpha() or text[start - 1] == SHY):
            start -= 1
        stop = at + 1
        while stop < len(text) and stop - at < 40 and (text[stop].isalpha() or text[stop] == SHY):
            stop += 1
        syllables = text[start:stop].split(SHY)
        return sum(map(len, syllables)) >= _LONG_WORD and min(map(len, syllables)) >= _SYLLABLE


class Lookalikes(NamedTuple):
    """Words of a text that are drawn like others. words: all words of letters, 0 where no letter of
    the text is drawn like another; lookalikes: those that deceive."""

    words: int
    lookalikes: int


NO_LOOKALIKES = Lookalikes(0, 0)


def lookalike_words(text: str) -> Lookalikes:
    """How many words mix alphabets to look like Latin, are spelt in another alphabet's lookalikes, or dress up letters.

    A word all of whose letters look like Latin ones deceives only where its own alphabet is not what is written around
    it: Cyrillic "сухо" does not in Russian.
    """
    if text.isascii() or (is_western(text) and _LETTERLIKE not in text):
        return NO_LOOKALIKES
    # Each of the text's characters once: most texts have none that could deceive, and are done with here.
    different = "".join(set(text))
    within = sum(1 for _ in _WITHIN.finditer(text)) if _STANDS_WITHIN.search(different) else 0
    if not (within or _FOREIGN.search(different) or _STYLED.search(different) or _ODD_LATIN.search(different)):
        return NO_LOOKALIKES
    words = _LETTERS.findall(text)
    kinds = [_kind_of(word) for word in words]
    foreign = kinds.count("native") + kinds.count("whole")
    mainly_latin = sum(word.isascii() for word in words) >= foreign
    east_asian = _EAST_ASIAN.search(text) is not None
    count = within + kinds.count("deceives")
    for number, kind in enumerate(kinds):
        if kind == "whole" and (mainly_latin or _RARE.search(words[number])):
            count += "native" not in kinds[max(0, number - 1) : number + 2]
        elif kind == "mixed":
            count += mainly_latin or not _is_inflected(words[number])
        elif kind == "wide":
            # In East Asian text Latin letters may be as wide as the others.
            count += not east_asian
    return Lookalikes(len(words), min(count, len(words)))


def drawn_like(text: str) -> tuple[str, ...]:
    """A text as it may be read: as shown, and with letters that are drawn like ASCII ones as these, by either case.

    >>> drawn_like("B\u0430nk"), drawn_like("\u041c\u0406\u0421RO")
    (('B\u0430nk', 'Bank', 'bank'), ('\u041c\u0406\u0421RO', 'MlCRO', 'micro'))
    """
    seen = shown(text).text
    if seen.isascii():
        return (seen,)
    plain = unicodedata.normalize("NFKC", seen)
    lower = plain.casefold().translate(_DRAWN).translate(_MIXED_ONLY)
    return tuple(dict.fromkeys((seen, plain.translate(_DRAWN), lower)))


def _kind_of(word: str) -> str:
    if word.isascii():
        return "plain"
    if _STYLED.search(word):
        undone = unicodedata.normalize("NFKC", word).translate(_DRAWN)
        if len(word) < 2 or not undone.isascii():
            return "plain" if len(word) < 2 else "native"
        return "wide" if _WIDE.sub("", word).isascii() else "deceives"
    foreign = _FOREIGN.findall(word)
    if foreign:
        if len(foreign) == len(word):
            drawn = word.translate(_DRAWN)
            return "whole" if len(word) > 1 and drawn.isascii() else "native"
        if _ASCII_LETTER.search(word) or _ODD_LATIN.search(word):
            return "mixed" if word.translate(_DRAWN).lower().translate(_MIXED_ONLY).isascii() else "native"
        return "native"
    if len(word) > 1 and _ODD_LATIN.search(word):
        if word.translate(_DRAWN).isascii():
            return "deceives"
        modified = len(word) >= _MODIFIED_WORD and unicodedata.normalize("NFKC", word).translate(_DRAWN).isascii()
        return "deceives" if modified else "plain"
    return "plain"


def _is_inflected(word: str) -> bool:
    """Whether a Latin name or abbreviation bears an ending in the alphabet around it ("SMSa" in Russian)."""
    stem = len(word)
    while stem and not word[stem - 1].isascii():
        stem -= 1
    return stem >= 2 and word[:stem].isascii() and len(word) - stem <= 3
