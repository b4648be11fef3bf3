"""Imported by the server that scoring processes are forked off: what each would import or compile is paid here once.

Nothing is compiled, and no suffix list read, on the account of a message. What is loaded by then is left out of garbage
collections in the processes forked off: a collection writes to all that it looks through, and each would have a copy.
"""

from __future__ import annotations

import gc
from importlib import import_module

from mailwarden.domain.aggregates.online.packed_fold import compile_fold
from mailwarden.domain.mail.campaigns import hashed_words, signature_of_words
from mailwarden.domain.mail.message import Envelope
from mailwarden.ingest.containers.openers import load_openers
from mailwarden.ingest.receive import Site, receive
from mailwarden_detectors import discover as discover_detectors
from mailwarden_features.discovery import FOLDER

_MESSAGE = b"""From: Ann <ann@partner.example>
To: bob@company.example
Subject: =?utf-8?q?gr=C3=BCn?=
Received: from a.example ([192.0.2.1]) by b.example for <bob@company.example>; Mon, 5 Jan 2026 10:00:00 +0000
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html; charset=utf-8

<p style="color: red">See <a href="https://www.partner.example/a?b=c">www.partner.example</a>, b&uuml;cher.example</p>
--b
Content-Type: application/pdf; name=a.pdf

%PDF-1.4
--b--
"""

for _folder in sorted(FOLDER.glob("content_*/")):
    import_module(f"mailwarden_features.{_folder.name}.transform")
# What one team's folder lacks must not keep the others from serving.
discover_detectors(unread={}, every=True)
load_openers()
signature_of_words(hashed_words("compiled by now")[0])
# The feature writer finds it on disk, so that no accepted message waits for a compiler to be folded.
compile_fold()
receive(_MESSAGE, Envelope(), Site("", frozenset({"company.example"})))
gc.collect()
gc.freeze()
