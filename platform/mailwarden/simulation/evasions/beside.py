"""Harmless text beside the message: hidden, before, behind or around it, where a filter may take one for the other."""

from __future__ import annotations

from mailwarden.simulation.evasions.benign import benign
from mailwarden.simulation.evasions.evasion import LONG, SHORT, VERY_LONG, Evasion, Evasions, shown
from mailwarden.simulation.evasions.pieces import Pieces

FOUND = Evasions()
"""By name, the kind first."""

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
        return shown(pieces, f"<div {marks}>{benign(seed, letters)}</div>{pieces.html}")

    return evade


for _how, _marks in _HIDING.items():
    FOUND[f"hidden: {_how}"] = _hidden(_marks, SHORT)
FOUND["hidden: 150,000 letters"] = _hidden(_HIDING["display"], VERY_LONG)


def _by_sheet(selector: str, marks: str, rule: str) -> Evasion:
    def evade(pieces: Pieces, seed: int) -> bytes:
        head = f"<style>p{{margin:0}} {selector}{{{rule}}}</style>"
        return shown(pieces, f"<div {marks}>{benign(seed, LONG)}</div>{pieces.html}", head)

    return evade


FOUND["hidden: by class"] = _by_sheet(".preview", 'class="preview"', "display:none !important")
FOUND["hidden: by id"] = _by_sheet("div#intro", 'id="intro"', "color:#fff;font-size:1px")


@FOUND.named("prepended: a paragraph")
def _prepended(pieces: Pieces, seed: int) -> bytes:
    return shown(pieces, f"<p>{benign(seed, SHORT)}</p>{pieces.html}")


@FOUND.named("prepended: 150,000 letters")
def _pushed_out(pieces: Pieces, seed: int) -> bytes:
    return shown(pieces, f"<p>{benign(seed, VERY_LONG)}</p>{pieces.html}")


@FOUND.named("appended: a paragraph")
def _appended(pieces: Pieces, seed: int) -> bytes:
    return shown(pieces, f"{pieces.html}<p>{benign(seed, SHORT)}</p>")


@FOUND.named("appended: far below")
def _below(pieces: Pieces, seed: int) -> bytes:
    return shown(pieces, f"{pieces.html}{'<br>' * 120}<p>{benign(seed, LONG)}</p>")


@FOUND.named("appended: as a signature")
def _signed(pieces: Pieces, seed: int) -> bytes:
    return shown(pieces, f"{pieces.html}<p>-- <br>{benign(seed, SHORT)}</p>")


@FOUND.named("quoted: a harmless thread below")
def _thread(pieces: Pieces, seed: int) -> bytes:
    lines = "".join(f"<p>{benign(seed + n, 200)}</p>" for n in range(4))
    head = "<p>On Mon, 2 Mar 2026 at 10:02, Ann Lee &lt;ann@partner.example&gt; wrote:</p>"
    return shown(pieces, f"{pieces.html}{head}<blockquote>{lines}</blockquote>")


def _around(before: str, after: str) -> Evasion:
    def evade(pieces: Pieces, seed: int) -> bytes:
        return shown(pieces, f"<p>{benign(seed, 60)}</p>{before}{pieces.html}{after}")

    return evade


FOUND["as a quote: gmail_quote"] = _around('<div class="gmail_quote">', "</div>")
FOUND["as a quote: yahoo_quoted"] = _around('<div class="yahoo_quoted">', "</div>")
FOUND["as a quote: Outlook's mark"] = _around('<div id="appendonsend"></div><div id="divRplyFwdMsg">', "</div>")
FOUND["as a quote: cited"] = _around('<blockquote type="cite">', "</blockquote>")
