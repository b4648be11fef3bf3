"""Which results of authentication mail bears that its tenant believes nobody's: so that whoever ingests it is told."""

from __future__ import annotations

import re

from mailwarden.ingest.results import read_results

_HEAD = 32_768
_END = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(rb"^authentication-results:((?:[^\r\n]|\r?\n[ \t])*)", re.IGNORECASE | re.MULTILINE)


def topmost_server(raw: bytes) -> str:
    """The authserv-id of the topmost Authentication-Results field, in lower case; "" where there is none.

    Looks at the first 32 KiB alone: a hint, and nothing that is believed.

    >>> topmost_server(b"Received: x\\r\\nAuthentication-Results: MX.acme.example;\\r\\n\\tdkim=pass\\r\\n\\r\\nText")
    'mx.acme.example'
    """
    head = raw[:_HEAD]
    end = _END.search(head)
    found = _FIELD.search(head if end is None else head[: end.start()])
    if found is None:
        return ""
    value = re.sub(rb"\r?\n", b"", found[1]).decode("ascii", "replace")
    return read_results(value.strip()).authserv_id
