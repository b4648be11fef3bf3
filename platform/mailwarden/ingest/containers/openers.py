"""Which opener looks into a file of a kind; each is imported where a message first needs it."""

from __future__ import annotations

import contextlib

from mailwarden.domain.mail.file_kinds import SCRIPT_TYPES, SHORTCUT_NAMES, SHORTCUT_TYPES
from mailwarden.domain.mail.file_names import EXECUTABLE_NAMES, extension_of
from mailwarden.domain.status import Status
from mailwarden.ingest.attachments import OCTETS, has_zip_behind
from mailwarden.ingest.containers.contents import MAX_WHOLE, Contents, Member, Opener

_PACKED = frozenset((
    "application/gzip", "application/x-bzip2", "application/x-xz", "application/x-lzma", "application/zstd",
))  # fmt: skip
_NOBODY_OPENS = frozenset((
    "application/x-arj", "application/x-ace", "application/x-vhd", "application/x-vhdx",
    "application/vnd.ms-outlook-pst", "application/x-compress", "application/x-lzip", "application/x-lz4",
    "application/x-ms-wim", "application/x-xar", "application/x-vmdk", "application/x-rpm",
))  # fmt: skip
_ZIPS = frozenset((
    "application/zip", "application/java-archive", "application/vnd.android.package-archive", "application/appx",
    "application/epub+zip",
))  # fmt: skip
_FOREIGN = frozenset((
    "application/x-7z-compressed", "application/vnd.ms-cab-compressed", "application/x-iso9660-image",
    "application/x-lha", "application/x-cpio", "application/x-rar",
))  # fmt: skip
_COMPOUND = frozenset((
    "application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint", "application/vnd.visio",
    "application/x-ole-storage", "application/vnd.ms-outlook", "application/x-ole-encrypted-package",
))  # fmt: skip
_PAGES = frozenset(("text/html", "image/svg+xml", "application/xhtml+xml"))
_PAGE_NAMES = frozenset(("htm", "html", "xhtml", "shtml", "xht", "svg"))
_ARCHIVE_NAMES = frozenset(
    "zip rar 7z cab iso img vhd vhdx arj ace lzh lha wim gz tgz bz2 xz zst tar z lz lzma".split()  # noqa: SIM905
)
_READS_AS_TEXT = frozenset(("text/plain", "text/xml", OCTETS))


def opener_for(content_type: str, name: str, data: bytes) -> Opener | None:
    """The opener of a file by its detected type, and where that says little by its name; None for what is no container.

    data: its first bytes.
    """
    if content_type in _PAGES:
        return _open_page
    if content_type.startswith(("image/", "audio/", "video/", "font/")):
        return _open_zip if has_zip_behind(data) else None
    opener = _BY_TYPE.get(content_type)
    if opener is not None:
        return opener
    if content_type.startswith(("application/vnd.openxml", "application/vnd.oasis", "application/vnd.ms-")):
        return _open_ooxml if data.startswith(b"PK") else None
    if content_type in SCRIPT_TYPES:
        return _open_script
    if content_type in SHORTCUT_TYPES:
        return _open_shortcut
    if content_type in _READS_AS_TEXT:
        extension = extension_of(name)
        if extension in _PAGE_NAMES:
            return _open_page
        if extension in SHORTCUT_NAMES:
            return _open_shortcut
        if content_type == "text/plain":
            return _open_words
        if content_type == OCTETS and data:
            # Its bytes are none that are known here; somebody's program may know them.
            return _open_pdf if extension == "pdf" else _cannot_open if extension in _ARCHIVE_NAMES else None
    return None


def load_openers() -> None:
    """Import all of them, and the libraries that they need, so that no message pays for it."""
    import cryptography.hazmat.decrepit.ciphers.algorithms
    import cryptography.hazmat.primitives.ciphers

    from mailwarden.ingest.containers import foreign, office, onenote, pages, pdf, rtf, shortcuts, tars, tnef

    # Without it its archives are damaged, and say so; all else is read.
    with contextlib.suppress(OSError):
        foreign.load_library()
    del cryptography, foreign, office, onenote, pages, pdf, rtf, shortcuts, tars, tnef


def _open_page(data: bytes, contents: Contents) -> None:
    from mailwarden.ingest.containers.pages import open_page

    open_page(data, contents)


def _open_zip(data: bytes, contents: Contents) -> None:
    from mailwarden.ingest.containers.zips import open_zip

    open_zip(data, contents)


def _open_ooxml(data: bytes, contents: Contents) -> None:
    from mailwarden.ingest.containers.office import open_ooxml

    open_ooxml(data, contents)


def _open_compound(data: bytes, contents: Contents) -> None:
    from mailwarden.ingest.containers.office import open_compound

    open_compound(data, contents)


def _open_rtf(data: bytes, contents: Contents) -> None:
    from mailwarden.ingest.containers.rtf import open_rtf

    open_rtf(data, contents)


def _open_pdf(data: bytes, contents: Contents) -> None:
    from mailwarden.ingest.containers.pdf import open_pdf

    open_pdf(data, contents)


def _open_tnef(data: bytes, contents: Contents) -> None:
    from mailwarden.ingest.containers.tnef import open_tnef

    open_tnef(data, contents)


def _open_tar(data: bytes, contents: Contents) -> None:
    from mailwarden.ingest.containers.tars import open_tar

    open_tar(data, contents)


def _open_onenote(data: bytes, contents: Contents) -> None:
    from mailwarden.ingest.containers.onenote import open_onenote

    open_onenote(data, contents)


def _open_script(data: bytes, contents: Contents) -> None:
    from mailwarden.ingest.containers.shortcuts import open_script

    open_script(data, contents)


def _open_words(data: bytes, contents: Contents) -> None:
    from mailwarden.ingest.containers.plain import open_words

    open_words(data, contents)


def _open_shortcut(data: bytes, contents: Contents) -> None:
    from mailwarden.ingest.containers.shortcuts import open_shortcut

    open_shortcut(data, contents)


def _open_signed(data: bytes, contents: Contents) -> None:
    from mailwarden.ingest.containers.signed import open_envelope

    open_envelope(data, contents)


def _opener_of_packed(kind: str) -> Opener:
    def open_packed(data: bytes, contents: Contents) -> None:
        from mailwarden.ingest.containers.inflating import name_in_gzip, unpack

        contents.traits.add("archive")
        stem, _, last = contents.name.rpartition(".")
        name = f"{stem}.tar" if last.lower() in ("tgz", "tbz", "tbz2", "txz") else stem
        if kind == "application/gzip" and extension_of(name) not in EXECUTABLE_NAMES:
            # Some call it as the outside says, some as it says itself.
            name = name_in_gzip(data) or name
        out = unpack(data, kind, contents)
        # What goes on behind the bound is longer, by how much nobody asked.
        contents.members.append(Member(name, len(out) + (len(out) == MAX_WHOLE), lambda most: out[:most]))

    return open_packed


def _opener_of_foreign(kind: str) -> Opener:
    def open_archive(data: bytes, contents: Contents) -> None:
        from mailwarden.ingest.containers.foreign import open_foreign

        open_foreign(data, contents, kind)

    return open_archive


def _cannot_open(data: bytes, contents: Contents) -> None:
    del data
    contents.traits |= {"archive", "unopened"}
    contents.reading.unread("inner", Status.DAMAGED)


_BY_TYPE: dict[str, Opener] = (
    dict.fromkeys(_ZIPS, _open_zip)
    | dict.fromkeys(_COMPOUND, _open_compound)
    | dict.fromkeys(_NOBODY_OPENS, _cannot_open)
    | {kind: _opener_of_packed(kind) for kind in _PACKED}
    | {kind: _opener_of_foreign(kind) for kind in _FOREIGN}
    | {
        "text/calendar": _open_words,
        "text/vcard": _open_words,
        "application/rtf": _open_rtf,
        "application/pdf": _open_pdf,
        "application/ms-tnef": _open_tnef,
        "application/x-tar": _open_tar,
        "application/onenote": _open_onenote,
        "application/pkcs7-mime": _open_signed,
    }
)

HEAD_IS_ENOUGH = frozenset((_open_words,))
"""Openers of what is read as far as it is at hand, and hides nothing by being long."""
