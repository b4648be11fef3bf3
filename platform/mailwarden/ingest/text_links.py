"""Links in plain text, as mail clients make them, without backtracking.

A link begins with a scheme (http, https, ftp, file), `www.`, or the two backslashes of a file share. Without any of
these a name is a link where Gmail, Outlook on the web and Apple Mail would make one:

1. Labels of letters, digits and hyphens, the last one a top-level domain that exists, and something registered before
   it; bounded by blanks, brackets or the marks of a sentence, and no part of a mail address, a path or an expression.
2. A last label with a capital letter in front begins the next sentence ("done.In"), unless what is before it has one
   too and it is Com or Org.
3. A name of two labels that may be a file's ("readme.md", "report.py"), a time ("5.pm") or an abbreviation ("e.g") is
   a link only where a path follows.
"""

from __future__ import annotations

import re

from mailwarden.domain.mail.addresses import is_top_level, registrable_domain
from mailwarden.domain.mail.characters import SHY, is_western
from mailwarden.ingest.budget import LINKS_READ, NAMES
from mailwarden.ingest.reading import Reading

_BODY = re.compile(r"[^\s<>\"\x00-\x1f]{4,4000}")
_SCHEMES = ("https", "http", "ftp", "file")
_WWW = ("www.", "WWW.", "Www.")
_WITHIN_A_NAME = re.compile(r"[A-Za-z0-9_@./\\-]")
# Without any of these nothing is a link; most dots end a sentence.
_MAY_BEGIN = re.compile(r"\.[A-Za-z]|[Ww]\.|://|\\\\")
# Nobody sees these inside of a name, and browsers pass over them there.
_WITHIN_UNSEEN = re.compile("(?<=[A-Za-z0-9./-])[\u00ad\u200b-\u200d\u2060-\u2064\ufeff]++(?=[A-Za-z0-9./-])")
_SHARE = re.compile(r"(?<![\w\\:])\\\\(?=[\w-]{1,63}[.@][\w.@-]{1,253}\\)")
_TRAILING = ".,;:!?'`*_~|\\]}"
_ENDS_IN_EAST = re.compile("[、，！？；：）」』】》〉”’“‘…\u3000\u200b]|。(?![A-Za-z0-9])")
_AFTER_HOST = re.compile(r"([a-z]{3,5}:[/\\]{2}|)([!-.0->@-~]{1,300})(?=[^\x00-\x7f])", re.IGNORECASE)
# A dot and the last label of a name: what follows neither goes on with the name nor makes it a mail address.
_LAST_LABEL = re.compile(
    r"\.(?:([A-Za-z]{2,24}|[Xx][Nn]--[A-Za-z0-9-]{2,59})(?![A-Za-z0-9@=]|[_-]\w)|([^\W\d_\x00-\x7f]{2,24})(?![\w@-]))(?!\.\w)"
)
_REST = re.compile(r"(?::\d{1,5}(?!\w))?(?:[/?#][^\s<>\"\x00-\x1f]{0,4000})?")
_NAME_BACKWARDS = re.compile(r"[\w.-]{1,254}")
_ASCII_BACKWARDS = re.compile(r"[A-Za-z0-9._-]{1,254}")
_LABEL = re.compile(r"[^\W_](?:(?:[^\W_]|-){0,61}[^\W_])?")
_NOT_BEFORE = frozenset("@/\\=&%+~#$!^`|*")
_OPENING = ("(", "[", "{")
_MAX_HOST = 253
_NO_BLANKS_FROM = "\u0590"
"""Before it stand Latin, Greek, Cyrillic and Armenian, which write blanks between words."""

_GENERIC = frozenset(("com", "net", "org", "cn"))
_CAPITALISED = frozenset(("Com", "Org"))
FILE_ENDINGS = frozenset((
    "ac", "data", "foo", "la", "md", "mk", "mov", "name", "pm", "ps", "py", "rs", "sh", "so", "zip",
))  # fmt: skip
"""Top-level domains that more often end the name of a file or of a variable, where nothing but two labels stands."""


def plain_urls(text: str, reading: Reading, part: int = 0) -> list[str]:
    """URLs that a reader's client would make clickable in plain text, in order and as written."""
    if text.isascii():
        if _MAY_BEGIN.search(text) is None:
            return []
    elif "." not in text and "://" not in text and "\\\\" not in text:
        return []
    elif SHY in text or not is_western(text):
        text = _WITHIN_UNSEEN.sub("", text)
    found: list[tuple[int, int, str]] = []
    reached = 0
    for start, least in _starts(text):
        if start < reached:
            continue
        body = _BODY.match(text, start)
        if body is None or body.end() - start <= least:
            continue
        url = _trim(body[0])
        reached = body.end()
        found.append((start, start + len(url), url))
        if len(found) > LINKS_READ.most:
            break
    bare = _bare(text, found, reading, part)
    if bare:
        found = sorted(found + bare)
    return [url for _, _, url in found]


def _starts(text: str) -> list[tuple[int, int]]:
    """Where a link with a scheme, `www.` or a share's backslashes may begin, in order, and how much of it these are."""
    # Three searches for a word each cost a tenth of one for a pattern of them that minds no case.
    starts: list[tuple[int, int]] = []
    for mark in ("://", ":\\\\"):
        at = text.find(mark)
        while at >= 0:
            before = text[max(0, at - 5) : at].lower()
            for scheme in _SCHEMES:
                if before.endswith(scheme):
                    starts.append((at - len(scheme), len(scheme) + 3))
                    break
            at = text.find(mark, at + 3)
    for mark in _WWW:
        at = text.find(mark)
        while at >= 0:
            if (not at or _WITHIN_A_NAME.match(text, at - 1) is None) and text[at + 4 : at + 5].isalnum():
                starts.append((at, 4))
            at = text.find(mark, at + 4)
    if "\\\\" in text:
        starts += ((share.start(), 2) for share in _SHARE.finditer(text))
    starts.sort()
    return starts


def _bare(text: str, found: list[tuple[int, int, str]], reading: Reading, part: int) -> list[tuple[int, int, str]]:
    """Names without scheme that are links, beside those found already, which are in order."""
    bare: list[tuple[int, int, str]] = []
    following = iter(found)
    known = next(following, None)
    reached = tried = 0
    most = reading.budget.left(NAMES)
    for match in _LAST_LABEL.finditer(text):
        label = match[1] or match[2]
        if not is_top_level(label.lower()):
            continue
        while known is not None and known[1] <= match.start():
            known = next(following, None)
        if (known is not None and known[0] <= match.start()) or match.start() < reached:
            continue
        tried += 1
        if tried > most:
            break
        # f.name(x) is an expression; "evil.com(see there)" is not.
        called = text[match.end() : match.end() + 1] in _OPENING and label.lower() not in _GENERIC
        name = None if called else _name_before(text, match.start())
        if name is None:
            continue
        rest = _REST.match(text, match.end())
        tail = _trim(match[0] + rest[0])[len(match[0]) :] if rest is not None and rest[0] else ""
        if not is_bare_host(f"{name}.{label}", has_path=len(tail.lstrip(":0123456789")) > 1):
            continue
        start = match.start() - len(name)
        url = name + match[0] + tail
        reached = start + len(url)
        bare.append((start, reached, url))
        if len(bare) > LINKS_READ.most:
            break
    if tried:
        reading.take(NAMES, tried, part)
    return bare


def _name_before(text: str, dot: int) -> str | None:
    """The labels that end at a dot, None where they are part of something that is no name."""
    before = text[max(0, dot - _MAX_HOST - 2) : dot][::-1]
    run = _ASCII_BACKWARDS.match(before)
    length = run.end() if run is not None else 0
    if before[length : length + 1] > "\x7f" and (not length or before[length] < _NO_BLANKS_FROM):
        # A name with letters beyond ASCII; in scripts that write no blanks one begins where ASCII does.
        run = _NAME_BACKWARDS.match(before)
    if run is None or run.end() > _MAX_HOST:
        return None
    name = run[0][::-1]
    name = name.lstrip("_-.") if name[:1] in "_-." else name
    at = dot - len(name)
    if not name or at < 0:
        return None
    if at and text[at - 1] in _NOT_BEFORE and not (text[at - 1] == "*" and "*" in text[dot : dot + 300]):
        return None
    if at > 1 and text[at - 1] in "([>:" and (text[at - 2].isalnum() or text[at - 2] in "-:_"):
        # An expression of some programming language: f(a.id), p->a.id, a::b.id; in prose a blank stands before it.
        return name if text[at - 1] == ":" and text[at - 2].isalpha() else None
    return name


def is_bare_host(host: str, *, has_path: bool) -> bool:
    """Whether a name that stands without a scheme is a host's, rather than a file's or two sentences' ends.

    host: as written, its last label a top-level domain. has_path: something stands behind it, from a slash on.
    """
    labels = host.split(".")
    if len(labels) < 2 or len(host) > _MAX_HOST or not all(map(_LABEL.fullmatch, labels)):
        return False
    last = labels[-1]
    capitalised = last[0].isupper() and not last.isupper() and not has_path
    if capitalised and (last not in _CAPITALISED or any(label[0].islower() for label in labels)):
        return False
    lower = last.lower()
    if len(labels) == 2 and not has_path:
        first = labels[0]
        if lower in FILE_ENDINGS or (lower not in _GENERIC and (len(first) == 1 or first.isdecimal())):
            return False
    elif all(len(label) == 1 for label in labels[:-1]) and not has_path:
        return False
    return bool(registrable_domain(host))


def _trim(url: str) -> str:
    if not url.isascii():
        url = _cut_in_east(url)
    # A bracket closes the sentence around the link unless it was opened inside the link.
    unopened = url.count(")") - url.count("(")
    end = len(url)
    while end and (url[end - 1] in _TRAILING or (url[end - 1] == ")" and unopened > 0)):
        end -= 1
        unopened -= url[end] == ")"
    return url[:end]


def _cut_in_east(url: str) -> str:
    """Where no blanks are written, a link ends at the marks of a sentence, and its host where other letters begin."""
    end = _ENDS_IN_EAST.search(url)
    if end is not None:
        url = url[: end.start()]
    host = _AFTER_HOST.match(url)
    if host is not None and is_top_level(host[2].rpartition(".")[2].lower()):
        return host[0]
    return url
