"""What of a message is encrypted, as far as its outside says: nobody but the addressee reads that."""

from __future__ import annotations

from mailwarden.ingest.mime import Leaf, Tree

SMIME_TYPES = frozenset(("application/pkcs7-mime", "application/x-pkcs7-mime"))
"""Parts that are an envelope of CMS, whichever."""
_ENVELOPES = frozenset(("enveloped-data", "authenveloped-data"))
_PGP = "-----BEGIN PGP MESSAGE-----"


def has_encrypted_body(tree: Tree) -> bool:
    """Whether a part is an envelope of PGP/MIME or S/MIME. Source: RFC 1847 section 2.2, RFC 8551 section 3.2.2."""
    return "multipart/encrypted" in tree.types or any(map(is_envelope, tree.leaves))


def is_encrypted_text(text: str) -> bool:
    """Whether a text is a PGP message in place of what was written. Source: RFC 4880 section 6.2."""
    return text[:1_000].lstrip().startswith(_PGP)


def is_envelope(leaf: Leaf) -> bool:
    """Whether a part says that it is encrypted, as S/MIME says it."""
    return leaf.content_type in SMIME_TYPES and leaf.parameters.get("smime-type", "").lower() in _ENVELOPES
