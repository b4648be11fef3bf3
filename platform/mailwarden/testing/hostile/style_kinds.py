"""Kinds of hostile messages: style sheets, cascades, looks, invisible and lookalike characters, marks of quotes."""

from __future__ import annotations

from random import Random

from mailwarden.testing.hostile.shapes import FIRST, Kind, html, run, text


def _sheet(rule: bytes, element: bytes, share: int = 2) -> Kind:
    """A style sheet of one rule over and over, and behind it one element over and over; the sheet is 1/share of it."""

    def make(size: int, chance: Random) -> bytes:
        del chance
        head = FIRST + b"Content-Type: text/html; charset=utf-8\n\n<style>"
        return head + run(rule, size // share) + b"</style>" + run(element, size - size // share)

    return make


_ZWSP, _SHY, _ZWNJ, _TAG = ("\u200b".encode(), "\u00ad".encode(), "\u200c".encode(), "\U000e0061".encode())
_CYRILLIC = "\u0430".encode()

STYLE_KINDS: dict[str, Kind] = {
    "sheets of one rule": _sheet(b".a{display:none}", b"<p class=a>b</p>"),
    "sheets of rules": _sheet(b".a%d{display:none}", b"<p class=a%d>b</p>"),
    "sheets of rules for all": _sheet(b"*{color:#fff}", b"<p>b</p>"),
    "sheets of rules below": _sheet(b"b b b b b .a{color:#fff}", b"<b class=a>", 8),
    "sheets of rules below all": _sheet(b"* * * * * * * p{color:#fff}", b"<p>", 8),
    "sheets of rules by attribute": _sheet(b"[a*=b]{color:#fff}", b"<i a=%d>", 8),
    "sheets of lists": _sheet(b"a,", b"<a class=b>"),
    "sheets of long selectors": _sheet(b".a .b>", b"<p class=a>"),
    "sheets of long blocks": _sheet(b"color:red;", b"<p class=a>", 1),
    "sheets of opened blocks": _sheet(b"a{", b"<p>"),
    "sheets of media": _sheet(b"@media (max-width:%dpx){a{color:red}", b"<a>b</a>"),
    "sheets of media queries": _sheet(b"(max-width:1px) and ", b"<a>b</a>"),
    "sheets of comments": _sheet(b"/*", b"<p>"),
    "sheets of escapes": _sheet(b"\\61", b"<p>"),
    "sheets many": html(b"<style>a{color:red}</style>", b"<style>", b"<!--<style>-->", b"<style><!--"),
    "styles all different": html(
        b"<p style=color:#%d>a</p>", b"<i style=font-size:%dpx>a", b"<b style='opacity:.9;top:%dpx'>"
    ),
    "styles of everything": html(
        b"<div style='display:block;position:absolute;left:%dpx;clip:rect(0 0 9px 9px);clip-path:inset(9px);transform:"
        b"rotate(3deg) translate(1px,2px);background:url(x) #fff;color:rgb(1,2,3);font:12px/1 a;text-indent:1px'>a"
    ),
    "styles of brackets": html(b"(", b"()", b"'", b")", before=b'<p style="background:', after=b'">a'),
    "styles of functions": html(b"scale(1) ", b"a(", b"translate(1px,", before=b'<p style="transform:', after=b'">a'),
    "styles of numbers": html(b"9", b".9", b"9 ", before=b'<p style="clip-path:polygon(', after=b')">a'),
    "styles of fonts": html(b"9px/", b"9 ", b"a ", before=b'<p style="font:', after=b'">a'),
    "colours of attributes": html(b"<td bgcolor=%dx>a", b"<font color=a%d>b</font>"),
    "classes": html(b"a%d ", before=b"<style>.a{color:#fff}</style><p class='", after=b"'>x"),
    "classes many times": html(
        b"<p class='" + b"a b c d e f g " * 20 + b"'>x", before=b"<style>.z .a{color:red}</style>"
    ),
    "cells of letters": html(b"<td>a</td>", b"<td>a", b"<td> </td>", before=b"<table><tr>"),
    "words divided": html(b"a<b></b>", b"a<!---->", b"a<i hidden>b</i>", _ZWSP + b"a"),
    "blocks in quotes": html(b"<blockquote>a", b"<blockquote>a</blockquote>On 1 Bob wrote:<br>", b"<blockquote></div>"),
    "invisible characters": text(_ZWSP, b"a" + _ZWSP, b"a" + _SHY, _ZWNJ, _TAG, b"a" + _TAG),
    "invisible characters in long words": text(b"abcdefgh" + _SHY, b"a" * 60 + _SHY + _ZWSP),
    "overrides": text("\u202ea".encode(), "\u202e".encode(), "\u202eab\u202c".encode()),
    "flags": text("\U0001f3f4\U000e0061".encode(), "\U0001f3f4".encode()),
    "lookalikes": text(_CYRILLIC + b"a ", _CYRILLIC + _CYRILLIC + b" ", _CYRILLIC, b"a" + _CYRILLIC),
    "addresses with wide signs": text("a＠b".encode(), "＠".encode(), "a.＠".encode()),
    "attributions": text(b"1 <a@b> 9:00:\n", b"On 1 wrote:\n", b"On 1\n\na:\n", b"a b c <a@b>,\nd:\n"),
    "labels": text(b"From: a\n", b"Date: a\n", "差出人：a\n".encode(), b"Von:\nAn:\n"),
    "separators": text(b"-----Original Message-----\n", b"----\n", b"____\n\n", b"Begin forwarded message:\n"),
    "marks in turns": text(b"> a\nb\n", b"> a\n\n", b"| a\n> b\nc\n"),
    "long texts of money": text(b"$9 ", b"account ", b"1234567 ", b"http://a.example/%d "),
}
"""Name to kind."""
