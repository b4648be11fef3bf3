"""Shortcuts and scripts: where they lead, as far as that stands in them in the clear. Source: [MS-SHLLINK]."""

from __future__ import annotations

import re

from mailwarden.ingest.containers.contents import Contents
from mailwarden.ingest.containers.plain import links_in_bytes
from mailwarden.ingest.text_links import plain_urls

MAX_SEARCHED = 256 << 10
"""Bytes that are searched for links."""

_TARGET = re.compile(
    rb"^\s{0,9}+(?:URL|BASEURL|IconFile|WorkingDirectory)\s{0,9}+=\s{0,9}+(\S[^\r\n]{0,2000}+)", re.I | re.M
)
_STARTS = re.compile(
    rb"\b(?:powershell|pwsh|cmd(?:\.exe)?\s{1,9}+/[ck]|mshta|rundll32|regsvr32|wscript|cscript|certutil|bitsadmin|msiexec"
    rb"|curl(?:\.exe)?\s|forfiles|conhost)",
    re.IGNORECASE,
)


def open_shortcut(data: bytes, contents: Contents) -> None:
    """A shortcut, in text or in Windows' own format."""
    head = data[:MAX_SEARCHED]
    plain = head.replace(b"\0", b"")
    contents.traits.add("shortcut")
    if _STARTS.search(plain) is not None:
        contents.traits.add("launch")
    for found in _TARGET.findall(plain)[:20]:
        if found.lower().startswith((b"file:", b"\\\\", b"search-ms:", b"ms-")):
            contents.traits.add("launch")
        contents.links.append((found.decode("utf-8", "replace").strip(), ""))
    contents.links += links_in_bytes(head)


def open_script(data: bytes, contents: Contents) -> None:
    """A script: the addresses that it names."""
    plain = data[:MAX_SEARCHED].replace(b"\0", b"").decode("latin-1")
    contents.links += ((url, "") for url in plain_urls(plain, contents.reading, contents.part)[:50])
