"""Charset labels as mail has them, and the codec that what is labelled so is in practice written in."""

from __future__ import annotations

import codecs
import encodings.aliases
import re
from functools import lru_cache

JIS = "jis escapes"
EUC_JP = "euc-jp with rows of NEC"
"""Two readings of `charsets` and no codecs of Python: of ISO-2022-JP and EUC-JP with what vendors added to them."""

# WHATWG Encoding: what is labelled with the left is in practice written in the right.
_SUPERSETS = {
    "ascii": "utf_8",
    "latin_1": "cp1252",
    "iso8859_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "tis_620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "big5": "big5hkscs",
    "euc_jp": EUC_JP,
    "iso2022_jp": JIS,
    "iso2022_jp_1": JIS,
    "iso2022_jp_ext": JIS,
}
# Labels seen in mail that Python's alias table lacks.
_LABELS = {
    "ks_c_5601": "cp949",
    "ks_c_5601_1989": "cp949",
    "ksc_5601": "cp949",
    "gb_2312": "gb18030",
    "gb2312_80": "gb18030",
    "gb_2312_80": "gb18030",
    "utf_8_mac": "utf_8",
    "cn_gb": "gb18030",
    "cn_big5": "big5hkscs",
    "sjis": "cp932",
    "mac_roman": "mac_roman",
    "mac_ukrainian": "mac_cyrillic",
    "dos_874": "cp874",
    "koi": "koi8_r",
    "koi8": "koi8_r",
    "koi8_ru": "koi8_u",
    "latin9": "iso8859_15",
    "latin0": "iso8859_15",
    "unicode_1_1_utf_7": "utf_7",
    "unicode_2_0_utf_7": "utf_7",
    "unicode_2_0_utf_8": "utf_8",
    "utf8mb4": "utf_8",
    "utf_8": "utf_8",
    "utf8": "utf_8",
    "unicode": "utf_16",
    "ucs_2": "utf_16",
    "ucs2": "utf_16",
    "iso_10646_ucs_2": "utf_16",
    "us_ascii": "ascii",
    "ascii_8bit": "cp1252",
    "ansi": "cp1252",
    "ansi_x3_110_1983": "ascii",
    "eucjp_ms": EUC_JP,
    "eucjpms": EUC_JP,
    "iso_2022_jp_ms": JIS,
}
_PAGES = {
    "cp50220": JIS,
    "cp50221": JIS,
    "cp50222": JIS,
    "cp51932": EUC_JP,
    "cp51949": "cp949",
    "cp51936": "gb18030",
    "cp54936": "gb18030",
    "cp52936": "hz",
    "cp31j": "cp932",
    "cp20127": "ascii",
    "cp20866": "koi8_r",
    "cp21866": "koi8_u",
    "cp1200": "utf_16",
    "cp65000": "utf_7",
}
_WITHOUT_ALIAS = frozenset(("koi8_t", "koi8_u", "cp720", "cp737", "cp856", "cp874", "cp875", "cp1006", "mac_farsi"))
_TEXT_CODECS = (frozenset(encodings.aliases.aliases.values()) | _WITHOUT_ALIAS) - {
    "base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec", "mbcs", "oem",
    "punycode", "idna", "undefined", "unicode_escape", "raw_unicode_escape",
}  # fmt: skip
_NOT_WORD = re.compile(r"[^a-z0-9]+")
_PAGE = re.compile(r"(?:windows|win|cp|ms|ibm)_?(?:cp_?)?(\d{2,5}j?)")
_ISO = re.compile(r"(?:iso|cs)?_?8859_?(\d{1,2})(?:_[ei])?")


@lru_cache(maxsize=1024)
def codec_for(label: str) -> str | None:
    """The codec to read a charset label with, None where the label is unknown or names no text encoding.

    Only names of a fixed table are tried: a look-up in Python's registry imports modules by the sender's wish.
    """
    name = _NOT_WORD.sub("_", label[:60].lower()).strip("_")
    codec = _known(name)
    if codec is None and name.startswith("x_"):
        codec = _known(name[2:])
    return codec


def _known(name: str) -> str | None:
    codec = _LABELS.get(name) or encodings.aliases.aliases.get(name)
    if codec is None:
        if (page := _PAGE.fullmatch(name)) is not None:
            name = f"cp{page[1]}"
        elif (iso := _ISO.fullmatch(name)) is not None:
            name = f"iso8859_{iso[1]}"
        codec = _PAGES.get(name) or encodings.aliases.aliases.get(name, name)
    codec = _SUPERSETS.get(codec, codec)
    if codec in (JIS, EUC_JP):
        return codec
    if codec not in _TEXT_CODECS:
        return None
    try:
        codecs.lookup(codec)
    except LookupError:
        return None
    return codec
