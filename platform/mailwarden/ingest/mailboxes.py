"""Address lists of From, To and their like, however they are written."""

from __future__ import annotations

import re

from mailwarden.domain.mail.addresses import address_domain, registrable_domain
from mailwarden.domain.mail.message import Mailbox
from mailwarden.ingest.budget import MAILBOXES
from mailwarden.ingest.headers import decode_words, one_line
from mailwarden.ingest.hosts import read_address
from mailwarden.ingest.reading import Reading

MAX_MAILBOXES = 1_000
"""Addresses of one header."""
_MAX_TRIED = 20
"""Words of a phrase without brackets that are tried as its address."""

NOBODY = Mailbox("", "", "")
"""What stands where no mailbox is given."""

_USUAL = re.compile(r'(?:"([^"\\]*+)"\s*+|([^"<>@,;:()\\]*+))<\s*+([^<>@\s,;:"()]++@[^<>@\s,;:"()]++)\s*+>')
_BARE = re.compile(r'[^<>@\s,;:"()\\]++@[^<>@\s,;:"()\\]++')
_TOKEN = re.compile(r'"((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)|<([^<>]*+)>?|([,;:])|(\()|([^"<,;:()]++|\))', re.DOTALL)
_COMMENT_EDGE = re.compile(r"\\.|[()]", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def mailbox(address: str, display_name: str, reading: Reading) -> Mailbox:
    """The mailbox of an address as written and a display name already decoded."""
    normal = read_address(address, reading)
    return Mailbox(normal, display_name, registrable_domain(address_domain(normal)))


def read_mailboxes(value: str, reading: Reading) -> tuple[Mailbox, ...]:
    """Every mailbox of an address list, groups opened (RFC 5322 section 3.4); lenient with what is not one."""
    text = value.strip()
    if not text or not reading.take(MAILBOXES):
        return ()
    usual = _USUAL.fullmatch(text)
    if usual is not None:
        return (mailbox(usual[3], _display(usual[1] or usual[2] or "", reading), reading),)
    if _BARE.fullmatch(text):
        return (mailbox(text, "", reading),)
    found: list[Mailbox] = []
    words: list[str] = []
    at_sign = False  # one of the words holds an @
    comments: list[str] = []
    angle: str | None = None
    position = 0
    most = min(MAX_MAILBOXES, reading.budget.left(MAILBOXES) + 1)
    while position < len(text) and len(found) < most:
        token = _TOKEN.match(text, position)
        if token is None:
            position += 1
            continue
        position = token.end()
        if token[1] is not None:
            words.append('"' + token[1])
            at_sign = at_sign or "@" in token[1]
        elif token[2] is not None:
            angle = token[2] if angle is None else angle
        elif token[4]:
            position = _skip_comment(text, position, comments)
        elif token[3] == ":":
            # The name of a group, unless it stands inside an address ("mailto:", a literal).
            if angle is None and not at_sign:
                words, comments = [], []
        elif token[3] == "," and angle is None and words and not at_sign:
            words.append(", ")  # a comma that should have been quoted: "Lee, Ann <ann@example.com>"
        elif token[3]:
            _close(words, comments, angle, found, reading)
            words, at_sign, comments, angle = [], False, [], None
        else:
            words.append(token[5])
            at_sign = at_sign or "@" in token[5]
    _close(words, comments, angle, found, reading)
    if len(found) >= most:
        reading.cut(("headers",), "too_many_mailboxes", f"more than {most}")
    reading.budget.take(MAILBOXES, max(0, len(found) - 1))
    return tuple(found[:most])


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


def _close(words: list[str], comments: list[str], angle: str | None, found: list[Mailbox], reading: Reading) -> None:
    phrase = "".join(word[1:] if word[:1] == '"' else word for word in words).strip()
    if angle is None and not phrase and not comments:
        return
    if angle is not None:
        box = mailbox(angle, _display(phrase or " ".join(comments), reading), reading)
    else:
        # Without brackets the address is the word with an @; the rest of the phrase, or a comment, is the name.
        decoded = _display(phrase, reading)
        address = read_address("".join(_quoted(word) for word in words), reading)
        name = " ".join(comments)
        if not address:
            parts = decoded.split()
            likely = [word for word in parts if "@" in word][:_MAX_TRIED]
            address = next((word for word in likely if read_address(word, reading)), "")
            name = " ".join(word for word in parts if word != address) or name
        box = mailbox(address, _display(name, reading), reading)
    if not box.address:
        if not box.display_name and not (angle or "").strip():
            return
        reading.defect("address_unreadable")
    found.append(box)


def _quoted(word: str) -> str:
    return f'{word}"' if word[:1] == '"' else word.strip()


def _display(phrase: str, reading: Reading) -> str:
    if "\\" in phrase:
        phrase = _ESCAPED.sub(r"\1", phrase)
    name = one_line(decode_words(phrase, reading)).strip(", ")
    if len(name) > 1 and name[0] == name[-1] and name[0] in "'\"":
        name = name[1:-1].strip()
    return name
