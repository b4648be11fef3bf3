"""What of a message is encrypted, as far as its outside says: nobody but the addressee reads that."""

from __future__ import annotations

from mailwarden.ingest.mime import Leaf, Tree

_SMIME = frozenset(("application/pkcs7-mime", "application/x-pkcs7-mime"))
_ENVELOPES = frozenset(("enveloped-data", "authenveloped-data"))
_PGP = "-----BEGIN PGP MESSAGE-----"
_ZIP = b"PK\3\4"
_OFFICE = "application/x-ole-encrypted-package"


def has_encrypted_body(tree: Tree) -> bool:
    """Whether a part is an envelope of PGP/MIME or S/MIME. Source: RFC 1847 section 2.2, RFC 8551 section 3.2.2."""
    return "multipart/encrypted" in tree.types or any(map(_is_envelope, tree.leaves))


def is_encrypted_text(text: str) -> bool:
    """Whether a text is a PGP message in place of what was written. Source: RFC 4880 section 6.2."""
    return text[:1_000].lstrip().startswith(_PGP)


def is_encrypted_file(data: bytes, content_type: str) -> bool:
    """Whether a file of this detected type is an archive whose first member is encrypted, or an encrypted Office file.

    Source: PKWARE's APPNOTE.TXT section 4.4.4, bit 0; [MS-OFFCRYPTO] section 2.3.4.4.
    """
    return content_type == _OFFICE or (data.startswith(_ZIP) and len(data) > 6 and data[6] & 1 == 1)


def _is_envelope(leaf: Leaf) -> bool:
    return leaf.content_type in _SMIME and leaf.parameters.get("smime-type", "").lower() in _ENVELOPES
