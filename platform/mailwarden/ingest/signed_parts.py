"""Opaque signed parts (S/MIME): what was signed takes the part's place among those of the message.

Source: RFC 8551 sections 3.2 and 3.5.2.
"""

from __future__ import annotations

from mailwarden.domain.status import Status
from mailwarden.ingest.budget import BODY, ENVELOPES
from mailwarden.ingest.containers.contents import Contents
from mailwarden.ingest.containers.signed import is_entity, read_envelope, unwrapped
from mailwarden.ingest.encrypted import is_envelope
from mailwarden.ingest.headers import read_headers
from mailwarden.ingest.mime import Leaf, Tree, walk_parts
from mailwarden.ingest.reading import Reading


def add_signed(leaf: Leaf, data: bytes, tree: Tree, reading: Reading) -> bool:
    """Add the parts of what was signed (or compressed) behind those of the tree, the message's reader shows them.

    False where the part is another envelope, or holds a file: that one is an attachment. Nobody looks at the signature.
    """
    found = read_envelope(data)
    if found is None:
        if data and not is_envelope(leaf):
            reading.defect("envelope_unreadable", "", leaf.index)
            reading.unread("inner", Status.DAMAGED)
        return False
    if found.kind == "enveloped":
        for aspect in BODY:
            reading.unread(aspect, Status.ENCRYPTED)
        return False
    if found.kind == "detached" or not reading.take(ENVELOPES, 1, leaf.index):
        return False
    inside = unwrapped(found, Contents(reading, leaf.index))
    if not is_entity(inside):
        return False
    headers = read_headers(inside, 0, len(inside), reading, len(tree.types))
    walk_parts(inside, headers, reading, tree)
    return True
