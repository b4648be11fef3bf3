"""What was found inside of a message's files, one level apart from what its reader sees at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mailwarden.domain.mail.message import Url

Trait = Literal[
    "archive", "executable", "script", "shortcut", "double_extension", "disguised_name",
    "macros", "auto_macros", "macro_calls", "remote_template", "external_link", "dde", "embedded_file",
    "javascript", "auto_action", "launch", "form", "password_field", "smuggling", "obscured_script", "redirect",
    "image_only", "encrypted", "damaged", "over_budget", "unopened",
]  # fmt: skip
"""What is so about a file.

archive: a file of files. executable: it runs on a click; script, shortcut: it does so as text, or by leading to what
runs. double_extension, disguised_name: see `domain.mail.file_names`. macros: it holds code; auto_macros: that starts
by itself; macro_calls: that starts programs or fetches files. remote_template: a document takes its template, frame or
object from elsewhere; external_link: another part of it. dde: a field that starts a program. embedded_file: a file
packed into a document. javascript: of a PDF or SVG; auto_action: done when it is opened; launch: starts a program.
form, password_field, redirect: of a page or PDF. smuggling: a page that puts a file together for saving.
obscured_script: a page that writes itself out of encoded text. image_only: pages without text. encrypted, damaged,
over_budget: not read in full, and why. unopened: a container of a kind that nobody here opens.
"""

UNREAD: tuple[Trait, ...] = ("encrypted", "damaged", "over_budget", "unopened")
"""Traits of a file that may hold what nobody here saw."""


@dataclass(frozen=True, slots=True)
class InnerFile:
    """A file that was looked into, or that lies in one.

    depth: 0 an attachment that was looked into, 1 a file in it, and so on. name: as the container has it, "" where it
    has none. content_type: detected from the bytes, "application/octet-stream" where they were not read. size: bytes,
    as the container says. sha256: hex, "" where not all was read. traits: sorted. text, urls: what a reader of it sees
    and may follow, bounded over the whole message.
    """

    depth: int
    name: str
    content_type: str
    size: int
    sha256: str
    traits: tuple[Trait, ...] = ()
    text: str = ""
    urls: tuple[Url, ...] = ()
