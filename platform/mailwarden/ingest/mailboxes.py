"""Address lists of From, To and their like, however they are written."""

from __future__ import annotations

import re

from mailwarden.domain.mail.address_marks import fold_marks, has_lookalike_mark
from mailwarden.domain.mail.addresses import address_domain, registrable_domain
from mailwarden.domain.mail.message import AuthorMark, Mailbox
from mailwarden.ingest.budget import MAILBOXES
from mailwarden.ingest.headers import decode_words, one_line
from mailwarden.ingest.hosts import read_address
from mailwarden.ingest.reading import Reading

MAX_MAILBOXES = 1_000
"""Addresses of one header."""
_MAX_TRIED = 20
"""Words of a phrase without brackets that are tried as its address."""

_MAX_WRITTEN = 1_000
"""Characters of what may be an address, encoded words and blanks in it included."""

NOBODY = Mailbox("", "", "")
"""What stands where no mailbox is given."""

Marks = set[AuthorMark]

_USUAL = re.compile(r'(?:"([^"\\]*+)"\s*+|([^"<>@,;:()\\]*+))<\s*+([^<>@\s,;:"()]++@[^<>@\s,;:"()]++)\s*+>')
_BARE = re.compile(r'[^<>@\s,;:"()\\]++@[^<>@\s,;:"()\\]++')
_TOKEN = re.compile(r'"((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)|(<)|([,;:])|(\()|([^"<,;:()]++|\))', re.DOTALL)
# Behind a quote that is never closed, quotes are characters like others: see `_open_angle`.
_IN_ANGLE_PLAIN = re.compile(r"(?:(\()|([<>])|[^()<>]++|\))", re.DOTALL)
_IN_ANGLE = re.compile(r'"(?:[^"\\]++|\\.)*+"|(\()|([<>])|[^"()<>]++|[")]', re.DOTALL)
_COMMENT_EDGE = re.compile(r"\\.|[()]", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_PIECES = re.compile(r'(?>(?:(?:"(?:[^"\\]++|\\.)*+"|[^".\\\s]++)(?:\.|\Z)){1,999})', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_BLANKS_AT_MARKS = re.compile(r"(?<![\s])\s*+([@.])\s*+")


def mailbox(address: str, display_name: str, reading: Reading) -> Mailbox:
    """The mailbox of an address as written and a display name already decoded."""
    normal = read_address(address, reading)
    return Mailbox(normal, display_name, registrable_domain(address_domain(normal)))


def read_mailboxes(value: str, reading: Reading, marks: Marks | None = None) -> tuple[Mailbox, ...]:
    """Every mailbox of an address list, groups opened (RFC 5322 section 3.4); lenient with what is not one.

    Comments are no part of an address, wherever they stand. Of several addresses in angle brackets for one name the
    last is the address, as mail programs that quote no names write it, and those before it belong to the name. marks:
    takes up what is odd about how they are written.
    """
    text = value.strip()
    if not text or not reading.take(MAILBOXES):
        return ()
    usual = _USUAL.fullmatch(text)
    if usual is not None and (marks is None or usual[3].isascii()) and "=?" not in usual[3]:
        return (mailbox(usual[3], _display(usual[1] or usual[2] or "", reading), reading),)
    if _BARE.fullmatch(text) and text.isascii() and "=?" not in text:
        return (mailbox(text, "", reading),)
    return _AddressList(text, reading, set() if marks is None else marks).read()


class _AddressList:
    """One value while it is read; see `read_mailboxes`."""

    def __init__(self, text: str, reading: Reading, marks: Marks) -> None:
        self._text, self._reading, self._marks = text, reading, marks
        self._position = 0
        self._found: list[Mailbox] = []
        self._begin()

    def _begin(self) -> None:
        self._words: list[str] = []
        self._at_sign = False  # one of the words holds an @
        self._comments: list[str] = []
        self._angle: str | None = None

    def read(self) -> tuple[Mailbox, ...]:
        text, reading, found = self._text, self._reading, self._found
        most = min(MAX_MAILBOXES, reading.budget.left(MAILBOXES) + 1)
        while self._position < len(text) and len(found) < most:
            token = _TOKEN.match(text, self._position)
            if token is None:
                self._position += 1
                continue
            self._position = token.end()
            if token[1] is not None:
                self._word('"' + token[1])
            elif token[2]:
                self._open_angle()
            elif token[4]:
                self._skip_comment(self._comments)
            elif token[3] == ":":
                # The name of a group, unless it stands inside an address ("mailto:", a literal).
                if self._angle is None and not self._at_sign:
                    self._words, self._comments = [], []
            elif token[3] == "," and self._angle is None and self._words and not self._at_sign:
                self._words.append(", ")  # a comma that should have been quoted: "Lee, Ann <ann@example.com>"
            elif token[3]:
                self._close()
            else:
                self._word(token[5])
        self._close()
        if len(found) >= most:
            reading.cut(("headers",), "too_many_mailboxes", f"more than {most}")
        reading.budget.take(MAILBOXES, max(0, len(found) - 1))
        return tuple(found[:most])

    def _word(self, word: str) -> None:
        if self._angle is not None and not word.strip("> \t"):
            return  # one bracket too many
        self._words.append(word)
        self._at_sign = self._at_sign or "@" in word

    def _open_angle(self) -> None:
        """Read what stands in angle brackets, quoted strings whole and comments left out."""
        pieces: list[str] = []
        comments: list[str] = []
        pattern = _IN_ANGLE
        while (token := pattern.match(self._text, self._position)) is not None:
            if token[0] == '"':
                pattern = _IN_ANGLE_PLAIN
            if token[2] == "<":
                break  # another one begins
            self._position = token.end()
            if token[2]:
                break
            if token[1]:
                self._skip_comment(comments)
            else:
                pieces.append(token[0])
        address = "".join(pieces).strip()
        if comments and address:
            self._marks.add("comment_in_address")
        if not address and self._angle:
            return
        if self._angle and "@" in self._angle:
            if "@" not in address:
                return
            self._marks.add("several_angles")
            self._words.append(f" <{self._angle}> ")
        self._angle = address
        if not self._comments:
            self._comments = comments

    def _skip_comment(self, comments: list[str]) -> None:
        depth = 1
        start = self._position
        for edge in _COMMENT_EDGE.finditer(self._text, start):
            if edge[0] == "(":
                depth += 1
            elif edge[0] == ")":
                depth -= 1
                if depth == 0:
                    comments.append(self._text[start : edge.start()])
                    self._position = edge.end()
                    return
        comments.append(self._text[start:])
        self._position = len(self._text)

    def _close(self) -> None:
        box = self._box()
        if box is not None:
            self._found.append(box)
        self._begin()

    def _box(self) -> Mailbox | None:
        words, comments, angle, reading = self._words, self._comments, self._angle, self._reading
        phrase = "".join(word[1:] if word[:1] == '"' else word for word in words).strip()
        if angle is None and not phrase and not comments:
            return None
        if angle:
            box = mailbox(self._written(angle), _display(phrase or " ".join(comments), reading), reading)
            if not box.address and not box.display_name:
                # What cannot be delivered to is shown all the same.
                box = Mailbox("", _display(angle, reading), "")
        else:
            # Without brackets the address is the word with an @; the rest of the phrase, or a comment, is the name.
            decoded = _display(phrase, reading)
            written = "".join(_quoted(word) for word in words)
            address = read_address(self._written(written), reading) if "@" in written or not written.isascii() else ""
            name = " ".join(comments)
            if address and comments and len(words) > 1:
                self._marks.add("comment_in_address")
            if not address:
                parts = decoded.split()
                likely = [word for word in parts if "@" in word][:_MAX_TRIED]
                if "<" in decoded:
                    # Of several it is the bracketed one, and of those the last; see `read_mailboxes`.
                    likely = [word for word in reversed(likely) if word[0] == "<"] + likely
                address = next((word for word in likely if read_address(word, reading)), "")
                name = " ".join(word for word in parts if word != address) or name
                if address and "=?" in phrase:
                    self._marks.add("encoded_address")
            box = mailbox(address, _display(name, reading), reading)
        if not box.address:
            if not box.display_name and not (angle or "").strip():
                return None
            reading.defect("address_unreadable")
        return box

    def _written(self, address: str) -> str:
        """An address as it is meant: encoded words read, blanks around its marks left out, a route noticed."""
        if len(address) > _MAX_WRITTEN:
            return address
        if "=?" in address:
            decoded = decode_words(address, self._reading)
            if decoded != address:
                self._marks.add("encoded_address")
                address = decoded
        if not address.isascii() and (
            has_lookalike_mark(address) or ("@" not in address and "@" in fold_marks(address))
        ):
            self._marks.add("lookalike_mark")
        if address.startswith("@") and ":" in address:
            self._marks.add("route")
            address = address.rpartition(":")[2]
        if '"' in address:
            return _requoted(address)
        if len(address.split(None, 1)) > 1:
            address = _BLANKS_AT_MARKS.sub(r"\1", address)
        return address


def _requoted(address: str) -> str:
    """An address whose local part is quoted in pieces (RFC 5322 section 4.4), quoted whole; without a quote that is
    never closed."""
    local, _, domain = address.rpartition("@")
    if local.count('"') % 2 and "\\" not in local:
        return address.replace('"', "")
    if not _PIECES.fullmatch(local) or _QUOTED.fullmatch(local):
        return address
    plain = _QUOTED.sub(lambda piece: _ESCAPED.sub(r"\1", piece[1]), local)
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"@{domain}'


def _quoted(word: str) -> str:
    return f'{word}"' if word[:1] == '"' else word.strip()


def _display(phrase: str, reading: Reading) -> str:
    if "\\" in phrase:
        phrase = _ESCAPED.sub(r"\1", phrase)
    name = one_line(decode_words(phrase, reading)).strip(", ")
    if len(name) > 1 and name[0] == name[-1] and name[0] in "'\"":
        name = name[1:-1].strip()
    return name
