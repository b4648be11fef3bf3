"""Address lists of From, To and their like, however they are written."""

from __future__ import annotations

import re

from mailwarden.domain.mail.addresses import address_domain, normalise_address, registrable_domain
from mailwarden.domain.mail.message import Mailbox
from mailwarden.ingest.defects import DefectLog
from mailwarden.ingest.headers import decode_words, one_line

MAX_MAILBOXES = 1_000

NOBODY = Mailbox("", "", "")
"""What stands where no mailbox is given."""

_USUAL = re.compile(r'(?:"([^"\\]*)"|([^"<>@,;:()\\]*))\s*<\s*([^<>@\s,;:"()]+@[^<>@\s,;:"()]+)\s*>')
_BARE = re.compile(r'[^<>@\s,;:"()\\]+@[^<>@\s,;:"()\\]+')
_TOKEN = re.compile(r'"((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)|<([^<>]*+)>?|([,;:])|(\()|([^"<,;:()]++|\))', re.DOTALL)
_COMMENT_EDGE = re.compile(r"\\.|[()]", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def mailbox(address: str, display_name: str = "") -> Mailbox:
    """The mailbox of an address as written and a display name already decoded."""
    normal = normalise_address(address)
    return Mailbox(normal, display_name, registrable_domain(address_domain(normal)))


def read_mailboxes(value: str, defects: DefectLog) -> tuple[Mailbox, ...]:
    """Every mailbox of an address list, groups opened (RFC 5322 section 3.4); lenient with what is not one."""
    text = value.strip()
    usual = _USUAL.fullmatch(text)
    if usual is not None:
        return (mailbox(usual[3], _display(usual[1] or usual[2] or "", defects)),)
    if _BARE.fullmatch(text):
        return (mailbox(text),)
    found: list[Mailbox] = []
    words: list[str] = []
    comments: list[str] = []
    angle: str | None = None
    position = 0
    while position < len(text) and len(found) < MAX_MAILBOXES:
        token = _TOKEN.match(text, position)
        if token is None:
            position += 1
            continue
        position = token.end()
        if token[1] is not None:
            words.append('"' + token[1])
        elif token[2] is not None:
            angle = token[2] if angle is None else angle
        elif token[4]:
            position = _skip_comment(text, position, comments)
        elif token[3] == ":":
            # The name of a group, unless it stands inside an address ("mailto:", a literal).
            if angle is None and not any("@" in word for word in words):
                words, comments = [], []
        elif token[3] == "," and angle is None and words and not any("@" in word for word in words):
            words.append(", ")  # a comma that should have been quoted: "Lee, Ann <ann@example.com>"
        elif token[3]:
            _close(words, comments, angle, found, defects)
            words, comments, angle = [], [], None
        else:
            words.append(token[5])
    _close(words, comments, angle, found, defects)
    if len(found) >= MAX_MAILBOXES:
        defects.add("too_many_mailboxes", f"more than {MAX_MAILBOXES}")
    return tuple(found[:MAX_MAILBOXES])


def _skip_comment(text: str, position: int, comments: list[str]) -> int:
    depth = 1
    for edge in _COMMENT_EDGE.finditer(text, position):
        if edge[0] == "(":
            depth += 1
        elif edge[0] == ")":
            depth -= 1
            if depth == 0:
                comments.append(text[position : edge.start()])
                return edge.end()
    comments.append(text[position:])
    return len(text)


def _close(words: list[str], comments: list[str], angle: str | None, found: list[Mailbox], defects: DefectLog) -> None:
    phrase = "".join(word[1:] if word[:1] == '"' else word for word in words).strip()
    if angle is None and not phrase and not comments:
        return
    if angle is not None:
        box = mailbox(angle, _display(phrase or " ".join(comments), defects))
    else:
        # Without brackets the address is the word with an @; the rest of the phrase, or a comment, is the name.
        decoded = _display(phrase, defects)
        address = normalise_address("".join(_quoted(word) for word in words))
        name = " ".join(comments)
        if not address:
            parts = decoded.split()
            address = next((word for word in parts if normalise_address(word)), "")
            name = " ".join(word for word in parts if word != address) or name
        box = mailbox(address, _display(name, defects))
    if not box.address:
        if not box.display_name and not (angle or "").strip():
            return
        defects.add("address_unreadable")
    found.append(box)


def _quoted(word: str) -> str:
    return f'{word}"' if word[:1] == '"' else word.strip()


def _display(phrase: str, defects: DefectLog) -> str:
    if "\\" in phrase:
        phrase = _ESCAPED.sub(r"\1", phrase)
    name = one_line(decode_words(phrase, defects)).strip(", ")
    if len(name) > 1 and name[0] == name[-1] and name[0] in "'\"":
        name = name[1:-1].strip()
    return name
