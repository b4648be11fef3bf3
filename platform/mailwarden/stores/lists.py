"""The lists that features look things up in: those that ship, each replaced or extended by a site's own file.

1. Each list of `LISTS` ships as a file of `mailwarden/lists/`, or with a package (`disposable`).
2. A file of the same name in the site's folder takes its place (`# mode: replace`, the default), or adds entries to it
   and takes others out (`# mode: extend`).
3. Entries are normalised as host names are, so that a list is of one content however it is written; its fingerprint is
   of its version and of that content.
4. All is read, and what is wrong refused, when the lists are loaded: at start, never at a message.
5. A worker process is sent the folder's path and the fingerprint instead of the lists, loads them once, and refuses
   files that are not the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Literal, Self

import mailwarden
from mailwarden.domain.mail.lists import Lists, lists_of
from mailwarden.errors import ConfigError
from mailwarden.stores.list_files import (
    ListFile,
    Parse,
    brand_entry,
    domain_entry,
    ranked_entry,
    read_list_file,
)
from mailwarden.stores.redirector_list import RedirectorList, redirector_entry

SHIPPED = Path(mailwarden.__file__).parent / "lists"
"""The folder of the lists that come with the platform."""

LISTS: Mapping[str, Parse] = {
    "free_mail": domain_entry,
    "disposable": domain_entry,
    "shorteners": domain_entry,
    "free_hosts": domain_entry,
    "brands": brand_entry,
    "popular": ranked_entry,
    "redirectors": redirector_entry,
}
"""Every list by name, with how an entry of it reads."""

_PACKAGE = "disposable-email-domains"

_BESIDE = ("readme", "license", "licence")
"""Files that may lie in a folder of lists and are none."""


@dataclass(frozen=True, slots=True)
class ListOrigin:
    """Where a list came from, for people.

    how: whether it ships in a file of ours or with a package, or a site's own file replaced or extended that. entries:
    how many. duplicates: lines that said what others had said. without_effect: entries that the site's file takes out
    and that were not in the list.
    """

    name: str
    version: str
    how: Literal["shipped", "package", "replaced", "extended"]
    date: str
    source: str
    licence: str
    file: str
    entries: int
    duplicates: int
    without_effect: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedLists(Lists):
    """Lists out of files; pickles as the folder's path and the fingerprint that its files must have.

    folder: the site's, None where only what ships is used. origins: by list where it came from. chosen: names of those
    that `only` left, None for all.
    """

    folder: Path | None
    origins: Mapping[str, ListOrigin]
    chosen: frozenset[str] | None = None

    def only(self, names: Iterable[str]) -> Self:
        """Some of the lists, which are sent to another process in the same way."""
        return replace(Lists.only(self, names), chosen=frozenset(names))

    def entries_of(self, name: str) -> frozenset[str]:
        """The entries of any list: host names, ranked domains, or brands' names."""
        kept = {"brands": self.brands, "popular": self.ranks, "redirectors": self.redirectors}.get(name)
        return frozenset(kept or self.names.get(name, frozenset()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _same_lists, (self.folder, self.fingerprint, self.chosen)


def load_lists(folder: Path | None = None) -> LoadedLists:
    """All lists, with those of a site's folder in place of or on top of those that ship.

    Raises ConfigError that names file, line and mend where the folder is not there, holds a file that is named after no
    list, or a file is not what it should be.
    """
    own = {} if folder is None else _files(folder)
    parts = {name: _part(name, own) for name in LISTS}
    lists = lists_of(
        {name: parts[name].entries for name, parse in LISTS.items() if parse is domain_entry},
        {
            domain: int(beside[0]) if beside else place
            for place, (domain, beside) in enumerate(parts["popular"].entries.items(), 1)
        },
        parts["brands"].entries,
        {name: part.version for name, part in parts.items()},
        parts["redirectors"].entries,
    )
    return LoadedLists(
        names=lists.names,
        ranks=lists.ranks,
        fingerprint=lists.fingerprint,
        brands=lists.brands,
        fingerprints=lists.fingerprints,
        redirectors=lists.redirectors,
        folder=folder,
        origins={name: part.origin(name, lists.fingerprints[name]) for name, part in parts.items()},
    )


def load_redirectors(folder: Path | None = None) -> RedirectorList:
    """The list `redirectors` alone, as the parser reads it; raises ConfigError as `load_lists` does."""
    part = _part("redirectors", {} if folder is None else _files(folder))
    lists = lists_of({}, versions={"redirectors": part.version}, redirectors=part.entries)
    return RedirectorList(lists.redirectors, lists.fingerprints["redirectors"])


def _part(name: str, own: Mapping[str, Path]) -> _Part:
    shipped = _shipped(name, LISTS[name])
    return _joined(shipped, name, read_list_file(own[name], name, LISTS[name])) if name in own else shipped


@dataclass(frozen=True, slots=True)
class _Part:
    """One list before all are put together."""

    version: str
    how: Literal["shipped", "package", "replaced", "extended"]
    entries: Mapping[str, tuple[str, ...]]
    header: Mapping[str, str]
    file: str
    duplicates: int = 0
    without_effect: tuple[str, ...] = ()

    def origin(self, name: str, fingerprint: str) -> ListOrigin:
        return ListOrigin(
            name=name,
            version=self.version,
            how=self.how,
            date=self.header.get("date", ""),
            source=self.header.get("source", ""),
            licence=self.header.get("licence", ""),
            file=self.file,
            entries=len(self.entries),
            duplicates=self.duplicates,
            without_effect=self.without_effect,
            fingerprint=fingerprint,
        )


def _shipped(name: str, parse: Parse) -> _Part:
    if name == "disposable":
        return _packaged(parse)
    file = read_list_file(SHIPPED / f"{name}.txt", name, parse)
    return _Part(file.header["version"], "shipped", file.entries, file.header, str(file.path), file.duplicates)


def _packaged(parse: Parse) -> _Part:
    # Here and not above: ten thousand literals take some milliseconds, and only who loads lists needs them.
    from disposable_email_domains import blocklist

    try:
        entries = dict(map(parse, sorted(blocklist)))
    except ValueError as exc:
        raise ConfigError(f"list disposable of the package {_PACKAGE}: {exc}, or install the locked version") from exc
    header = {"source": "the project of that name", "licence": "CC0-1.0, the package MIT"}
    return _Part(version_of(_PACKAGE), "package", entries, header, f"package {_PACKAGE}")


def _joined(base: _Part, name: str, file: ListFile) -> _Part:
    version = file.header["version"]
    if file.mode == "replace":
        return _Part(version, "replaced", file.entries, file.header, str(file.path), file.duplicates)
    if name == "popular":
        raise ConfigError(f"list popular ({file.path}): ranks of two lists do not mix; leave out `# mode: extend`")
    entries = {key: beside for key, beside in base.entries.items() if key not in file.taken}
    for key, beside in file.entries.items():
        # A brand gets further domains; how a redirector's links read is one thing, which a site may say anew.
        former = () if name == "redirectors" else entries.get(key, ())
        entries[key] = tuple(dict.fromkeys((*former, *beside)))
    return _Part(
        version=f"{base.version}+{version}",
        how="extended",
        entries=entries,
        header=file.header,
        file=str(file.path),
        duplicates=file.duplicates + sum(key in base.entries and not file.entries[key] for key in file.entries),
        without_effect=tuple(key for key in file.taken if key not in base.entries),
    )


def _files(folder: Path) -> dict[str, Path]:
    """The folder's files by list; hidden ones are left alone, as mounted configuration brings some."""
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as exc:
        raise ConfigError(
            f"{folder} is no folder of lists that can be read ({exc.strerror}); make it, or unset MAILWARDEN_LISTS"
        ) from exc
    found = {}
    for path in paths:
        if path.stem.lower() in _BESIDE:
            continue
        name = path.stem
        if name not in LISTS or path.suffix != ".txt" or not path.is_file():
            near = difflib.get_close_matches(name.lower(), LISTS, 1)
            mend = f"did you mean {near[0]}.txt?" if near else f"lists are: {', '.join(f'{n}.txt' for n in LISTS)}"
            raise ConfigError(f"{path} is no list; {mend}")
        found[name] = path
    return found


@lru_cache(maxsize=64)
def _same_lists(folder: Path | None, fingerprint: str, chosen: frozenset[str] | None = None) -> LoadedLists:
    """The lists of a folder in another process; raises ConfigError where its files are not those of the sender."""
    if chosen is not None:
        return _same_lists(folder, fingerprint).only(chosen)
    lists = load_lists(folder)
    if lists.fingerprint != fingerprint:
        place = folder or SHIPPED
        raise ConfigError(
            f"the lists in {place} have fingerprint {lists.fingerprint} here and {fingerprint} where this work was "
            "started: they changed since, or this machine has others; put the same files on all machines and restart"
        )
    return lists
