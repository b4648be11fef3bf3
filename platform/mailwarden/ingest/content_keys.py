"""What makes a message the same one whichever way it came: a digest of what its writer wrote, without what carried it.

It is taken over each part as it was before its transfer encoding, in order, with how it is shown and where it stands,
over the types of all parts, and over the fields that say whom the message is from, when, about what, and where an
answer to it goes. Trace, authentication and fields
that mail systems add, ours included, are no part of it. `docs/adr/0027` says what an attacker gains by making two
messages alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache

from mailwarden.domain.status import Status
from mailwarden.ingest.charset_labels import codec_for
from mailwarden.ingest.headers import HeaderBlock, one_line
from mailwarden.ingest.mime import Leaf
from mailwarden.ingest.reading import Reading

FIELDS = (
    "from", "date", "message-id", "subject",
    "sender", "reply-to", "to", "cc", "in-reply-to", "references", "list-unsubscribe",
)  # fmt: skip
"""Fields that a key covers: those that tell messages apart, then what a reader's answer and thread depend on."""

PARAMETERS = ("charset", "format", "delsp", "smime-type", "access-type", "url")
"""Parameters of a part's type that a key covers: by these its bytes are read, or something else is shown."""

_SIZE = 20
_HASH_THEMSELVES = ("base64", "x-uuencode")
_WHOLE = frozenset((Status.PRESENT, Status.ENCRYPTED))
_NEEDED = frozenset(("headers", "text", "attachments"))


def key_of_bytes(content_sha256: str) -> str:
    """The key of a message that was not read in full: of its raw bytes, trace and all."""
    return f"raw:{content_sha256[: 2 * _SIZE]}"


class ContentKey:
    """Takes in a message's parts as they are decoded, each once."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=_SIZE)
        self._parts = 0
        self._whole = True

    def add(self, leaf: Leaf, data: bytes, sha256: Callable[[bytes], str]) -> None:
        """Take in the decoded part. sha256: its digest, which is computed once a file.

        A file comes as it is; of text, and of what was sent in lines, the ends of lines are the carrier's.
        """
        self._parts += 1
        digest = self._digest
        how = (leaf.content_type, leaf.filename, leaf.disposition)
        # Which part is a multipart's root, and what its root refers to, decide which of them is shown.
        where = (leaf.index, leaf.parent, leaf.place, leaf.content_id, leaf.alternatives)
        read_by = [(name, leaf.parameters[name]) for name in PARAMETERS if name in leaf.parameters]
        written = f"{how}{where}{read_by}".encode("utf-8", "surrogatepass")
        if _is_exact(leaf, data):
            digest.update(b"%d:%b=%b" % (len(written), written, sha256(data).encode()))
            return
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        end = len(data)
        while end and data[end - 1] == 10:
            end -= 1
        digest.update(b"%d:%b%d:" % (len(written), written, end))
        digest.update(data if end == len(data) else memoryview(data)[:end])

    def check(self, reading: Reading) -> None:
        """Take note of whether anything was left out of what was read so far."""
        self._whole = self._whole and all(
            status in _WHOLE for aspect, status in reading.not_read() if aspect in _NEEDED
        )

    def of(self, block: HeaderBlock, types: Sequence[str], parts: int, content_sha256: str) -> str:
        """The key, 40 hex digits; `key_of_bytes` where not all of so many parts was read. types: of all, as in `Tree`.

        "" where neither Message-ID nor Date tells the message from others: then only its bytes and envelope do.
        """
        fields = [[one_line(value) for value in block.all(name)] for name in FIELDS]
        _, date, message_id, *_ = fields
        if not any(date) and not any(message_id):
            return ""
        if not self._whole or self._parts < parts:
            return key_of_bytes(content_sha256)
        # What stands here begins as no part does, so that no field passes for one.
        said = [f"types {len(types)}:", *types, *(f"{len(values)}:" + "\n".join(values) for values in fields)]
        self._digest.update("\n".join(said).encode("utf-8", "surrogatepass"))
        return self._digest.hexdigest()


def _is_exact(leaf: Leaf, data: bytes) -> bool:
    """Whether every byte of a part is its writer's, as those of files are, so that two files never count as one."""
    if b"\0" in data or _is_wide(leaf.parameters.get("charset", "")[:60]):
        # The bytes of a line end are halves of other characters there, or mean something else altogether.
        return True
    if leaf.content_type.startswith("text/") and leaf.disposition != "attachment" and not leaf.filename:
        return False
    if leaf.transfer_encoding == "quoted-printable":
        return b"=0D" in leaf.data or b"=0d" in leaf.data
    return leaf.transfer_encoding in _HASH_THEMSELVES


@lru_cache(maxsize=1_000)
def _is_wide(label: str) -> bool:
    """Whether a charset has characters of two or four bytes each."""
    return (codec_for(label.strip().strip("'\"")) or "").startswith(("utf_16", "utf_32"))
