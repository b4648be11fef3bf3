"""One file of a list: a header of `# key: value` lines, then an entry a line."""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from mailwarden.domain.mail.addresses import is_ip_literal, normalise_host, registrable_domain
from mailwarden.domain.mail.lists import brand_name
from mailwarden.errors import ConfigError
from mailwarden.stores.redirector_list import redirector_entry

MAX_LIST_BYTES = 32 * 2**20
"""A million ranked domains are 22 MB; what is larger is no list of this kind."""

SHOWN = 5
"""Wrong lines of a file that its error names."""

HEADER = ("name", "version", "date", "source", "licence", "mode")
"""What a header may say; name and version it must."""

_KEY = re.compile(r"#\s*([A-Za-z_-]+)\s*:\s*(.*)")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_VERSION = re.compile(r"[\w.+-]{1,64}")


@dataclass(frozen=True, slots=True)
class ListFile:
    """What one file says.

    header: the keys of `HEADER` that it gives. entries: by normal form what stands beside it: a brand's domains, a rank
    alone as text, or nothing. taken: entries to take out of the list that is extended, with their lines.
    duplicates: lines that said what one before them had said.
    """

    path: Path
    header: Mapping[str, str]
    entries: Mapping[str, tuple[str, ...]]
    taken: Mapping[str, int]
    duplicates: int

    @property
    def mode(self) -> Literal["replace", "extend"]:
        """Whether it stands in the place of the list that ships, or adds to it and takes from it."""
        return "extend" if self.header.get("mode") == "extend" else "replace"


Parse = Callable[[str], tuple[str, tuple[str, ...]]]
"""An entry's line to its normal form and what stands beside it; raises ValueError with what is wrong and the mend."""


def read_list_file(path: Path, name: str, parse: Parse) -> ListFile:
    """Read the file of one list; raises ConfigError that names file, line and mend where it is not what it should be.

    All entries are looked at before that, so that a long list is mended in one go.
    name: the list's, which the header must repeat. parse: how an entry of it reads.
    """
    lines = list(enumerate(_text(path, name).split("\n"), 1))
    header, first = _header(path, name, lines)
    entries: dict[str, tuple[str, ...]] = {}
    taken: dict[str, int] = {}
    duplicates = 0
    wrong: list[tuple[int, str, str]] = []
    for number, line in _entries(lines[first:]):
        try:
            if line.startswith("-"):
                taken[_taken(line[1:].strip(), header, parse)] = number
                continue
            key, beside = parse(line)
            if parse is ranked_entry:
                _in_order(entries, beside)
            elif parse is redirector_entry:
                _said_once(entries, key, beside)
        except ValueError as exc:
            what, _, mend = str(exc).partition("; ")
            wrong.append((number, what, mend))
            continue
        known = entries.get(key)
        new = beside if known is None else tuple(domain for domain in beside if domain not in known)
        if known is not None and (not new or parse is ranked_entry):
            duplicates += 1
        else:
            entries[key] = (*(known or ()), *new)
    if wrong:
        number, what, mend = wrong[0]
        others = [f"line {other}: {words}" for other, words, _ in wrong[1:SHOWN]]
        if len(wrong) > SHOWN:
            others.append(f"{len(wrong) - SHOWN:,} lines more")
        _refuse(path, name, number, what, mend + (f" (also {'; '.join(others)})" if others else ""))
    if not entries and not taken:
        _refuse(path, name, len(lines), "there is no entry", "write one a line, or remove the file")
    return ListFile(path, header, entries, taken, duplicates)


def _taken(entry: str, header: Mapping[str, str], parse: Parse) -> str:
    if header.get("mode") != "extend":
        raise ValueError(f"'-{entry[:80]}' takes an entry out; say `# mode: extend` in the header")
    return brand_name(entry) if parse is brand_entry else parse(entry)[0]


def _in_order(entries: dict[str, tuple[str, ...]], beside: tuple[str, ...]) -> None:
    if not entries:
        return
    last = entries[next(reversed(entries))]
    if bool(last) != bool(beside):
        raise ValueError("some lines have a rank and some have none; write one of the two in all lines")
    if last and int(beside[0]) <= int(last[0]):
        raise ValueError(f"rank {beside[0]} comes after {last[0]}; sort the lines by rank")


def _said_once(entries: dict[str, tuple[str, ...]], key: str, beside: tuple[str, ...]) -> None:
    if not beside:
        raise ValueError(f"{key[:80]!r} does not say where the target stands; write `{key[:80]}: redirector query url`")
    if entries.get(key, beside) != beside:
        raise ValueError(f"{key[:80]!r} stands twice, and reads otherwise; keep one of the two")


def domain_entry(line: str) -> tuple[str, tuple[str, ...]]:
    """An entry that is a host name; what lies under it is meant too."""
    host = normalise_host(line)
    if not _is_name(host):
        raise ValueError(f"{line[:80]!r} is no domain; write one domain a line, as example.com")
    if not registrable_domain(host):
        raise ValueError(
            f"{line[:80]!r} is a public suffix, and would stand for everybody's domains under it; name them"
        )
    return host, ()


def ranked_entry(line: str) -> tuple[str, tuple[str, ...]]:
    """An entry that is `domain` or `rank,domain`; the domain's registrable part counts."""
    rank, comma, domain = line.rpartition(",")
    if comma and not (rank.isascii() and rank.isdecimal() and len(rank) < 10 and int(rank)):
        raise ValueError(
            f"{rank[:80]!r} is no rank; write `rank,domain` with ranks from 1, or domains alone, best first"
        )
    host, _ = domain_entry(domain)
    return registrable_domain(host), (str(int(rank)),) if comma else ()


def brand_entry(line: str) -> tuple[str, tuple[str, ...]]:
    """An entry that is `Name: domain domain`."""
    name, colon, domains = line.rpartition(":")
    key = brand_name(name)
    if not colon or len(key) < 2 or not domains.split():
        raise ValueError(f"{line[:80]!r} is no brand with its domains; write `Name: example.com example.org`")
    return key, tuple(dict.fromkeys(domain_entry(domain)[0] for domain in domains.split()))


def _is_name(host: str) -> bool:
    labels = host.split(".")
    return len(labels) > 1 and all(map(_LABEL.fullmatch, labels)) and not is_ip_literal(host)


def _text(path: Path, name: str) -> str:
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            _refuse(path, name, 1, f"more than {MAX_LIST_BYTES >> 20} MB", "cut it to what is looked up")
        data = path.read_bytes()
    except OSError as exc:
        raise ConfigError(
            f"list {name} ({path}) cannot be read: {exc.strerror}; make it readable or remove it"
        ) from exc
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        number = data.count(b"\n", 0, exc.start) + 1
        raise ConfigError(f"list {name} ({path}), line {number}: not UTF-8; save the file as UTF-8") from exc


def _header(path: Path, name: str, lines: list[tuple[int, str]]) -> tuple[dict[str, str], int]:
    """The header's values, and how many lines it takes: all comments up to the first line that is none."""
    header: dict[str, str] = {}
    count = 0
    for number, line in lines:
        text = line.strip()
        if not text.startswith("#"):
            break
        count = number
        if (found := _KEY.fullmatch(text)) is None:
            continue
        key, value = found[1].lower(), found[2].strip()
        if key not in HEADER:
            near = difflib.get_close_matches(key, HEADER, 1)
            mend = f"did you mean {near[0]!r}?" if near else "put other comments below a blank line"
            _refuse(path, name, number, f"a header has no {key!r}", mend)
        if key in header:
            _refuse(path, name, number, f"the header says {key!r} twice", "keep one of the two")
        header[key] = value
        _check(path, name, number, key, value)
    for key, example in (("name", name), ("version", "2026.11")):
        if key not in header:
            _refuse(path, name, 1, f"the header lacks its {key}", f"begin the file with a line `# {key}: {example}`")
    return header, count


def _check(path: Path, name: str, number: int, key: str, value: str) -> None:
    if key == "name" and value != name:
        _refuse(path, name, number, f"the header says that this is {value[:80]!r}", f"rename the file or say {name!r}")
    if key == "version" and _VERSION.fullmatch(value) is None:
        mend = "write up to 64 letters, digits and . + -, as 2026.11"
        _refuse(path, name, number, f"{value[:80]!r} is no version", mend)
    if key == "mode" and value not in ("replace", "extend"):
        _refuse(path, name, number, f"{value[:80]!r} is no mode", "write `replace` or `extend`")
    if key == "date":
        try:
            datetime.date.fromisoformat(value)
        except ValueError:
            _refuse(path, name, number, f"{value[:80]!r} is no date", "write it as 2026-11-28")


def _entries(lines: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        text = line.partition("#")[0].strip()
        if text:
            yield number, text


def _refuse(path: Path, name: str, number: int, what: str, mend: str) -> NoReturn:
    raise ConfigError(f"list {name} ({path}), line {number}: {what}; {mend}")
