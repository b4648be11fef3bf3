"""Bytes to text whatever charset they claim: superset codecs, honest fall-backs, and strings UTF-8 can hold."""

from __future__ import annotations

import codecs
import encodings.aliases
import re
from functools import lru_cache

from mailwarden.ingest.reading import Reading

# WHATWG Encoding: what is labelled with the left is in practice written in the right.
_SUPERSETS = {
    "ascii": "utf-8",
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
}
# Labels seen in mail that Python's alias table lacks.
_LABELS = {
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "ks_c_5601": "cp949",
    "x_gbk": "gb18030",
    "x_sjis": "cp932",
    "x_big5": "big5hkscs",
    "x_mac_roman": "mac_roman",
    "windows_874": "cp874",
    "unicode_1_1_utf_7": "utf_7",
    "utf8mb4": "utf_8",
    "utf_8": "utf_8",
    "utf8": "utf_8",
    "us_ascii": "ascii",
    "ascii_8bit": "cp1252",
    "ansi_x3_110_1983": "ascii",
}
_TEXT_CODECS = frozenset(encodings.aliases.aliases.values()) - {
    "base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec", "mbcs", "oem",
    "punycode", "idna", "undefined", "unicode_escape", "raw_unicode_escape",
}  # fmt: skip
_PIECE = 1_024
_NOT_WORD = re.compile(r"[^a-z0-9]+")


@lru_cache(maxsize=1024)
def codec_for(label: str) -> str | None:
    """The codec to read a charset label with, None where the label is unknown or names no text encoding.

    Only names of a fixed table are tried: a look-up in Python's registry imports modules by the sender's wish.
    """
    name = _NOT_WORD.sub("_", label[:60].lower()).strip("_")
    codec = _LABELS.get(name) or encodings.aliases.aliases.get(name)
    if codec is None:
        if name not in _TEXT_CODECS and name.startswith("windows_"):
            name = "cp" + name[8:]
        codec = name
    if codec not in _TEXT_CODECS:
        return None
    codec = _SUPERSETS.get(codec, codec)
    try:
        codecs.lookup(codec)
    except LookupError:
        return None
    return codec


def clean(text: str) -> str:
    """The text without NUL and lone surrogates, which neither UTF-8 nor a database can hold."""
    if "\0" in text:
        text = text.replace("\0", "")
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def decode(data: bytes, label: str, reading: Reading, part: int = 0) -> str:
    """Text of `data` as its charset label says; where that cannot be, the likeliest reading and a defect.

    label: "" where none was given.
    """
    if data.isascii():
        codec = codec_for(label) if label else "utf-8"
        if label and codec is None:
            reading.defect("charset_unknown", label, part)
        # Seven-bit bytes read the same everywhere but in the escaping and the wide encodings.
        if codec is None or not codec.startswith(("utf_7", "iso2022", "hz", "utf_16", "utf_32", "cp037", "cp5")):
            return clean(data.decode("ascii"))
    else:
        codec = codec_for(label) if label else None
        if codec is None:
            reading.defect("charset_unknown" if label else "charset_missing", label, part)
    if codec is not None:
        try:
            return clean(data.decode(codec))
        except (UnicodeError, ValueError):
            if codec != "cp1252":
                reading.defect("charset_mismatch", label, part)
    return clean(_guess(data, codec))


def _guess(data: bytes, codec: str | None) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    # A codec that fits but for a few bytes tells more than a reading that is wrong throughout.
    if codec is not None:
        text = _nearly(data, codec, 100 if codec in ("utf-8", "utf_8") else 20)
        if text is not None:
            return text
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


_MARKS = {
    "utf_16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf_32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
"""Byte order marks by the codec that looks for one."""


def _nearly(data: bytes, codec: str, one_in: int) -> str | None:
    """The text where at most one character in `one_in` cannot be read, else None.

    By pieces, and given up once there are too many: replacing costs a thousand times what reading does.
    """
    if codec in _MARKS and not data.startswith(_MARKS[codec]):
        codec += "_le"  # reading by pieces asks for a byte order mark, reading at once does not
    decoder = codecs.getincrementaldecoder(codec)("replace")
    pieces: list[str] = []
    bad = 0
    for start in range(0, len(data), _PIECE):
        try:
            pieces.append(decoder.decode(data[start : start + _PIECE], start + _PIECE >= len(data)))
        except UnicodeError:
            return None  # some give up whatever they are told, as one of shifts that never end
        bad += pieces[-1].count("\ufffd")
        # No text has more characters than bytes.
        if bad * one_in > len(data):
            return None
    text = "".join(pieces)
    return text if bad * one_in <= len(text) else None
