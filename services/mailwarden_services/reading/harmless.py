"""Text of hostile mail made harmless to look at: links that nothing opens, characters that no terminal obeys."""

from __future__ import annotations

import re
import unicodedata

_SCHEME = re.compile(r"(?:https?|ftps?|wss?)(?=:[\\/]{1,2})", re.IGNORECASE)
_OPAQUE = re.compile(r"\b(javascript|vbscript|data|file|blob|about|ms-[a-z]+|search-ms|tel|sms|mailto):", re.IGNORECASE)
_HOST = re.compile(
    # Behind a scheme, after www., before a path, port, query or user part; or all of it a name with a known form.
    r"(?<=//)[^\s/?#<>\"'\\]+|\bwww\.[^\s/?#<>\"'\\]+|(?<![\w/.-])[\w-]+(?:\.[\w-]+)+(?=[/:?#])",
    re.IGNORECASE,
)
_DEFANGED = {"http": "hxxp", "https": "hxxps", "ftp": "fxp", "ftps": "fxps", "ws": "wxs", "wss": "wxss"}


def defanged(text: str) -> str:
    """The text with every link in it spoilt: hxxp for http, [.] for the dots of a host, [:] behind other schemes."""
    text = _HOST.sub(lambda found: found[0].replace(".", "[.]"), text)
    text = _SCHEME.sub(lambda found: _DEFANGED[found[0].lower()], text)
    return _OPAQUE.sub(r"\1[:]", text)


def defanged_host(host: str) -> str:
    """A host whose dots lead nowhere."""
    return host.replace(".", "[.]")


def visible(text: str) -> str:
    """The text with what steers a terminal or turns the direction of text told by its number, as ⟨U+202E⟩."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        one if one in "\n\t" or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else _told(one)
        for one in text.replace("\r\n", "\n").replace("\r", "\n")
    )


def harmless(text: str) -> str:
    """The text, visible and defanged."""
    return defanged(visible(text))


def _told(character: str) -> str:
    return f"⟨U+{ord(character):04X}⟩"
