"""An address as it stands in a link, read to its scheme and host the way a browser reads it.

Source: WHATWG URL, sections 3.5 (hosts) and 4.4 (parsing), with two differences on purpose: hosts are normalised by
`domain.mail.addresses`, so that a host is one key wherever it is read, and what a browser refuses for its letters alone
keeps the name that stands there, since mail clients are more lenient than browsers. Beyond the standard: file shares
as Windows reads them, and addresses inside of those that open an application.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from typing import NamedTuple
from urllib.parse import unquote, urljoin

from mailwarden.domain.mail.addresses import RESERVED_TOP_LEVELS, address_domain, is_top_level
from mailwarden.domain.mail.message import LinkMark
from mailwarden.ingest.charsets import clean
from mailwarden.ingest.hosts import read_address, read_host
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.text_links import FILE_ENDINGS, is_bare_host

MAX_URL = 4_000
"""Characters that are kept of a link."""

_PLAIN = re.compile(r"(https?)://([A-Za-z0-9.-]{1,253}+)(?=[/?#]|\Z)")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,30}):", re.IGNORECASE)
_SLASHES = re.compile(r"[/\\]*+")
_AUTHORITY = re.compile(r"[^/\\?#]*+")
_BARE = re.compile(r"([^/\\?#@:\s]{1,253}+)(:\d{1,5}(?![\w.-]))?(?=[/\\?#]|\Z)")
_PORT = re.compile(r":\d{1,5}(?:[/\\?#]|\Z)")
_DRIVE = re.compile(r"[a-z][:|]", re.IGNORECASE)
_NUMBER = re.compile(r"0x([0-9a-f]*)|(0[0-7]*)|([1-9][0-9]*)")
_DOTTED = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_INSIDE = re.compile(
    r"(?:https?|ftp|file):[/\\]{2,5}[^\s\"'<>|]{1,2000}|\\\\[\w-][\w.@-]{1,300}[\\/][^\s\"'<>|]{0,2000}", re.I
)
_STRIPPED = {ord(c): None for c in "\t\r\n"}
_EDGES = "".join(map(chr, range(33))) + "\xa0"
_WEB = {"http": "80", "https": "443", "ftp": "21", "ws": "80", "wss": "443"}
_OVER_NETWORK = frozenset((
    "afp", "dav", "davs", "feed", "gopher", "ldap", "ldaps", "mms", "nfs", "rdp", "rtsp", "sftp", "smb", "ssh", "svn",
    "telnet", "vnc", "webcal", "webcals",
))  # fmt: skip
"""Schemes beside the web's whose authority is a host that is asked."""
_NO_INSIDE = frozenset(("mailto", "tel", "sms", "cid", "mid", "callto"))
_NO_MARKS: tuple[LinkMark, ...] = ()


class Address(NamedTuple):
    """scheme: lower case, that which a client takes where none is written. host: "" where it leads to none. inside: the
    address that one which opens an application carries, "" for all others."""

    scheme: str
    host: str
    marks: tuple[LinkMark, ...] = _NO_MARKS
    inside: str = ""


def tidy_address(written: str) -> tuple[str, bool]:
    """An address without what browsers strip, and whether anything stood inside of it; at most `MAX_URL` characters.

    The `blocked::` that Outlook writes before an address it keeps from being followed is none of it.
    """
    if ":" in written[7:10] and written.lstrip()[:9].lower() == "blocked::":
        written = written.lstrip()[9:]
    if written.isprintable():
        return written.strip(" ")[:MAX_URL], False
    stripped = written.strip(_EDGES)
    inside = stripped.translate(_STRIPPED)
    return clean(inside)[:MAX_URL], not inside.isprintable() or len(inside) < len(stripped)


def parse_address(url: str, reading: Reading, part: int = 0, *, in_text: bool = False) -> Address | None:
    """Read a tidy address; None where it leads nowhere outside of the message (relative, a fragment). in_text: a client
    made a link of it, so that a path behind a name tells a host from a file."""
    plain = _PLAIN.match(url)
    if plain is not None:
        host = plain[2]
        if host[-1].isalpha() and host[0] != "." and not host[host.rfind(".") + 1].isdigit():
            return Address(plain[1], host if host.islower() else host.lower())
    scheme = _SCHEME.match(url)
    if scheme is None or ("." in scheme[1] and (url[:4].lower() == "www." or _PORT.match(url, scheme.end() - 1))):
        return _without_scheme(url, reading, part, in_text)
    name = scheme[1].lower()
    if name in _WEB:
        return _of_web(name, url, scheme.end(), reading, part)
    if name == "file":
        return _of_share(url, scheme.end(), reading, part)
    return _of_application(name, url, scheme.end(), reading, part)


def resolve(base: str, url: str) -> str:
    """A tidy address against a base element's, which is of the web; the address itself where it is absolute."""
    scheme = _SCHEME.match(url)
    if scheme is not None:
        if scheme[1].lower() != base.partition(":")[0].lower():
            return url
        url = url[scheme.end() :]
    if url[:1] in ("/", "\\") and url[1:2] in ("/", "\\"):
        return f"{base.partition(':')[0]}:{url}"
    path, mark, rest = url.partition("?")
    path = path.replace("\\", "/")
    if scheme is not None and _SCHEME.match(path):
        # Behind the base's own scheme what follows is a path, whatever it looks like.
        path = f"./{path}"
    return urljoin(base[:2_000], path + mark + rest)


def is_base(url: str) -> bool:
    """Whether a tidy address can be a document's base: absolute, and of the web."""
    scheme = _SCHEME.match(url)
    return scheme is not None and scheme[1].lower() in _WEB


def _without_scheme(url: str, reading: Reading, part: int, in_text: bool) -> Address | None:
    start = url[:2]
    if start == "\\\\":
        return _of_share(url, 0, reading, part)
    if start in ("//", "/\\", "\\/"):
        found = _of_web("https", url, 0, reading, part)
        return found and found._replace(marks=("bare", *found.marks))
    bare = _BARE.match(url)
    if bare is None:
        return None
    host = bare[1]
    if host[:4].lower() != "www." or len(host) < 5:
        last = host.rpartition(".")[2].lower()
        if last in RESERVED_TOP_LEVELS:
            known = "." in host
        else:
            has_path = len(url) > bare.end() + 1
            known = is_top_level(last) and is_bare_host(
                host.lower(), has_path=has_path and (in_text or last not in FILE_ENDINGS)
            )
        if not known:
            return None
    read = _host_of(host, reading, part)
    marks = ("bare", *read.marks, *(("port",) if bare[2] and bare[2] != ":80" else ()))
    return Address("http", read.host, marks) if read.host else None


def _of_web(scheme: str, url: str, at: int, reading: Reading, part: int) -> Address | None:
    slashes = _SLASHES.match(url, at)
    start = slashes.end() if slashes is not None else at
    authority = _AUTHORITY.match(url, start)
    written = authority[0] if authority is not None else ""
    marks: list[LinkMark] = []
    if url[at:start] != "//" or url[start + len(written) : start + len(written) + 1] == "\\":
        marks.append("slashes")
    _, before, host = written.rpartition("@")
    if before:
        marks.append("userinfo")
    port = ""
    if host.startswith("["):
        host, _, port = host.partition("]")
    else:
        host, _, port = host.partition(":")
    port = port.lstrip(":")
    if port.isdigit() and port.lstrip("0") not in (_WEB[scheme], ""):
        marks.append("port")
    read = _host_of(host, reading, part)
    if not read.host:
        return None
    return Address(scheme, read.host, (*marks, *read.marks))


def _of_share(url: str, at: int, reading: Reading, part: int) -> Address | None:
    """A file, local or of a share: two or four slashes of either kind before a host; Windows has more behind `@`."""
    slashes = _SLASHES.match(url, at)
    start = slashes.end() if slashes is not None else at
    authority = _AUTHORITY.match(url, start)
    written = authority[0] if authority is not None else ""
    if start - at not in (2, 4, 5) or not written or _DRIVE.fullmatch(written[:2]) or written.lower() == "localhost":
        return Address("file", "")
    host, behind, _ = written.partition("@")
    host, colon, _ = host.partition(":")
    read = _host_of(host, reading, part)
    return Address("file", read.host, (*read.marks, *(("port",) if behind or colon else _NO_MARKS)))


def _of_application(scheme: str, url: str, at: int, reading: Reading, part: int) -> Address:
    rest = url[at:]
    if scheme == "mailto":
        address = unquote(rest.partition("?")[0].partition(",")[0]).strip()
        return Address(scheme, address_domain(read_address(address, reading, part)))
    if scheme in _NO_INSIDE:
        return Address(scheme, "")
    slashes = _SLASHES.match(rest)
    start = slashes.end() if slashes is not None else 0
    authority = _AUTHORITY.match(rest, start)
    written = authority[0] if authority is not None and start == 2 else ""
    if scheme in _OVER_NETWORK and written:
        return Address(scheme, _host_of(written.rpartition("@")[2].partition(":")[0], reading, part).host)
    inside = _inside(_content_of(rest) if scheme == "data" else rest)
    if inside:
        return Address(scheme, "", _NO_MARKS, inside)
    if "." in written and scheme not in ("data", "javascript", "vbscript"):
        host = written.rpartition("@")[2].partition(":")[0]
        if is_top_level(host.rpartition(".")[2].lower()):
            return Address(scheme, _host_of(host, reading, part).host)
    return Address(scheme, "")


def _content_of(rest: str) -> str:
    """What a data: address holds, as text."""
    head, _, content = rest.partition(",")
    if not head.rstrip().lower().endswith("base64"):
        return content
    letters = re.sub(r"[^A-Za-z0-9+/_-]", "", unquote(content))
    try:
        return base64.b64decode(letters[: len(letters) // 4 * 4], altchars=b"-_").decode("utf-8", "replace")
    except ValueError:
        return ""


def _inside(text: str) -> str:
    """The first address inside of another one's text, beside names of XML namespaces; "" without one."""
    for found in _INSIDE.finditer(unquote(text) if "%" in text else text):
        if "//www.w3.org/" not in found[0]:
            return clean(found[0])
    return ""


class _Host(NamedTuple):
    host: str
    marks: tuple[LinkMark, ...]


def _host_of(written: str, reading: Reading, part: int) -> _Host:
    """A host in its one form; "" where there is none."""
    marks: list[LinkMark] = []
    if written.startswith("["):
        return _Host(_ip6(written[1:]), ())
    if "%" in written:
        marks.append("encoded_host")
        written = unquote(written)
    host = read_host(clean(written), reading, "links", part)
    if not host or any(c.isspace() for c in host):
        return _Host("", ())
    if not written.isascii() and (host.isascii() and "xn--" not in host):
        marks.append("wide_host")
    last = host.rpartition(".")[2]
    if last and last[0].isdigit():
        number = _ip4(host)
        if number and number != host:
            marks.append("ip_form")
        host = number or host
    return _Host(host, tuple(marks))


def _ip4(host: str) -> str:
    """An IPv4 address in four decimal numbers, of any form that browsers take for one; "" for what is none."""
    if _DOTTED.fullmatch(host) and not any(len(n) > 1 and n[0] == "0" for n in host.split(".")):
        return host if all(int(n) < 256 for n in host.split(".")) else ""
    numbers: list[int] = []
    for label in host.split("."):
        number = _NUMBER.fullmatch(label[:70])
        if number is None or len(label) > 70 or len(numbers) == 4:
            return ""
        if number[1] is not None:
            numbers.append(int(number[1] or "0", 16))
        else:
            numbers.append(int(number[2], 8) if number[2] is not None else int(number[3]))
    *front, last = numbers
    if any(n > 255 for n in front) or last >= 256 ** (4 - len(front)):
        return ""
    value = last + sum(n << 8 * (3 - place) for place, n in enumerate(front))
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))


def _ip6(written: str) -> str:
    try:
        return ipaddress.IPv6Address(written).compressed
    except ValueError:
        return written.lower()[:100]
