"""Files that a tenant's directory is read from: CSV with a header line, or LDIF (RFC 2849) as an export gives it."""

from __future__ import annotations

import base64
import binascii
import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mailwarden.domain.mail.addresses import checked_domain, normalise_address, registrable_domain
from mailwarden.domain.mail.directory import Entry
from mailwarden.errors import DataError, did_you_mean

MOST_ENTRIES = 100_000
"""Entries of one directory: every scoring process holds it."""

_MOST_LETTERS = 256
_MOST_ALIASES = 50
_COLUMNS = ("address", "name", "aliases", "role", "department", "manager", "vip")
_NEEDED = ("address", "name")
_YES, _NO = ("yes", "true", "1", "y"), ("no", "false", "0", "n")
_LDIF = {
    "mail": "address", "displayname": "name", "cn": "cn", "title": "role", "department": "department",
    "ou": "ou", "departmentnumber": "department", "manager": "manager", "vip": "vip", "dn": "dn",
    "proxyaddresses": "aliases", "mailalternateaddress": "aliases", "othermailbox": "aliases", "mailalias": "aliases",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Row:
    """What one entry says, as written. fields: by column, aliases one by one. named: how its file calls a column."""

    line: int
    fields: Mapping[str, str]
    aliases: tuple[str, ...]
    named: Mapping[str, str]


def read_directory(path: Path) -> tuple[Entry, ...]:
    """The entries of a file, in its order; one named .ldif or .ldf, or that begins with `dn` or `version`, is LDIF.

    CSV: columns address and name, and any of aliases (parted by `;`: more addresses, more names), role, department,
    manager (an address) and vip (yes or no). LDIF: mail, displayName or cn, proxyAddresses, mailAlternateAddress,
    otherMailbox, title, department or ou, manager (an entry's dn; one that is not in the file is left out) and vip;
    entries without mail are passed over. Raises DataError with line, field and mend.
    """
    try:
        data = path.expanduser().read_bytes()
    except OSError as exc:
        raise DataError(f"Directory {path} cannot be read ({exc.strerror}). Check the path.") from exc
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise DataError(f"{path}, line {line}: it is not UTF-8. Export or save it as UTF-8.") from exc
    rows = _ldif(path, text) if _is_ldif(path, text) else _csv(path, text)
    entries = tuple(_checked(path, rows))
    if not entries:
        raise DataError(f"{path} holds no entry. Give at least one, or `--clear` to have no directory.")
    return entries


def _is_ldif(path: Path, text: str) -> bool:
    if path.suffix.lower() in (".ldif", ".ldf"):
        return True
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    return first.lower().startswith(("dn:", "version:"))


def _csv(path: Path, text: str) -> Iterator[_Row]:
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if first.count(";") > first.count(",") else ",")
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        for name in header:
            if name not in _COLUMNS:
                hint = did_you_mean(name, _COLUMNS)
                raise DataError(f"{path}, line 1: no column {name!r} is known.{hint} Columns: {', '.join(_COLUMNS)}.")
            if header.count(name) > 1:
                raise DataError(f"{path}, line 1: column {name!r} stands twice. Leave one out.")
        for name in _NEEDED:
            if name not in header:
                raise DataError(
                    f"{path}, line 1: column {name!r} is missing. Begin with a line that names the columns."
                )
        named = {name: name for name in header}
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(cells)} fields where the header names {len(header)}. Put "
                    'what holds a comma in "quotes".'
                )
            fields = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            aliases = tuple(filter(None, map(str.strip, fields.pop("aliases", "").split(";"))))
            yield _Row(reader.line_num, fields, aliases, named)
    except csv.Error as exc:
        raise DataError(f"{path}, line {reader.line_num}: {exc}. Save it as CSV anew.") from exc


def _ldif(path: Path, text: str) -> Iterator[_Row]:
    found = list(_ldif_entries(path, text))
    address_of = {row.fields["dn"].lower(): row.fields.get("address", "") for row in found if "dn" in row.fields}
    for row in found:
        fields = dict(row.fields)
        if not fields.get("address"):
            continue
        fields["name"] = fields.get("name") or fields.get("cn", "")
        fields["department"] = fields.get("department") or fields.get("ou", "")
        manager = fields.get("manager", "")
        if manager and "@" not in manager:
            fields["manager"] = address_of.get(manager.lower(), "")
        yield _Row(row.line, fields, row.aliases, row.named)


def _ldif_entries(path: Path, text: str) -> Iterator[_Row]:
    fields: dict[str, str] = {}
    aliases: list[str] = []
    named: dict[str, str] = {}
    began = 0
    for number, line in (*_unfolded(text), (0, "")):
        if not line:
            if fields:
                yield _Row(began, fields, tuple(aliases), named)
            fields, aliases, named = {}, [], {}
            continue
        attribute, colon, value = line.partition(":")
        if not colon:
            raise DataError(f"{path}, line {number}: neither `attribute: value` nor the rest of the line before.")
        attribute = attribute.partition(";")[0].strip()
        if attribute.lower() == "changetype":
            raise DataError(f"{path}, line {number}: a change is no entry. Export entries, as `ldapsearch -LLL` does.")
        column = _LDIF.get(attribute.lower())
        if column is None:
            continue
        if value.startswith(":"):
            value = _decoded(path, number, attribute, value[1:])
        value = value.strip()
        began = began if fields else number
        named[column] = attribute
        if column == "aliases":
            aliases.append(value.partition(":")[2] if value.lower().startswith(("smtp:", "mailto:")) else value)
        elif column == "address" and fields.get("address"):
            aliases.append(value)
        else:
            fields.setdefault(column, value)


def _decoded(path: Path, line: int, attribute: str, value: str) -> str:
    try:
        return base64.b64decode(value.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise DataError(
            f"{path}, line {line}: {attribute} is no base 64 of UTF-8. Export it anew, or write `{attribute}: value`."
        ) from exc


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """Lines with those that begin with a space taken to the one before, and without comments; "" between entries."""
    number, held = 0, ""
    for at, line in enumerate(text.splitlines(), start=1):
        if line.startswith(" ") and held:
            held += line[1:]
            continue
        if held and not held.startswith("#") and not held.lower().startswith("version:"):
            yield number, held
        number, held = at, line
        if not line.strip():
            held = ""
            yield at, ""
    if held and not held.startswith("#"):
        yield number, held


def _checked(path: Path, rows: Iterable[_Row]) -> Iterator[Entry]:
    taken: dict[str, int] = {}
    for count, row in enumerate(rows, start=1):
        if count > MOST_ENTRIES:
            raise DataError(f"{path}, line {row.line}: more than {MOST_ENTRIES} entries. Give those who receive mail.")
        for name, value in row.fields.items():
            if len(value) > _MOST_LETTERS:
                raise _bad(path, row, name, f"is longer than {_MOST_LETTERS} letters", "Shorten it.")
        entry = _entry(path, row)
        for address in entry.addresses:
            before = taken.setdefault(address, row.line)
            if before != row.line:
                what = "address" if address == entry.address else "aliases"
                raise _bad(path, row, what, f"{address!r} stands in line {before} already", "Leave one of them out.")
        yield entry


def _entry(path: Path, row: _Row) -> Entry:
    fields = row.fields
    written = fields.get("vip", "").lower()
    if written and written not in (*_YES, *_NO):
        raise _bad(path, row, "vip", f"{fields['vip']!r} is neither yes nor no", "Write yes, no, or nothing.")
    if len(row.aliases) > _MOST_ALIASES:
        raise _bad(path, row, "aliases", f"{len(row.aliases)} of them", f"Give {_MOST_ALIASES} at most.")
    entry = Entry(
        "",
        fields.get("name", ""),
        tuple(_address(path, row, "aliases", alias) if "@" in alias else alias for alias in row.aliases),
        fields.get("role", ""),
        fields.get("department", ""),
        _address(path, row, "manager", fields["manager"]) if fields.get("manager") else "",
        None if not written else written in _YES,
    )
    address = fields.get("address", "")
    if not address:
        raise _bad(path, row, "address", "is empty", "Write name@example.com.")
    if "@" not in address and entry.duty == "partner":
        try:
            return _with(entry, f"@{checked_domain(address)}")
        except DataError as exc:
            raise _bad(path, row, "address", str(exc).rstrip("."), "Or write an address.") from exc
    found = _address(path, row, "address", address)
    if not entry.name:
        raise _bad(path, row, "name", "is empty", "Write the name that stands before the address in mail.")
    return _with(entry, found)


def _with(entry: Entry, address: str) -> Entry:
    aliases = tuple(alias for alias in dict.fromkeys(entry.aliases) if alias != address)
    return Entry(address, entry.name, aliases, entry.role, entry.department, entry.manager, entry.vip)


def _address(path: Path, row: _Row, column: str, written: str) -> str:
    found = normalise_address(written)
    if not found or not registrable_domain(found.rpartition("@")[2]):
        raise _bad(path, row, column, f"{written!r} is no address", "Write name@example.com.")
    return found


def _bad(path: Path, row: _Row, column: str, what: str, mend: str) -> DataError:
    return DataError(f"{path}, line {row.line}, field {row.named.get(column, column)!r}: {what}. {mend}")
