"""Bytes to text whatever charset they claim: superset codecs, honest fall-backs, and strings UTF-8 can hold."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from mailwarden.ingest.charset_labels import EUC_JP, JIS, codec_for
from mailwarden.ingest.japanese import from_escapes, from_euc
from mailwarden.ingest.reading import Reading

GUESSED_BYTES = 1_500
"""Bytes that a guess of the charset looks at: words that are not ASCII, so that markup costs nothing."""

_LOOKED_AT = 4_096
_PIECE = 1_024
# Neither bracket is part of a character of several bytes in any charset.
_WORD_BEYOND_ASCII = re.compile(rb"[\x80-\xff][^\s<>]{0,200}+")
_BEFORE = 6
_ESCAPES = re.compile(rb"\x1b\$[@B(]")
# Words of scripts other than Latin, where a Western charset is claimed: blanks that do not break stand in rows too.
_RUN_OF_HIGH = 6
_NOT_WESTERN = re.compile(rb"[\x81-\x9f\xa1-\xff]{%d}" % _RUN_OF_HIGH)
_MAY_BE_WESTERN = bytes((*range(0x81), 0xA0))
_C1 = re.compile("[\x80-\x9f]")
_C1_AS_WRITTEN = {
    byte: character
    for byte in range(0x80, 0xA0)
    if (character := bytes((byte,)).decode("cp1252", "replace")) != "\ufffd"
}
_WIDE = ("utf_16", "utf_32")
_MARKS = {
    "utf_16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf_32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
"""Byte order marks by the codec that looks for one."""
_NOT_ASCII = ("utf_7", "hz", "iso2022", "utf_16", "utf_32", "cp037", "cp5", "cp1026", "cp1140", "cp273", "cp424")
_WESTERN = frozenset(("cp1252", "iso8859_15", "cp1250", "cp1254", "iso8859_2", "mac_roman"))
_LATIN = _WESTERN | {"cp1257", "iso8859_3", "iso8859_4", "iso8859_10", "iso8859_13", "iso8859_14", "iso8859_16"}
_OTHER = frozenset((
    "gb18030", "cp949", "cp932", "big5hkscs", "cp1251", "koi8_r", "koi8_u", "iso8859_5", "cp866", "cp1253", "iso8859_7",
    "cp1255", "iso8859_8", "cp1256", "iso8859_6", "cp874",
))  # fmt: skip
_RUN = re.compile(rb"[\x80-\xff]{3}")
_JAPANESE: dict[str, tuple[str, Callable[[bytes], bytes | None]]] = {
    JIS: ("iso2022_jp_ext", from_escapes),
    EUC_JP: ("euc_jp", from_euc),
    # Later editions, with sets that Python knows, and in mail with rows of NEC that it does not.
    **{name: (name, from_escapes) for name in ("iso2022_jp_2", "iso2022_jp_3", "iso2022_jp_2004")},
}
_ESCAPING = frozenset(_JAPANESE) - {EUC_JP}
_ASCII = bytes(range(128))
_LEAST_GUESSED = 6
"""Bytes beyond ASCII that a guess needs: fewer are a Western word more often than another script's."""
_LEAST_DIFFERENT = 5
"""Different ones among them: rows of dots and dashes are no language."""
_LEAST_HIGH = 12
"""Bytes beyond ASCII of a text in another multi-byte charset, from which on being valid UTF-8 is no chance."""


def _euro(error: UnicodeError) -> tuple[str, int]:
    """The euro as Windows writes it in GBK (0x80) and in Big5 (0xA3 0xE1), which Python's codecs lack (WHATWG)."""
    if isinstance(error, UnicodeDecodeError):
        written = _EURO_IN["gb18030" if error.encoding.startswith("gb") else "big5hkscs"]
        if error.object.startswith(written, error.start):
            return "\u20ac", error.start + len(written)
    raise error


_EURO = "mailwarden.euro"
_EURO_IN = {"gb18030": b"\x80", "big5hkscs": b"\xa3\xe1"}
_MAX_EUROS = 2_000
"""Bytes of a text that may be a euro: each that is one is read by an interpreter."""
codecs.register_error(_EURO, _euro)


def _on_error(codec: str, data: bytes) -> str:
    written = _EURO_IN.get(codec)
    return _EURO if written is not None and data.count(written) <= _MAX_EUROS else "strict"


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

    label: "" where none was given. Defects: charset_missing, charset_unknown; charset_mismatch where the bytes are not
    what the label says; charset_guessed where no label decided; charset_utf7, which few readers still decode.
    """
    codec = codec_for(label) if label else None
    if data.isascii():
        if label and codec is None:
            reading.defect("charset_unknown", label, part)
        return clean(_seven_bit(data, codec, label, reading, part))
    if codec is None:
        reading.defect("charset_unknown" if label else "charset_missing", label, part)
    marked = _by_mark(data)
    if marked is not None:
        return clean(marked)
    text = None if codec is None else _as_declared(data, codec, label, reading, part)
    if text is None:
        if codec not in (None, "cp1252"):
            reading.defect("charset_mismatch", label, part)
        text = _guess(data, codec, reading, part)
    return clean(text)


def decode_unlabelled(data: bytes, likely: str, reading: Reading, part: int = 0) -> str:
    """Text of eight-bit bytes where no label can stand, as in a header field.

    likely: the charset label that stands nearby, "" without; readers take that where the bytes are no UTF-8.
    """
    codec = codec_for(likely) if likely else None
    # A label of another script is not this field's where its words are of Latin letters.
    if codec in _LATIN or (codec in _OTHER and _RUN.search(data) is not None):
        try:
            return clean(data.decode(codec or ""))
        except UnicodeDecodeError:
            pass
    return clean(_guess(data, None, reading, part))


def _seven_bit(data: bytes, codec: str | None, label: str, reading: Reading, part: int) -> str:
    # Seven-bit bytes read the same everywhere but in the escaping and the wide encodings.
    if codec in _ESCAPING or (b"\x1b" in data and not (codec or "").startswith("iso2022") and _ESCAPES.search(data)):
        if codec not in _ESCAPING:
            reading.defect("charset_guessed", "iso-2022-jp", part)
            codec = JIS
        text = _japanese(data, codec or JIS)
        if text is None:
            reading.defect("charset_mismatch", label, part)
        return text or data.decode("ascii")
    if codec is None or not codec.startswith(_NOT_ASCII):
        return data.decode("ascii")
    if codec == "utf_7":
        reading.defect("charset_utf7", label, part)
    if codec.startswith(_WIDE) and b"\0" not in data:
        # Without a single NUL these are letters of one byte each, whatever the label says.
        reading.defect("charset_mismatch", label, part)
        return data.decode("ascii")
    try:
        return data.decode(_with_order(codec, data))
    except (UnicodeError, ValueError):
        reading.defect("charset_mismatch", label, part)
    # The codec of UTF-7 takes a square of the length where it has to replace.
    nearly = None if codec == "utf_7" else _nearly(data, codec, 20)
    return nearly or data.decode("ascii")


def _by_mark(data: bytes) -> str | None:
    """Text that begins with a byte order mark, whatever its label says, as browsers have it."""
    if data.startswith(b"\xef\xbb\xbf"):
        codec = "utf-8"
    elif data.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\0" in data:
        codec = "utf-32" if data.startswith((b"\xff\xfe\0\0",)) else "utf-16"
    else:
        return None
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return None


def _as_declared(data: bytes, codec: str, label: str, reading: Reading, part: int) -> str | None:
    """The text as the label has it, or as UTF-8 where it is that beyond doubt; None where the label cannot be."""
    if codec in _JAPANESE:
        return _japanese(data, codec) if _is_japanese(data, codec) else None
    if codec == "utf_7":
        reading.defect("charset_utf7", label, part)
    if not codec.startswith(("utf", "hz", "iso2022")):
        text = _if_utf8(data, 2 if codec in _WESTERN else _LEAST_HIGH)
        if text is not None:
            reading.defect("charset_mismatch", label, part)
            return text
        # Counted first, which costs a fifth of looking for a run.
        high = len(data.translate(None, _MAY_BE_WESTERN)) if codec in _WESTERN else 0
        if high >= _RUN_OF_HIGH and _NOT_WESTERN.search(data) is not None:
            text = _detected(data, codec, reading, part)
            if text is not None:
                return text
    try:
        text = data.decode(_with_order(codec, data), _on_error(codec, data))
    except (UnicodeError, ValueError):
        return None
    if codec.startswith("iso8859") and _C1.search(text) is not None:
        text = text.translate(_C1_AS_WRITTEN)
    return text


def _with_order(codec: str, data: bytes) -> str:
    """The codec with the byte order that unmarked text has by where its NULs stand; Python takes the machine's."""
    if codec not in _MARKS or data.startswith(_MARKS[codec]):
        return codec
    width = 2 if codec == "utf_16" else 4
    first, last = data[0:2_000:width].count(0), data[width - 1 : 2_000 : width].count(0)
    return f"{codec}_be" if first > last else f"{codec}_le"


def _is_japanese(data: bytes, codec: str) -> bool:
    """Eight-bit bytes under a label of ISO-2022-JP are most often another encoding's."""
    if codec == EUC_JP:
        try:
            data[:_LOOKED_AT].decode("euc_jis_2004")
        except UnicodeDecodeError as error:
            return error.start > min(len(data), _LOOKED_AT) - 4
        return True
    return _ESCAPES.search(data) is not None


def _japanese(data: bytes, codec: str) -> str | None:
    strict, brought = _JAPANESE[codec]
    # The codec passes over the shift to half-width letters.
    if b"\x0e" not in data:
        try:
            return data.decode(strict)
        except UnicodeDecodeError:
            pass
    in_932 = brought(data)
    if in_932 is not None:
        try:
            return in_932.decode("cp932")
        except UnicodeDecodeError:
            return _nearly(in_932, "cp932", 20)
    return None


def _if_utf8(data: bytes, least: int) -> str | None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if len(data) - len(text.encode("ascii", "ignore")) >= least else None


def _guess(data: bytes, codec: str | None, reading: Reading, part: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    # A codec that fits but for a few bytes tells more than a reading that is wrong throughout.
    likely = "utf_8" if codec is None else _JAPANESE[codec][0] if codec in _JAPANESE else codec
    text = _nearly(data, likely, 20)
    if text is not None and likely == "utf_8" and _is_chance(text):
        text = None
    if text is None:
        text = _detected(data, codec, reading, part)
    if text is not None:
        return text
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _is_chance(text: str) -> bool:
    """Text that is nearly UTF-8 only because nearly all of it is ASCII: its letters beyond that are not read."""
    bad = text.count("\ufffd")
    good = len(text) - len(text.encode("ascii", "ignore")) - bad
    return good <= bad if bad * 100 <= len(text) else good < 10 * bad


def _detected(data: bytes, declared: str | None, reading: Reading, part: int) -> str | None:
    """The text in the legacy charset that it looks like, None where that is the declared one or does not fit."""
    # Loaded where a first message needs it.
    from chardetng_py import EncodingDetector

    looked = _words_beyond_ascii(data)
    beyond = looked.translate(None, _ASCII)
    if len(beyond) < _LEAST_GUESSED or len(set(beyond)) < _LEAST_DIFFERENT:
        return None
    detector = EncodingDetector()
    detector.feed(looked, last=True)
    codec = codec_for(detector.guess(tld=None, allow_utf8=False))
    if codec is None or codec == declared:
        return None
    text = _japanese(data, codec) if codec in _JAPANESE else _nearly(data, codec, 50)
    if text is not None and codec != "cp1252":
        reading.defect("charset_guessed", codec, part)
    return text


def _words_beyond_ascii(data: bytes) -> bytes:
    """The first words with bytes beyond ASCII, each with a few of those before it, to `GUESSED_BYTES`."""
    words: list[bytes] = []
    room = GUESSED_BYTES
    end = 0
    for word in _WORD_BEYOND_ASCII.finditer(data):
        words.append(data[max(end, word.start() - _BEFORE) : word.end()])
        end = word.end()
        room -= len(words[-1]) + 1
        if room <= 0:
            break
    return b" ".join(words)


def _nearly(data: bytes, codec: str, one_in: int) -> str | None:
    """The text where at most one character in `one_in` cannot be read, else None.

    By pieces, and given up once there are too many: replacing costs a thousand times what reading does.
    """
    decoder = codecs.getincrementaldecoder(_with_order(codec, data))("replace")
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
