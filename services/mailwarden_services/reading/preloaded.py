"""Imported by the server that reading processes are forked off, so that none compiles anything on a message's time."""

from __future__ import annotations

from mailwarden.domain.mail.campaigns import hashed_words, signature_of_words

signature_of_words(hashed_words("compiled by now")[0])
