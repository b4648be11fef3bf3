"""A raw message as header fields and a body, to be changed and put together again byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_FIELD = re.compile(rb"([!-9;-~]{1,200})[ \t]*:")
_FOLD = re.compile(r"\r?\n(?=[ \t])")


@dataclass(slots=True)
class Field:
    """One header field. name: as written; raw: the whole field with its folding, without the last line end."""

    name: str
    raw: bytes

    @property
    def key(self) -> str:
        """The name in lower case."""
        return self.name.lower()

    @property
    def value(self) -> str:
        """The value, unfolded, as Latin-1; outer blanks are cut."""
        return _FOLD.sub("", self.raw.decode("latin-1").partition(":")[2]).strip()


@dataclass(slots=True)
class Letter:
    """A message taken apart. fields: topmost first; eol: its line end; body: what stands behind the empty line."""

    fields: list[Field]
    body: bytes
    eol: bytes = b"\n"

    @classmethod
    def read(cls, raw: bytes) -> Letter:
        """Take a message apart; a line that is no field is dropped, an mbox `From ` line too."""
        eol = b"\r\n" if b"\r\n" in raw[:2_000] else b"\n"
        head, _, body = raw.partition(eol + eol)
        fields: list[Field] = []
        for line in head.split(eol):
            if line[:1] in (b" ", b"\t"):
                if fields:
                    fields[-1].raw += eol + line
            elif (named := _FIELD.match(line)) is not None:
                fields.append(Field(named[1].decode("ascii"), line))
        return cls(fields, body, eol)

    def to_bytes(self) -> bytes:
        """The message put together."""
        return self.eol.join(field.raw for field in self.fields) + self.eol + self.eol + self.body

    def all(self, key: str) -> list[str]:
        """The unfolded values of the fields of that lower-case name."""
        return [field.value for field in self.fields if field.key == key]

    def first(self, key: str) -> str:
        """The topmost value of that lower-case name, "" where there is none."""
        return next((field.value for field in self.fields if field.key == key), "")

    def put(self, name: str, value: str) -> None:
        """Give the field that value, in the place of the first of its name or behind all; others of the name go."""
        key, placed, kept = name.lower(), False, []
        for one in self.fields:
            if one.key != key:
                kept.append(one)
            elif not placed:
                placed = True
                kept.append(field_of(one.name, value, self.eol))
        if not placed:
            kept.append(field_of(name, value, self.eol))
        self.fields = kept

    def remove(self, keys: Iterable[str]) -> None:
        """Take all fields of these lower-case names off."""
        gone = set(keys)
        self.fields = [field for field in self.fields if field.key not in gone]

    def keep(self, wanted: Callable[[Field], bool]) -> None:
        """Keep the fields for which it holds."""
        self.fields = [field for field in self.fields if wanted(field)]


def field_of(name: str, value: str, eol: bytes = b"\n") -> Field:
    """A field of that name; the value may be folded by "\\n", and holds Latin-1."""
    return Field(name, f"{name}: {value}".encode("latin-1", "replace").replace(b"\n", eol))
