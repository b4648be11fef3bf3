"""The newest text of a message apart from the mail that it quotes."""

from __future__ import annotations

import re

_LINE_MARK = re.compile(
    r"^[ \t\xa0]*+(?:[>|]|--|__|\*?(?:From|Von|De|Da|Van|Fr[åa]n|Subject)[ \t\xa0]*+:)", re.MULTILINE | re.IGNORECASE
)
_QUOTED_LINE = re.compile(r"[ \t\xa0]{0,8}(?:[A-Za-z]{1,3})?>|[ \t\xa0]{0,8}\| ")
_SEPARATOR = re.compile(
    r"[ \t\xa0]*+(?:-{2,40}+[ \t\xa0]*+(?:original (?:message|appointment)|forwarded (?:message|by)\b.{0,200}+|"
    r"reply (?:message|separator)|urspr(?:ü|ue|u)ngliche (?:nachricht|e-?mail)|weitergeleitete nachricht|"
    r"message d'origine|message (?:original|transféré)|mensaje original|messaggio originale|"
    r"oorspronkelijk bericht|mensagem original|ursprungligt meddelande)[ \t\xa0]*+-*+"
    r"|begin forwarded message:?)[ \t\xa0]*+",
    re.IGNORECASE,
)
_RULE = re.compile(r"[ \t\xa0]*+_{10,200}+[ \t\xa0]*+")
_BLOCK_FROM = re.compile(r"[ \t\xa0]{0,8}\*?(?:From|Von|De|Da|Van|Från)[ \t\xa0]*:\*?[ \t\xa0]*\S", re.IGNORECASE)
_BLOCK_NEXT = re.compile(
    r"[ \t\xa0]{0,8}\*?(?:Sent|Date|To|Subject|Cc|Gesendet|Datum|An|Betreff|Envoyé|Date|À|Objet|Enviado|Fecha|"
    r"Para|Asunto|Inviato|Data|A|Oggetto|Verzonden|Aan|Onderwerp|Skickat|Till)[ \t\xa0]*:",
    re.IGNORECASE,
)
_SAYS = re.compile(r"\b(?:wrote|writes|said|schrieb|écrit|écrivait|escribió|scritto|schreef|escreveu|skrev)\b")
_SAYS_WITHIN = 80
_BLANKS = " \t\xa0"
_WHO_SAYS = re.compile(r"[ \t\xa0]{0,8}(?:On|Am|Le|El|Il|Op|Em|Den|In|At)\b|[^\d@<>]*[\d@<>]")
_ATTRIBUTION_START = re.compile(r"[ \t\xa0]{0,8}(?:On|Am|Le|El|Il|Op|Em|Den)[ \t\xa0].{6,300}")


def has_attribution(text: str) -> bool:
    """Whether text ends with a line that says whose words follow ("On ... wrote:")."""
    tail = text[-500:].rstrip().rsplit("\n", 2)[-2:]
    return _is_attribution(tail[-1]) or _is_attribution(" ".join(tail))


def split_quotes(text: str) -> tuple[str, str]:
    """(newest text, quoted text) of a plain body.

    Lines that begin with ">" are quoted wherever they stand. After a separator, a block of From/Sent lines, or an
    attribution not followed by ">" lines, all is quoted to the end.
    """
    if not _may_quote(text):
        return text.strip(), ""
    lines = text.split("\n")
    new: list[str] = []
    quoted: list[str] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        if not line or line.isspace():
            new.append(line)
            number += 1
            continue
        if _QUOTED_LINE.match(line):
            quoted.append(line)
            number += 1
            continue
        if _opens_rest(lines, number):
            quoted.extend(lines[number:])
            break
        taken = _attribution_lines(lines, number)
        if taken:
            if not _next_is_quoted(lines, number + taken):
                quoted.extend(lines[number:])
                break
            quoted.extend(lines[number : number + taken])
            number += taken
            continue
        new.append(line)
        number += 1
    return "\n".join(new).strip(), "\n".join(quoted).strip()


def _may_quote(text: str) -> bool:
    """Whether a mark of a quote stands in the text: without one, no line of it need be looked at."""
    lower = text.lower()
    # One word after another costs a tenth of a search for all that minds no case.
    return (
        "wrote" in lower or "writes" in lower or "forwarded" in lower or "schrieb" in lower or "écrit" in lower
        or "escribi" in lower or "scritto" in lower or "schreef" in lower or "escreveu" in lower or "skrev" in lower
        or _LINE_MARK.search(text) is not None
    )  # fmt: skip


def _opens_rest(lines: list[str], number: int) -> bool:
    line = lines[number]
    if len(line) > 300:
        return False
    head = line.lstrip(" \t\xa0*")[:1]
    if head in ("-", "b", "B") and _SEPARATOR.fullmatch(line):
        return True
    if head == "_" and _RULE.fullmatch(line):
        following = [text for text in lines[number + 1 : number + 4] if text.strip()]
        return bool(following) and _BLOCK_FROM.match(following[0]) is not None
    if head in ("F", "V", "D", "f", "v", "d") and _BLOCK_FROM.match(line):
        # One "From:" is a word of prose; with two of its fellows below it is a header block.
        return sum(_BLOCK_NEXT.match(text) is not None for text in lines[number + 1 : number + 8]) >= 2
    return False


def _attribution_lines(lines: list[str], number: int) -> int:
    """How many lines from here are an attribution, 0 where none begins."""
    line = lines[number]
    if len(line) > 600:
        return 0
    if _is_attribution(line):
        return 1
    if _says_at(line) is not None and _next_is_quoted(lines, number + 1):
        return 1  # "Ann Lee wrote:" says nothing by itself, and all before ">" lines
    if _ATTRIBUTION_START.match(line):
        for more in (2, 3):
            joined = " ".join(lines[number : number + more])
            if len(joined) <= 600 and _is_attribution(joined):
                return more
    return 0


def _is_attribution(line: str) -> bool:
    says = _says_at(line)
    return says is not None and _WHO_SAYS.match(line, 0, says) is not None


def _says_at(line: str) -> int | None:
    """Where a verb of saying stands, at most 80 characters before the colon that ends the line."""
    colon = len(line.rstrip(_BLANKS)) - 1
    if colon < 0 or line[colon] not in ":：":
        return None
    for verb in _SAYS.finditer(line, max(0, colon - _SAYS_WITHIN - 12), colon):
        if colon - verb.end() <= _SAYS_WITHIN:
            return verb.start()
    return None


def _next_is_quoted(lines: list[str], number: int) -> bool:
    for line in lines[number : number + 3]:
        if line.strip():
            return _QUOTED_LINE.match(line) is not None
    return False
