"""What the name of a file says of it, read as the system that starts it reads names."""

from __future__ import annotations

import re
import unicodedata

MAX_NAME = 300
"""Characters of a name that are read, its last ones: what is started stands at the end."""

EXECUTABLE_NAMES = frozenset(
    """
    exe scr pif com bat cmd msi msp msix msixbundle appx appxbundle appinstaller application appref-ms jar jnlp js jse
    vbs vbe wsf wsh wsc sct hta lnk cpl dll ocx ps1 psm1 psd1 reg chm hlp apk dmg pkg command url website gadget msc
    settingcontent-ms library-ms search-ms searchconnector-ms scf xll wll iqy rdp diagcab pyw
    """.split()  # noqa: SIM905
)
"""Extensions, in lower case, of what runs or leads away on a click."""

_DOCUMENT_NAMES = frozenset(
    "pdf doc docx xls xlsx ppt pptx txt rtf jpg jpeg png gif tif tiff htm html csv mp3 mp4 wav zip".split()  # noqa: SIM905
)
# Archives, signatures and envelopes of a document keep its name, and say so honestly.
_HONEST_SECOND = frozenset(
    "zip rar 7z gz bz2 xz zst tar cab iso img ace arj p7m p7s p7z sig asc gpg pgp eml msg bak tmp".split()  # noqa: SIM905
)
_EXTENSION = re.compile(r"\.([a-z0-9][a-z0-9-]{0,24})\Z", re.IGNORECASE)
_TWO_EXTENSIONS = re.compile(r"\.([a-z0-9]{2,5})[\s_.]{0,100}\.([a-z0-9]{2,17})\Z", re.IGNORECASE)
# A blank behind the colon is a sentence's: "Re: plan.txt: what next?" names a forwarded message.
_STREAM = re.compile(r"\.[a-z0-9]{1,10}:{1,2}(?! )[^:/\\]{0,100}\Z", re.IGNORECASE)
_OVERRIDES = frozenset("\u202a\u202b\u202d\u202e\u2066\u2067\u2068")
_PADDED = re.compile(r"\S[ \t\u00a0\u2000-\u200b\u2800\u3000_]{12}|[. ]\Z")


def plain_name(name: str) -> str:
    """The name without its folders, without characters that nobody sees, and without the dots and blanks at its end.

    Windows drops those when it stores a file, so that `invoice.exe. .` runs. Of a name of an NTFS stream
    (`invoice.exe::$DATA`) the file's own is kept. Case is kept.

    >>> plain_name("invoice.exe. . ")
    'invoice.exe'
    """
    name = name[-MAX_NAME:]
    if not name.isascii():
        name = "".join(c for c in name if unicodedata.category(c) not in ("Cf", "Cc"))
    name = re.split(r"[/\\]", name)[-1]
    if ":" in name and _STREAM.search(name) is not None:
        name = name.partition(":")[0] or name
    return name.rstrip(". \t\u00a0\u3000\0")


def extension_of(name: str) -> str:
    """The extension that decides what opens the file, in lower case; "" without one."""
    found = _EXTENSION.search(plain_name(name))
    return found[1].lower() if found else ""


def is_double(name: str) -> bool:
    """A document's extension before another: "invoice.pdf.exe"; "archive.tar.gz" and "plan.pdf.p7m" are honest."""
    found = _TWO_EXTENSIONS.search(plain_name(name))
    if found is None:
        return False
    inner, outer = found[1].lower(), found[2].lower()
    return inner in _DOCUMENT_NAMES and outer != inner and outer not in _HONEST_SECOND


def is_disguised(name: str) -> bool:
    """Written so that it is read otherwise than it is: a direction turned round, an extension padded out of sight, a
    dot or a blank at the end, a stream of another file."""
    name = name[-MAX_NAME:]
    if not _OVERRIDES.isdisjoint(name):
        return True
    if _PADDED.search(name) is not None:
        return extension_of(name) in EXECUTABLE_NAMES
    return ":" in name and _STREAM.search(name) is not None
