"""Ways to show a reader the same message while a filter reads another; each leaves what is seen as it was.

An evasion takes a message apart (`Pieces`) and gives its bytes anew. What it adds is hidden, or harmless beside the
message; what it moves is still what a mail reader shows, or what one click opens.
"""

from __future__ import annotations

import base64
import io
import quopri
import re
import zipfile
from collections.abc import Callable
from random import Random

from mailwarden.testing.evasions.benign import benign
from mailwarden.testing.evasions.pieces import File, Pieces, document, html_part, message_of, part

Evasion = Callable[[Pieces, int], bytes]
"""Takes the pieces and a seed."""

EVASIONS: dict[str, Evasion] = {}
"""By name, the kind first."""

_SHORT, _LONG, _VERY_LONG = 600, 7_000, 150_000
_WORD = re.compile(r"(?<![\w&#/.:=@-])[A-Za-z]{4,}(?![\w;/.:=@-])")
_TEXT = re.compile(r"(<[^>]*>)")


def _named(name: str) -> Callable[[Evasion], Evasion]:
    def add(evasion: Evasion) -> Evasion:
        EVASIONS[name] = evasion
        return evasion

    return add


def _shown(pieces: Pieces, shown: str, head: str = "") -> bytes:
    return message_of(pieces, html_part(shown, head))


def _in_text(shown: str, change: Callable[[str], str]) -> str:
    """Words of the text changed, and neither tags nor entities nor addresses."""
    pieces = _TEXT.split(shown)
    return "".join(
        piece if piece.startswith("<") or "://" in piece else _WORD.sub(lambda m: change(m[0]), piece)
        for piece in pieces
    )


# --- text that is there and not seen -------------------------------------------------------------------------------

_HIDING = {
    "display": 'style="display:none"',
    "visibility": 'style="visibility:hidden"',
    "no size": 'style="font-size:0;line-height:0"',
    "tiny": 'style="font-size:1px"',
    "white on white": 'style="background:#fff;color:#ffffff"',
    "nearly white": 'style="color:rgb(254,254,253)"',
    "off screen": 'style="position:absolute;left:-9999px"',
    "no height": 'style="max-height:0;overflow:hidden"',
    "transparent": 'style="opacity:0"',
    "clipped": 'style="position:absolute;clip:rect(0 0 0 0)"',
    "attribute": "hidden",
    "indented": 'style="text-indent:-5000px;overflow:hidden;white-space:nowrap"',
}


def _hidden(marks: str, letters: int) -> Evasion:
    def evade(pieces: Pieces, seed: int) -> bytes:
        return _shown(pieces, f"<div {marks}>{benign(seed, letters)}</div>{pieces.html}")

    return evade


for _how, _marks in _HIDING.items():
    EVASIONS[f"hidden: {_how}"] = _hidden(_marks, _SHORT)
EVASIONS["hidden: 150,000 letters"] = _hidden(_HIDING["display"], _VERY_LONG)


def _by_sheet(selector: str, marks: str, rule: str) -> Evasion:
    def evade(pieces: Pieces, seed: int) -> bytes:
        head = f"<style>p{{margin:0}} {selector}{{{rule}}}</style>"
        return _shown(pieces, f"<div {marks}>{benign(seed, _LONG)}</div>{pieces.html}", head)

    return evade


EVASIONS["hidden: by class"] = _by_sheet(".preview", 'class="preview"', "display:none !important")
EVASIONS["hidden: by id"] = _by_sheet("div#intro", 'id="intro"', "color:#fff;font-size:1px")


# --- harmless text beside the message ------------------------------------------------------------------------------


@_named("prepended: a paragraph")
def _prepended(pieces: Pieces, seed: int) -> bytes:
    return _shown(pieces, f"<p>{benign(seed, _SHORT)}</p>{pieces.html}")


@_named("prepended: 150,000 letters")
def _pushed_out(pieces: Pieces, seed: int) -> bytes:
    return _shown(pieces, f"<p>{benign(seed, _VERY_LONG)}</p>{pieces.html}")


@_named("appended: a paragraph")
def _appended(pieces: Pieces, seed: int) -> bytes:
    return _shown(pieces, f"{pieces.html}<p>{benign(seed, _SHORT)}</p>")


@_named("appended: far below")
def _below(pieces: Pieces, seed: int) -> bytes:
    return _shown(pieces, f"{pieces.html}{'<br>' * 120}<p>{benign(seed, _LONG)}</p>")


@_named("appended: as a signature")
def _signed(pieces: Pieces, seed: int) -> bytes:
    return _shown(pieces, f"{pieces.html}<p>-- <br>{benign(seed, _SHORT)}</p>")


@_named("quoted: a harmless thread below")
def _thread(pieces: Pieces, seed: int) -> bytes:
    lines = "".join(f"<p>{benign(seed + n, 200)}</p>" for n in range(4))
    head = "<p>On Mon, 2 Mar 2026 at 10:02, Ann Lee &lt;ann@partner.example&gt; wrote:</p>"
    return _shown(pieces, f"{pieces.html}{head}<blockquote>{lines}</blockquote>")


# --- the message where quotes stand --------------------------------------------------------------------------------


def _around(before: str, after: str) -> Evasion:
    def evade(pieces: Pieces, seed: int) -> bytes:
        return _shown(pieces, f"<p>{benign(seed, 60)}</p>{before}{pieces.html}{after}")

    return evade


EVASIONS["as a quote: gmail_quote"] = _around('<div class="gmail_quote">', "</div>")
EVASIONS["as a quote: yahoo_quoted"] = _around('<div class="yahoo_quoted">', "</div>")
EVASIONS["as a quote: Outlook's mark"] = _around('<div id="appendonsend"></div><div id="divRplyFwdMsg">', "</div>")
EVASIONS["as a quote: cited"] = _around('<blockquote type="cite">', "</blockquote>")


# --- words that look the same --------------------------------------------------------------------------------------

_LOOKALIKES = str.maketrans("aeopcxyiABEHKMOPTX", "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0410\u0412\u0415"
                            "\u041d\u041a\u041c\u041e\u0420\u0422\u0425")  # fmt: skip


def _between(mark: str) -> Evasion:
    def evade(pieces: Pieces, seed: int) -> bytes:
        return _shown(pieces, _in_text(pieces.html, lambda word: mark.join(word)))

    return evade


def _once(mark: str) -> Evasion:
    def evade(pieces: Pieces, seed: int) -> bytes:
        rng = Random(seed)

        def split(word: str) -> str:
            at = rng.randrange(1, len(word))
            return word[:at] + mark + word[at:]

        return _shown(pieces, _in_text(pieces.html, split))

    return evade


EVASIONS["invisible: zero-width spaces"] = _between("\u200b")
EVASIONS["invisible: soft hyphens"] = _once("&shy;")
EVASIONS["invisible: word joiners"] = _once("\u2060")
EVASIONS["invisible: zero-width non-joiners"] = _once("&zwnj;")
EVASIONS["invisible: tag characters"] = _once("\U000e0061")
EVASIONS["split: by empty tags"] = _once("<b></b>")
EVASIONS["split: by comments"] = _once("<!-- x -->")
EVASIONS["split: by hidden letters"] = _once('<span style="font-size:0">q</span>')


@_named("lookalike: Cyrillic letters")
def _cyrillic(pieces: Pieces, seed: int) -> bytes:
    return _shown(pieces, _in_text(pieces.html, lambda word: word.translate(_LOOKALIKES)))


@_named("lookalike: fullwidth letters")
def _fullwidth(pieces: Pieces, seed: int) -> bytes:
    return _shown(
        pieces, _in_text(pieces.html, lambda word: "".join(chr(ord(c) + 0xFEE0) if c < "\x7f" else c for c in word))
    )


@_named("lookalike: mathematical letters")
def _mathematical(pieces: Pieces, seed: int) -> bytes:
    def bold(word: str) -> str:
        return "".join(chr(0x1D41A + ord(c) - 97) if "a" <= c <= "z" else c for c in word)

    return _shown(pieces, _in_text(pieces.html, bold))


# --- the message in another place ----------------------------------------------------------------------------------


def _with_file(file: File) -> Callable[[Pieces], bytes]:
    def put(pieces: Pieces) -> bytes:
        note = part("text/plain; charset=utf-8", b"Please see the attached file.\n")
        return message_of(Pieces(pieces.headers, "", (file, *pieces.files)), note)

    return put


@_named("attached: an HTML file")
def _attached_html(pieces: Pieces, seed: int) -> bytes:
    return _with_file(File("Notice.html", "text/html", document(pieces.html).encode()))(pieces)


@_named("attached: an HTML file that begins as a span")
def _attached_span(pieces: Pieces, seed: int) -> bytes:
    data = f"<span>{seed}</span>\n{pieces.html}".encode()
    return _with_file(File("Notice.htm", "application/octet-stream", data))(pieces)


@_named("attached: a zip of it")
def _attached_zip(pieces: Pieces, seed: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("Notice.html"), document(pieces.html))
    return _with_file(File("Notice.zip", "application/zip", out.getvalue()))(pieces)


@_named("attached: a message")
def _attached_message(pieces: Pieces, seed: int) -> bytes:
    inner = b"From: desk@notice.example\nSubject: Notice\nMIME-Version: 1.0\n" + html_part(pieces.html)
    return _with_file(File("Notice.eml", "application/octet-stream", inner))(pieces)


@_named("attached: a calendar invitation")
def _invitation(pieces: Pieces, seed: int) -> bytes:
    text = pieces.text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")
    lines = ("BEGIN:VCALENDAR", "VERSION:2.0", "METHOD:REQUEST", "BEGIN:VEVENT", f"UID:{seed}@notice.example",
             "DTSTAMP:20260301T090000Z", "DTSTART:20260302T090000Z", "SUMMARY:Notice", f"DESCRIPTION:{text}",
             "END:VEVENT", "END:VCALENDAR", "")  # fmt: skip
    calendar = part("text/calendar; method=REQUEST; charset=utf-8", "\r\n".join(lines).encode())
    return message_of(pieces, calendar)


@_named("image only")
def _image(pieces: Pieces, seed: int) -> bytes:
    from PIL import Image, ImageDraw

    picture = Image.new("L", (700, 900), 255)
    ImageDraw.Draw(picture).multiline_text((20, 20), pieces.text[:3_000].encode("latin-1", "replace").decode("latin-1"))
    out = io.BytesIO()
    picture.save(out, "PNG")
    link = re.search(r'href="([^"]*)"', pieces.html)
    shown = f'<a href="{link[1] if link else "http://notice.example/"}"><img src="cid:notice"></a>'
    return message_of(
        Pieces(pieces.headers, "", (File("notice.png", "image/png", out.getvalue()), *pieces.files)), html_part(shown)
    )


# --- the same text, written another way ----------------------------------------------------------------------------


def _begun(magic: bytes) -> Evasion:
    def evade(pieces: Pieces, seed: int) -> bytes:
        return message_of(pieces, part("text/html; charset=utf-8", magic + document(pieces.html).encode()))

    return evade


EVASIONS["first bytes: of a GIF"] = _begun(b"GIF89a ")
EVASIONS["first bytes: of a PDF"] = _begun(b"%PDF-1.4 ")
EVASIONS["first bytes: of a zip"] = _begun(b"PK\x03\x04 ")


@_named("base: links without their host")
def _base(pieces: Pieces, seed: int) -> bytes:
    found = re.search(r'href="(https?://[^/"]+/)', pieces.html)
    if found is None:
        return _shown(pieces, pieces.html)
    return _shown(pieces, pieces.html.replace(found[1], ""), f'<base href="{found[1]}">')


@_named("base: behind the links")
def _base_behind(pieces: Pieces, seed: int) -> bytes:
    found = re.search(r'href="(https?:)//([^"]+)"', pieces.html)
    if found is None:
        return _shown(pieces, pieces.html)
    return _shown(
        pieces, pieces.html.replace(f'"{found[1]}//', '"//') + f'<base href="{found[1]}//elsewhere.example/">'
    )


@_named("encoding: base64 in padded pieces")
def _padded(pieces: Pieces, seed: int) -> bytes:
    data = document(pieces.html).encode()
    lines = b"".join(base64.b64encode(data[at : at + 700]) + b"\n" for at in range(0, len(data), 700))
    return message_of(pieces, b"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n" + lines)


@_named("encoding: soft breaks with blanks")
def _soft_breaks(pieces: Pieces, seed: int) -> bytes:
    data = quopri.encodestring(document(pieces.html).encode()).replace(b"=\n", b"=  \n")
    return message_of(
        pieces, b"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n" + data
    )


@_named("encoding: UTF-16")
def _utf_16(pieces: Pieces, seed: int) -> bytes:
    return message_of(pieces, part("text/html; charset=utf-16", document(pieces.html).encode("utf-16")))


@_named("encoding: a charset that is none")
def _unknown_charset(pieces: Pieces, seed: int) -> bytes:
    return message_of(pieces, part("text/html; charset=x-unknown-9", document(pieces.html).encode()))


@_named("structure: a named part")
def _named_part(pieces: Pieces, seed: int) -> bytes:
    named = 'Content-Disposition: inline; filename="message.html"'
    return message_of(pieces, part("text/html; charset=utf-8", document(pieces.html).encode(), named))


@_named("structure: a kind of text that is not known")
def _unknown_text(pieces: Pieces, seed: int) -> bytes:
    return message_of(pieces, part("text/x-notice; charset=utf-8", pieces.text.encode()))


@_named("structure: a boundary in a comment")
def _commented(pieces: Pieces, seed: int) -> bytes:
    opened = b"MIME-Version: 1.0\nContent-Type: multipart/mixed; (boundary=no) boundary=yes\n\n"
    harmless = part("text/plain; charset=utf-8", benign(seed, _SHORT).encode())
    inside = b"--no\n" + harmless + b"\n--no--\n\n--yes\n" + html_part(pieces.html) + b"\n--yes--\n"
    return pieces.headers + opened + inside


@_named("structure: an encoded multipart")
def _encoded_multipart(pieces: Pieces, seed: int) -> bytes:
    inside = b"--inner\n" + html_part(pieces.html) + b"\n--inner--\n"
    return message_of(pieces, part('multipart/mixed; boundary="inner"', inside))
