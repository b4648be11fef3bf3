"""Which language a text is in, guessed by its script and its commonest words: good enough to tell slices apart."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mailwarden.evaluation.coded import NONE, Coded

READ = 600
"""Characters of a text that are looked at."""

_LEAST = 3
"""So many of its words, or letters of its script, make a language."""

_WORDS = {
    "de": "und|der|die|das|nicht|ist|ein|eine|mit|sie|ich|auf|dem|den|von|zu|wir|bitte|ihre",
    "en": "the|and|of|to|is|in|for|you|your|that|this|with|on|are|have|be|we|please|from",
    "es": "el|los|las|que|del|por|una|con|para|su|se|es|como|usted|este|pero|muy",
    "fr": "le|les|des|et|est|une|que|pour|dans|vous|nous|sur|pas|votre|avec|du|au|ce",
    "it": "il|che|di|per|una|non|sono|con|della|gli|nel|questo|alla|suo|come|ho",
    "nl": "het|een|van|en|niet|dat|is|op|voor|met|zijn|aan|uw|wij|ook|naar",
    "pt": "que|não|uma|para|com|os|do|da|em|por|seu|você|mais|dos|ao|foi",
}
_SCRIPTS = {
    "ar": r"\p{Arabic}",
    "el": r"\p{Greek}",
    "he": r"\p{Hebrew}",
    "ja": r"[\p{Hiragana}\p{Katakana}]",
    "ko": r"\p{Hangul}",
    "ru": r"\p{Cyrillic}",
    "zh": r"\p{Han}",
}
LANGUAGES = tuple(sorted({**_WORDS, **_SCRIPTS}))

_LETTERS_A_WORD = 4
"""A script's letters count as words of so many."""


def languages_of(texts: pa.Array) -> Coded:
    """The language of each text, none where it is too short to tell, or null.

    ru stands for all that is written in Cyrillic letters, ar in Arabic ones; Han with kana is ja.
    """
    cut = pc.utf8_lower(pc.utf8_slice_codeunits(pc.fill_null(texts.cast(pa.large_string()), ""), 0, READ))
    counts = []
    for language in LANGUAGES:
        pattern = rf"\b(?:{_WORDS[language]})\b" if language in _WORDS else _SCRIPTS[language]
        found = pc.count_substring_regex(cut, pattern).to_numpy(zero_copy_only=False).astype(np.float64)
        counts.append(found if language in _WORDS else found / _LETTERS_A_WORD)
    table = np.stack(counts)
    kana, han = LANGUAGES.index("ja"), LANGUAGES.index("zh")
    table[kana] += np.where(table[kana] > 0, table[han], 0.0)
    best = np.argmax(table, axis=0)
    codes = np.where(table.max(axis=0, initial=0.0) >= _LEAST, best, NONE)
    return Coded(codes.astype(np.int32), LANGUAGES)
