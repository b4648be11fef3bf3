"""Payment identifiers that prove themselves: IBANs and Bitcoin addresses with a right checksum."""

from __future__ import annotations

import hashlib
import re

_MAX_CANDIDATES = 20

_COUNTRY = re.compile(r"[A-Z]{2}\d{2}")
# The same of ASCII, told by its digits, which are rarer than capitals.
_ASCII_COUNTRY = re.compile(r"[0-9][0-9](?<=[A-Z]{2}[0-9]{2})")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}[A-Z0-9 -]{11,45}")
_MIN_IBAN_DIGITS = 8
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19,
    "SK": 24, "SM": 27, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUE = {character: value for value, character in enumerate(_BASE58)}
LEAST_ADDRESS = 26
"""Characters of the shortest address of a wallet."""
_LONG_WORD = re.compile(r"[A-Za-z0-9]{26,90}")
_BASE58_ADDRESS = re.compile(r"[13LMD][1-9A-HJ-NP-Za-km-z]{25,34}")
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_VALUE = {character: value for value, character in enumerate(_BECH32)}
_BECH32_ADDRESS = re.compile(r"(?:bc|ltc)1[qpzry9x8gf2tvdw0s3jn54khce6mua7l]{11,71}")
_BECH32_FINALS = (1, 0x2BC830A3)


def has_iban(text: str) -> bool:
    """Whether an IBAN with a right length and checksum stands in the text (ISO 13616, ISO 7064 MOD 97-10)."""
    # That most texts have no such beginning costs a third of looking for the whole.
    country = _ASCII_COUNTRY if text.isascii() else _COUNTRY
    return country.search(text) is not None and any(is_iban(match[0]) for match in _first(_IBAN, text))


def is_iban(candidate: str) -> bool:
    """Whether the text, spaces and hyphens apart, is an IBAN; words that follow it on the line do not spoil it.

    >>> is_iban("GB82 WEST 1234 5698 7654 32")
    True
    >>> is_iban("GB82 WEST 1234 5698 7654 33")
    False
    """
    packed = candidate.replace(" ", "").replace("-", "")
    length = _IBAN_LENGTHS.get(packed[:2])
    if length is None or len(packed) < length:
        return False
    packed = packed[:length]
    if sum(map(str.isdigit, packed)) < _MIN_IBAN_DIGITS:
        return False  # one word in 97 would pass by chance
    digits = "".join(str(int(character, 36)) for character in packed[4:] + packed[:4])
    return int(digits) % 97 == 1


def has_wallet(text: str) -> bool:
    """Whether a Bitcoin-like address with a right checksum stands in the text (Base58Check; BIP 173, BIP 350)."""
    long = [piece for piece in text.split() if len(piece) >= LEAST_ADDRESS]
    for match in _first(_LONG_WORD, " ".join(long)) if long else ():
        word = match[0]
        if _BASE58_ADDRESS.fullmatch(word) and is_base58check(word):
            return True
        if _BECH32_ADDRESS.fullmatch(word) and is_bech32(word):
            return True
    return False


def is_base58check(address: str) -> bool:
    """Whether 25 bytes in base 58 end with the first four of their own double SHA-256.

    >>> is_base58check("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"), is_base58check("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3")
    (True, False)
    """
    number = 0
    for character in address:
        number = number * 58 + _BASE58_VALUE[character]
    if number.bit_length() > 200:
        return False
    data = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(data[:21]).digest()).digest()[:4] == data[21:]


def is_bech32(address: str) -> bool:
    """Whether a lower-case segwit address ends with its checksum.

    >>> is_bech32("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")
    True
    """
    prefix, _, rest = address.rpartition("1")
    values = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + [_BECH32_VALUE[c] for c in rest]
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            if top >> bit & 1:
                checksum ^= generator
    return checksum in _BECH32_FINALS


def _first(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    found = []
    for match in pattern.finditer(text):
        found.append(match)
        if len(found) >= _MAX_CANDIDATES:
            break
    return found
