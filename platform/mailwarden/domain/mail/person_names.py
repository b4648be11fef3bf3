"""Names of people folded for comparison, as a reader takes them: whoever looks like a name passes for it.

Case, accents, letters drawn like others, the order of the words, middle initials, titles and short forms of given names
do not count. Source for letters: UTS 39, as in `lookalikes`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from mailwarden.domain.mail.characters import shown
from mailwarden.domain.mail.lookalikes import ASCII_OF

MOST_WORDS = 5
"""Words of a name that is one person's; what has more is a sentence."""

_MOST_LETTERS = 128
_WORD = re.compile(r"[^\W\d_]+")
# What stands behind a name: a company, a post, by which service it was sent.
_BEHIND = re.compile(r"[(\[<|/]")
_LINKING = frozenset({"via", "c/o", "at", "from", "von", "bei"})
_DASHES = "-\u2013\u2014@"
_WHOLE = str.maketrans("øłđðıæœþ", "oldd" + "i" + "aot")
# Digits in words, and I for l: one name to the eye.
_SAME = str.maketrans("0135l|", "oiesii")
_UMLAUT = re.compile("(?<=[aou])e")
_TITLES = """
dr mr mrs ms miss prof ing dipl mag sir jr sr phd mba cpa esq herr frau hr mme mlle mons sig sra don ii iii
"""
_SHORT_FORMS = """
alexander alex; andrew andy drew; anthony tony; barbara barb; benjamin ben benny; catherine cathy katherine kathy kate;
charles charlie chuck; christopher chris; daniel dan danny; david dave; deborah debbie deb; donald don;
edward ed eddie ted; elizabeth liz beth betty; frederick fred freddy; gerald gerry; gregory greg; henry hank;
james jim jimmy; jennifer jen jenny; jeffrey jeff geoffrey geoff; john jon johnny jack; jonathan jonny;
joseph joe joey josef; kenneth ken; lawrence larry laurence; leonard len; margaret maggie peggy meg; matthew matt;
michael mike mick; nicholas nick nicolas; patricia pat patty; peter pete; philip phil phillip; raymond ray;
richard rick dick rich; robert bob rob bobby robbie; ronald ron; samuel sam; stephen steve steven stefan;
susan sue suzanne; theodore theo; thomas tom tommy; timothy tim; victoria vicky; vincent vince; walter walt;
william bill will billy
"""


def person_of(name: str) -> str:
    """What the same person's name gives however it is written: folded words in order of the alphabet.

    "" where it is no name of two to five words. Work is bounded by 128 characters.

    >>> person_of("SMITH, Bob"), person_of("Dr. R\\u043ebert J. Smith (Acme)"), person_of("Acme")
    ('robert smith', 'robert smith', '')
    """
    return _person(name[:_MOST_LETTERS])


def initials_of(name: str) -> tuple[str, ...]:
    """Forms of a whole name with one word cut to its first letter, and each word in turn as the other.

    >>> initials_of("Ann Lee")
    ('a iee', 'i ann')
    """
    words = person_of(name).split()
    return tuple(f"{first[0]} {other}" for first in words for other in words if first != other)


def abbreviated(name: str) -> str:
    """The one form of a name that has a single whole word and an initial, as `initials_of` gives it; "" for others.

    >>> abbreviated("A. Lee"), abbreviated("Lee, A"), abbreviated("Ann Lee")
    ('a iee', 'a iee', '')
    """
    words = list(_words(name[:_MOST_LETTERS]))
    whole = [word for word in words if len(word) > 1]
    letters = [word for word in words if len(word) == 1]
    return f"{letters[0]} {_one_form().get(whole[0], whole[0])}" if len(whole) == 1 and letters else ""


@lru_cache(maxsize=65_536)
def _person(name: str) -> str:
    words = {_one_form().get(word, word) for word in _words(name) if len(word) > 1}
    return " ".join(sorted(words)) if 1 < len(words) <= MOST_WORDS else ""


def _words(name: str) -> Iterator[str]:
    for part in _of_name(shown(name).text.strip("\"' ")):
        for word in _WORD.findall(_folded(part)):
            if word not in _titles():
                yield word


def _of_name(seen: str) -> Iterator[str]:
    """What stands between spaces, up to where something else than the name begins."""
    for at, part in enumerate(seen.split()):
        if at == 0 and _BEHIND.match(part):
            yield part
            continue
        if at and (part.casefold() in _LINKING or part[0] in _DASHES or "@" in part):
            return
        behind = _BEHIND.search(part)
        yield part if behind is None else part[: behind.start()]
        if behind is not None:
            return


def _folded(text: str) -> str:
    drawn = text.translate(ASCII_OF).casefold().translate(ASCII_OF)
    if not drawn.isascii():
        plain = unicodedata.normalize("NFKD", drawn)
        drawn = "".join(char for char in plain if not unicodedata.combining(char)).translate(_WHOLE)
    drawn = _UMLAUT.sub("", drawn.translate(_SAME))
    return drawn.replace("'", "").replace("\u2019", "")


@lru_cache(maxsize=1)
def _titles() -> frozenset[str]:
    return frozenset(map(_folded, _TITLES.split()))


@lru_cache(maxsize=1)
def _one_form() -> dict[str, str]:
    """The long form of each short one."""
    found: dict[str, str] = {}
    for line in _SHORT_FORMS.split(";"):
        long, *short = map(_folded, line.split())
        found.update(dict.fromkeys(short, long))
    return found
