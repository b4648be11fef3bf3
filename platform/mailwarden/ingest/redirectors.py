"""Links taken out of those that rewrite or redirect them: what protects mailboxes, and sites that send visitors on.

Which host does it, under which path, and where the target stands is data (list `redirectors`, see
`stores.redirector_list`); how it is written is one of `DECODERS`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from mailwarden.domain.mail.addresses import RESERVED_TOP_LEVELS, is_top_level, registrable_domain
from mailwarden.stores.redirector_list import redirectors_in_use

MAX_DEPTH = 8
"""Links inside each other that are taken out."""
CONFLICT = "?"
"""In the place of several addresses that lead to different parties: sites differ in which of two fields they take."""
_MAX_FIELDS = 200

_HTTP = re.compile(r"(https?)(:|%3a|%253a)((?:/|%2f|%252f){1,3})(?=[^/%\s])", re.IGNORECASE)
_ONE_SLASH = re.compile(r"(https?):/{1,3}(?=[^/])", re.IGNORECASE)
_IN_DECODED = re.compile(r"https?:/{2}[^\s\"'<>\x00-\x1f]{1,3000}", re.IGNORECASE)
_HEX = re.compile(r"-([0-9A-Fa-f]{2})")
_TAKEN_OUT = re.compile(r"([A-Za-z0-9+/_=-]{0,2000})!")
_STARS = re.compile(r"\*(?:\*(.))?", re.DOTALL)
_RUNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_AMP = re.compile(r"/(?:amp|c|v|i|wp)/(s/)?([^/?#]{1,253}.{0,3000})", re.DOTALL)
_BASE64 = re.compile(r"[A-Za-z0-9+_-]{12,4000}=*")
_SCHEMELESS = re.compile(r"(?:[^\W_][\w-]{0,62}\.){1,8}([^\W\d_]{2,24})(?=[/?#:]|\Z)")


class Entry(NamedTuple):
    """One line of the list. host: it and what lies under it. path: how the path begins, "" for every one. rewrites: it
    protects a mailbox, so that no sender chose it. how: a key of `DECODERS`. names: fields of the query, in order."""

    host: str
    path: str
    rewrites: bool
    how: str
    names: tuple[str, ...]


class Table:
    """Entries by registrable domain: for nearly all links one look-up says that there is none."""

    def __init__(self, entries: Mapping[str, tuple[str, ...]]) -> None:
        self._entries: dict[str, list[Entry]] = {}
        for key, (kind, how, *names) in entries.items():
            host, slash, path = key.partition("/")
            entry = Entry(host, (slash + path).lower(), kind == "rewriter", how, tuple(names))
            self._entries.setdefault(registrable_domain(host) or host, []).append(entry)
        for found in self._entries.values():
            # The most exact first.
            found.sort(key=lambda entry: (-len(entry.host), -len(entry.path)))

    def find(self, host: str, domain: str, url: str) -> Entry | None:
        """The entry that a link falls under."""
        found = self._entries.get(domain)
        if found is None:
            # Of a public suffix that itself rewrites, `domain` is a name under it.
            found = self._entries.get(domain.partition(".")[2])
            if found is None:
                return None
        path = _path_of(url).lower()
        for entry in found:
            under = host == entry.host or host.endswith(f".{entry.host}")
            if under and path.startswith(entry.path):
                return entry
        return None


_tables: dict[str, Table] = {}


def table_in_use() -> Table:
    """The table of the list in use, made where the first message needs it."""
    used = redirectors_in_use()
    table = _tables.get(used.fingerprint)
    if table is None:
        table = _tables[used.fingerprint] = Table(used.entries)
    return table


def target_of(entry: Entry, url: str) -> str:
    """The address that a link carries in an entry's way; "" without one, `CONFLICT` where there are several."""
    found = DECODERS[entry.how](url, entry.names)
    if not found and entry.rewrites and entry.how != "opaque":
        found = _anywhere(url, ())
    return found[:4_000]


def _path_of(url: str) -> str:
    rest = url.partition("://")[2] or url.lstrip("/\\")
    for at, letter in enumerate(rest[:300]):
        if letter in "/?#\\":
            return rest[at:]
    return ""


def _fields(url: str) -> list[tuple[str, str]]:
    query = url.partition("?")[2].partition("#")[0]
    pieces = query.replace("&amp;", "&").split("&", _MAX_FIELDS)
    return [(name.lower(), value) for name, equals, value in (piece.partition("=") for piece in pieces) if equals]


def _values(url: str, names: tuple[str, ...]) -> list[str]:
    """The values of named fields, the first name's first."""
    fields = _fields(url)
    return [value for name in names for key, value in fields if key == name and value]


def _as_address(value: str) -> str:
    """An address as the value of a field holds it, undone as often as it was encoded; "" where it is none."""
    for _ in range(3):
        if _ONE_SLASH.match(value):
            return _ONE_SLASH.sub(r"\1://", value, count=1)
        if value.startswith("//") and len(value) > 4:
            return f"https:{value}"
        if "%" not in value:
            break
        value = unquote(value).strip()
    bare = _SCHEMELESS.match(value)
    return f"http://{value}" if bare is not None and _exists(bare[1]) else ""


def _exists(last_label: str) -> bool:
    last_label = last_label.lower()
    return is_top_level(last_label) or last_label in RESERVED_TOP_LEVELS


def _agreed(found: list[str]) -> str:
    """The first of several addresses where all lead to one party."""
    if len(found) > 1 and len({_party(address) for address in found}) > 1:
        return CONFLICT
    return found[0] if found else ""


def _party(address: str) -> str:
    host = re.split(r"[/\\?#]", address.partition("://")[2], maxsplit=1)[0].rpartition("@")[2].partition(":")[0]
    return registrable_domain(host) or host.lower()


def _query(url: str, names: tuple[str, ...]) -> str:
    return _agreed([address for value in _values(url, names) if (address := _as_address(value))])


def _anywhere(url: str, names: tuple[str, ...]) -> str:
    """The first address behind the host, encoded or not: one that is ends with its segment or field."""
    del names
    found = _HTTP.search(url, 8)
    if found is None:
        return ""
    rest = url[found.start() :]
    if found[2] != ":" or "%" in found[3]:
        head = re.split(r"[/&]", rest[len(found[0]) :], maxsplit=1)[0]
        return _as_address(found[0] + head)
    return _as_address(rest)


def _query_or_anywhere(url: str, names: tuple[str, ...]) -> str:
    return _query(url, names) or _anywhere(url, ())


def _host_field(url: str, names: tuple[str, ...]) -> str:
    """Only the target's host stands in the link."""
    values = [unquote(value).strip() for value in _values(url, names)]
    return _agreed([f"https://{value}/" for value in values if "." in value and not set(value) & set("/?#@ ")])


def _encoded(url: str, names: tuple[str, ...]) -> str:
    """Base 64, in named fields or anywhere behind the host, of the address or of something that holds it."""
    values = _values(url, names) if names else [found[0] for found in _BASE64.finditer(url, 8)][:20]
    found = []
    for value in values:
        value = unquote(value)
        # Bing puts a letter and a digit before it.
        for text in (value, value[2:]) if value[:2] == "a1" else (value,):
            decoded = _undo_base64(text)
            if "%3a" in decoded[:12].lower():
                decoded = unquote(decoded)
            inside = _IN_DECODED.search(decoded.replace("\\", ""))
            if inside is not None:
                found.append(inside[0])
    return _agreed(found) if names else (found[0] if found else "")


def _undo_base64(text: str) -> str:
    letters = text.rstrip("=").replace("+", "-").replace("/", "_").replace(" ", "-")
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), altchars=b"-_", validate=True).decode(
            "utf-8", "replace"
        )
    except ValueError:
        return ""


def _url_defense_2(url: str, names: tuple[str, ...]) -> str:
    return _agreed(
        [
            address
            for value in _values(url, names)
            if (address := _as_address(unquote(_HEX.sub(r"%\1", value).replace("_", "/"))))
        ]
    )


def _url_defense_3(url: str, names: tuple[str, ...]) -> str:
    """Letters that were taken out stand as base 64 behind the address, a `*` or a run `**X` in the place of each."""
    del names
    _, _, rest = url.partition("/v3/__")
    written, ended, rest = rest.partition("__;")
    if not ended:
        return ""
    letters = _TAKEN_OUT.match(rest)
    taken = _undo_base64(letters[1]) if letters is not None else ""
    at = 0

    def put_back(star: re.Match[str]) -> str:
        nonlocal at
        count = _RUNS.find(star[1]) + 2 if star[1] else 1
        if count < 1 or at + count > len(taken):
            return star[0]
        at += count
        return taken[at - count : at]

    return _as_address(_STARS.sub(put_back, unquote(written)) if taken else written)


def _underscores(url: str, names: tuple[str, ...]) -> str:
    del names
    written, ended, _ = url.partition("___")[2].partition("___")
    return _as_address(written) if ended else ""


def _amp(url: str, names: tuple[str, ...]) -> str:
    del names
    found = _AMP.match(_path_of(url))
    if found is None:
        return ""
    host = re.split(r"[/?#]", found[2], maxsplit=1)[0]
    if "." not in host or not _exists(host.rpartition(".")[2]):
        return ""
    return f"http{'s' if found[1] else ''}://{found[2]}"


def _translated(url: str, names: tuple[str, ...]) -> str:
    """The host stands in the first label: dots as hyphens, hyphens doubled."""
    del names
    host = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    label = host.partition(".")[0]
    written = label.replace("--", "\0").replace("-", ".").replace("\0", "-")
    return f"https://{written}{_path_of(url)}" if "." in written else ""


def _opaque(url: str, names: tuple[str, ...]) -> str:
    del url, names
    return ""


DECODERS: Mapping[str, Callable[[str, tuple[str, ...]], str]] = {
    "query": _query,
    "query-or-path": _query_or_anywhere,
    "path": _anywhere,
    "host": _host_field,
    "base64": _encoded,
    "url-defense-2": _url_defense_2,
    "url-defense-3": _url_defense_3,
    "underscores": _underscores,
    "amp": _amp,
    "translated": _translated,
    "opaque": _opaque,
}
"""How a target is written, by the word that the list has for it."""
