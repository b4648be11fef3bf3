"""What style hides and shows: tricks, each beside an honest twin that differs in what matters."""

from __future__ import annotations

import gc

import pytest

from mailwarden.domain.mail.message import Message
from mailwarden.domain.status import Status
from mailwarden.ingest.colours import is_seen
from mailwarden.ingest.css import declarations
from mailwarden.ingest.media_queries import screens
from mailwarden.ingest.parse import parse_message

HIDDEN = "the harbour master counts boats"
COUNTED = len(HIDDEN.replace(" ", ""))
SEEN = "please log in"


def html(text: str) -> Message:
    return parse_message(b"Content-Type: text/html; charset=utf-8\n\n" + text.encode())


def hides(source: str) -> bool:
    """Whether the text at § is hidden, and what stands behind it is read."""
    message = html(f"<p>{SEEN}</p>{source.replace('§', HIDDEN)}<p>to go on</p>")
    shown = message.new_text.split("\n")
    assert shown[0] == SEEN and shown[-1] == "to go on"
    hidden = HIDDEN not in message.new_text
    assert message.hidden_chars == (COUNTED if hidden else 0)
    assert (HIDDEN in message.hidden_text) is hidden
    return hidden


@pytest.mark.parametrize(
    "source",
    [
        "<style>.q{display:none}</style><div class=q>§</div>",
        "<style>#q{visibility:hidden}</style><div id=q>§</div>",
        "<style>blink{opacity:0}</style><blink>§</blink>",
        "<style>div.a.b{font-size:0}</style><div class='b c a'>§</div>",
        "<style>.Q{DISPLAY:NONE}</style><div class=q>§</div>",
        "<style>.x .q{display:none}</style><div class=x><p><b class=q>§</b></p></div>",
        "<style>.x > .q{display:none}</style><div class=x><b class=q>§</b></div>",
        "<style>pre, .q, td{max-height:0;overflow:hidden}</style><div class=q>§</div>",
        "<style>div[data-q]{display:none}</style><div data-q=1>§</div>",
        "<style>[class*=hid]{display:none}</style><div class=xhidx>§</div>",
        "<style>.q{display:none!important}</style><div class=q style='display:block'>§</div>",
        "<style>#q{display:none} .q{display:block}</style><div class=q id=q>§</div>",
        "<style>.q{display:block} .q{display:none}</style><div class=q>§</div>",
        "<style><!-- .q{display:none} --></style><div class=q>§</div>",
        "<style>@media screen{.q{display:none}}</style><div class=q>§</div>",
        "<style>@media only screen and (min-width:300px){.q{display:none}}</style><div class=q>§</div>",
        "<style>@import url(x); .q{display:none}</style><div class=q>§</div>",
        "<style>@font-face{font-family:x} .q{display:none}</style><div class=q>§</div>",
        "<style>.q{/* ; */display/**/:none}</style><div class=q>§</div>",
        "<style>.\\71{display:none}</style><div class=q>§</div>",
        "<div class=q>§</div><style>.q{display:none}</style>",
        "<div style='displ\\61y:none'>§</div>",
        "<div style='color:red;display:none;cursor:default'>§</div>",
        "<div style='display:none;display:bogus'>§</div>",
        "<div style=\"background:url('a;b');display:none\">§</div>",
        "<div style='visibility:hidden'><b>§</b></div>",
        "<div style='opacity:0.4'><p style='opacity:.1'>§</p></div>",
        "<div style='opacity:5%'>§</div>",
        "<div style='filter:alpha(opacity=0)'>§</div>",
        "<div style='font:0/0 a'>§</div>",
        "<div style='font-size:20px'><b style='font-size:.05em'>§</b></div>",
        "<div style='font-size:0'><h1>§</h1></div>",
        "<div style='font-size:0'><span style='font-size:100%'>§</span></div>",
        "<div style='height:0;overflow:hidden'>§</div>",
        "<div style='max-height:0px;max-width:0px;overflow:hidden'>§</div>",
        "<div style='line-height:0;overflow:hidden'>§</div>",
        "<div style='width:1px;height:1px;overflow:hidden;position:absolute'>§</div>",
        "<span style='display:inline-block;height:0;overflow:hidden'>§</span>",
        "<div style='position:absolute;left:-9999px'>§</div>",
        "<div style='position:fixed;top:-100em'>§</div>",
        "<div style='position:relative;right:-5000px'>§</div>",
        "<div style='margin-left:-9999px'>§</div>",
        "<div style='text-indent:-9999px'>§</div>",
        "<div style='text-indent:-9999px'><p>§</p></div>",
        "<div style='position:absolute;clip:rect(0 0 0 0)'>§</div>",
        "<div style='position:absolute;clip:rect(1px,1px,1px,1px)'>§</div>",
        "<div style='clip-path:inset(50%)'>§</div>",
        "<div style='clip-path:circle(0)'>§</div>",
        "<div style='transform:scale(0)'>§</div>",
        "<div style='transform:translateX(-9999px)'>§</div>",
        "<div style='mso-hide:all'>§</div>",
        "<div style='content-visibility:hidden'>§</div>",
        "<div hidden>§</div>",
        "<div HIDDEN=''>§</div>",
        "<template><p>§</p></template>",
        "<details><summary></summary>§</details>",
        "<dialog>§</dialog>",
        "<svg><desc>§</desc></svg>",
        "<font color=#ffffff>§</font>",
        "<font color=WHITE>§</font>",
        "<font color=fefefe>§</font>",
        "<div style='color:#fdfdfd'>§</div>",
        "<div style='color:rgb(250 250 250)'>§</div>",
        "<div style='color:hsl(0,0%,99%)'>§</div>",
        "<div style='color:rgba(0,0,0,.02)'>§</div>",
        "<div style='color:transparent'>§</div>",
        "<div style='color:#ffffcc'>§</div>",
        "<table bgcolor=#003366><tr><td><font color=#043568>§</font></table>",
        "<div style='background:#222;color:#1c1c1c'>§</div>",
        "<div style='background:black'><p style='background:rgba(0,0,0,.5);color:#000'>§</p></div>",
        "<div style='color:white'><p style='color:inherit'>§</p></div>",
        "<style>.w{color:#fff}</style><td class=w>§</td>",
        "<a href=http://x.example style='color:#fff'>§</a>",
        "<textarea style='display:none'>§</textarea>",
        "<style>textarea{display:none}</style><textarea>§</textarea>",
        "<style>body .q{display:none}</style><div class=q>§</div>",
        "<style>html > body > .q{display:none}</style><div class=q>§</div>",
        "<style>:root .q{display:none}</style><div class=q>§</div>",
        "<sTyLe>.q{display:none}</sTyLe><div class=q>§</div>",
        "<style>@media (width > 300px){.q{display:none}}</style><div class=q>§</div>",
        "<style>@supports (display:block){.q{display:none}}</style><div class=q>§</div>",
        "<style>.r:before{content:'}'} .q{display:none}</style><div class=q>§</div>",
        "<style>.q, .q:hover{display:none}</style><div class=q>§</div>",
        "<style>.\\31 q{display:none}</style><div class=1q>§</div>",
        "<div style='font-size:calc(0px)'>§</div>",
        "<div style='font-size:0;font-size:-1px'>§</div>",
        "<div style='letter-spacing:-1em'>§</div>",
        "<div style='zoom:.01'>§</div>",
        "<div style='translate:-9999px'>§</div>",
        "<div style='-webkit-clip-path:inset(100%)'>§</div>",
        "<div style='background:#336699 url() no-repeat;color:#336699'>§</div>",
        "<div style='color:#fff;text-shadow:0 0 2px white'>§</div>",
        "<div style='height:0;min-height:0;padding:0;overflow:hidden'>§</div>",
    ],
)
def test_what_no_reader_sees_is_hidden(source: str) -> None:
    assert hides(source)


@pytest.mark.parametrize(
    "source",
    [
        "<style>.q{display:none}</style><div class=r>§</div>",
        "<style media=print>.q{display:none}</style><div class=q>§</div>",
        "<style>@media print{.q{display:none}}</style><div class=q>§</div>",
        "<style>@media (max-width:480px){.q{display:none}}</style><div class=q>§</div>",
        "<style>@media (prefers-color-scheme:dark){.q{color:#fff}}</style><div class=q>§</div>",
        # What a telephone shows and a desk does not, and the other way round.
        "<style>.q{display:none} @media (max-width:480px){.q{display:block!important}}</style><div class=q>§</div>",
        "<style>.q:hover{display:none}</style><div class=q>§</div>",
        "<style>.x .q{display:none}</style><div class=x></div><div class=q>§</div>",
        "<style>.x > .q{display:none}</style><div class=x><p><b class=q>§</b></p></div>",
        "<style>.q{display:none}</style><div class=q style='display:block'>§</div>",
        "<style>.q{display:none} div.q{display:block}</style><div class=q>§</div>",
        "<style>.q{display:block!important} #q{display:none}</style><div class=q id=q>§</div>",
        "<!--[if mso]><style>.q{display:none}</style><![endif]--><div class=q>§</div>",
        "<style type=text/x>.q{display:none}</style><div class=q>§</div>",
        "<!--[if !mso]><!--><div>§</div><!--<![endif]-->",
        "<div style='visibility:hidden'><b style='visibility:visible'>§</b></div>",
        "<div style='display:none;display:block'>§</div>",
        "<div style='font-size:0'><p style='font-size:14px'>§</p></div>",
        "<div style='font-size:0'><p style='font:italic 14px/1.2 Georgia'>§</p></div>",
        "<div style='font-size:0'><p style='font-size:1rem'>§</p></div>",
        "<div style='font-size:0'><font size=2>§</font></div>",
        "<div style='height:0'>§</div>",
        "<span style='height:0;overflow:hidden'>§</span>",
        "<td style='height:0;overflow:hidden'>§</td>",
        "<div style='max-height:400px;overflow:hidden'>§</div>",
        "<div style='line-height:0'><p style='line-height:1.5'>§</p></div>",
        "<div style='left:-9999px'>§</div>",
        "<div style='position:absolute;left:-20px'>§</div>",
        "<div style='margin-left:-10px;text-indent:-20px'>§</div>",
        "<div style='clip:rect(0 0 0 0)'>§</div>",
        "<div style='clip-path:inset(10%)'>§</div>",
        "<div style='transform:scale(1.2) rotate(3deg)'>§</div>",
        "<a href=http://x.example style='mso-hide:all'>§</a>",
        "<div aria-hidden=true>§</div>",
        "<div class=hidden data-hidden=1 title='hidden'>§</div>",
        "<noscript>§</noscript>",
        "<details open><summary>x</summary>§</details>".replace("x", ""),
        "<details><summary>§</summary></details>",
        "<td bgcolor=#336699><font color=#ffffff>§</font></td>",
        "<div style='background:#336699;color:#fff'>§</div>",
        "<div style='background:rgb(15, 40, 110) none repeat scroll 0 0;color:#fff'>§</div>",
        "<div style='background:url(x.png);color:#fff'>§</div>",
        "<td background=x.png bgcolor=#ffffff><font color=white>§</font></td>",
        "<td bgcolor=black><p align=center><font color=white><h2><center>§</center></h2></font></td>",
        "<td bgcolor=black><div><font color=white>Sale</div><div>§</div></td>",
        "<table><tr><td bgcolor=black><font color=white>Sale</td></tr><tr><td>§</td></tr></table>",
        "<p><font color=white></p></font>§",
        "<div style='background:linear-gradient(#000,#333);color:#fff'>§</div>",
        "<div style='color:#fff'><a href=http://x.example>§</a></div>",
        "<div style='color:#999'>§</div>",
        "<div style='color:#ff0'>§</div>",
        "<div style='color:#fff;color:#00'>§</div>".replace("#00'", "#000'"),
        "<div style='background:#000;background:bogus-color-function(1);color:#fff'><b"
        " style='background:#000'>§</b></div>",
        "<div style='opacity:.6'>§</div>",
        # Style sheets that are none.
        "<div title='<style>div{display:none}</style>'>§</div>",
        "<title><style>div{display:none}</style></title><div>§</div>",
        "<script>document.write('<style>div{display:none}</style>')</script><div>§</div>",
        "<iframe><style>div{display:none}</style></iframe><div>§</div>",
        # Rules and declarations that browsers drop.
        "<style>.q, ..r{display:none}</style><div class=q>§</div>",
        "<style>.q, .r:bogus{display:none}</style><div class=q>§</div>",
        "<style>.1q{display:none}</style><div class=1q>§</div>",
        "<style>.r{}} .q{display:none}</style><div class=q>§</div>",
        "<style>.r{background:url('}.q{display:none}')}</style><div class=q>§</div>",
        "<style>@supports (display:nonsense){.q{display:none}}</style><div class=q>§</div>",
        "<style>@media (width < 600px){.q{display:none}}</style><div class=q>§</div>",
        "<div style='dis/**/play:none'>§</div>",
        "<div style='display:none\\9'>§</div>",
        "<div style='display:none!x'>§</div>",
        "<div style='font:0'>§</div>",
        "<div style='font-size:0 0'>§</div>",
        "<div style='opacity:0x'>§</div>",
        "<div style='position:absolute;left:-9999'>§</div>",
        # Room that other declarations make.
        "<div style='height:0;min-height:40px;overflow:hidden'>§</div>",
        "<div style='height:0;padding:0 0 56%;overflow:hidden'>§</div>",
        "<div style='height:0%;overflow:hidden'>§</div>",
        "<div style='display:table;width:1px;overflow:hidden'>§</div>",
        "<div style='overflow:hidden'><p style='line-height:0;margin:9px'>§</p></div>",
        "<div style='margin-left:-9999px;padding-left:9999px'>§</div>",
        "<div style='text-indent:-9999px;padding-left:9999px'>§</div>",
        "<div style='font-size:0'><p style='font-size:clamp(12px,2vw,16px)'>§</p></div>",
        "<div style='letter-spacing:-4px'>§</div>",
        "<div style='letter-spacing:-1em'><p style='letter-spacing:normal'>§</p></div>",
        "<div style='zoom:1'>§</div>",
        # Colours that only some readers have, and what is drawn around letters.
        "<div style='background-color:var(--bg,#036);color:#fff'>§</div>",
        "<div style='background:oklch(40% .1 250);color:#fff'>§</div>",
        "<div style='color:#fff;text-shadow:0 0 3px #000'>§</div>",
        # Elements that end without an end tag, or do not end with one.
        "<table><tr><td style='display:none'><tr><td>§</table>",
        "<table><tr><td style='display:none'><td>§</table>",
        "<table><tr style='display:none'><td><tr><td>§</table>",
        "<dl><dt style='display:none'><dd>§</dl>",
        "<head style='display:none'><div>§</div></head>",
    ],
)
def test_what_readers_see_is_read(source: str) -> None:
    assert not hides(source)


@pytest.mark.parametrize(
    ("source", "seen", "hidden"),
    [
        ("<div><font color=white></div>harbour", "", "harbour"),
        ("<p>Log in<font color=white><p>harbour</font><p>to go on", "Log in to go on", "harbour"),
        ("Log in<span><b style='display:none'></span>harbour</b> to go on", "Log in to go on", "harbour"),
        ("<div><font color=white><b></div><div>harbour</div></font> boats", "boats", "harbour"),
        ("<p><font color=white></p><table><tr><td>Log in</table>harbour", "Log in", "harbour"),
        ("<table><tr><td><div><font color=white></div>harbour<td>Log in</table>", "Log in", "harbour"),
        ("<table><tr><td><font color=white>harbour</table>Log in", "Log in", "harbour"),
        ("<p><font color=white></p><h2 style='color:black'>harbour", "", "harbour"),
    ],
)
def test_a_format_lasts_until_its_own_end(source: str, seen: str, hidden: str) -> None:
    message = html(source)
    assert (" ".join(message.new_text.split()), message.hidden_text) == (seen, hidden)


def test_of_formats_that_are_not_ended_the_last_are_kept() -> None:
    unended = "".join(f"<p><font color=#{number:06x}>" for number in range(2_000))
    message = html(f"{unended}<font color=white></p>harbour")
    assert (message.new_text, message.hidden_text) == ("", "harbour")


def test_a_line_moved_out_of_sight_takes_no_other_with_it() -> None:
    message = html("<p>x</p><div style='text-indent:-9999px'>one<br>two<br>three</div>")
    assert message.new_text == "x\n\ntwo\nthree"


def test_a_page_has_one_body_whether_or_not_it_says_so_and_to_its_end() -> None:
    assert html("<style>body{background:#111;color:#eee}</style>pay now").new_text == "pay now"
    assert html("<style>html{background:#111} p{color:#eee}</style><p>pay now</p>").new_text == "pay now"
    assert html("<body bgcolor=black></body></html><p style='color:#fff'>pay now</p>").new_text == "pay now"
    assert html("<body><p>pay</p><body style='display:none'><p>now</p></body>").new_text == "pay\n\nnow"
    assert html("<body style='display:none'></body><p>boats</p>").new_text == ""


MJML = (
    "<!doctype html><html><head><style>@media only screen and"
    " (min-width:480px){.c{width:100%!important}}</style></head>"
    "<body style='word-spacing:normal;background-color:#f4f4f4'>PREVIEW<div"
    " style='background-color:#f4f4f4'><table><tr>"
    "<td style='direction:ltr;font-size:0px;padding:20px 0'><div class=c"
    " style='font-size:0px;display:inline-block'><table>"
    "<tr><td style='font-size:0px;padding:10px 25px'><div"
    " style='font-size:16px;line-height:1.5;color:#333'>TEXT</div></td>"
    "</tr></table></div></td></tr></table></div></body></html>"
)
PREVIEWS = [
    "<div"
    " style='display:none;font-size:1px;color:#fff;line-height:1px;max-height:0;opacity:0;overflow:hidden'>%s</div>",
    "<span style='display:none!important;visibility:hidden;mso-hide:all'>%s</span>",
    "<div style='max-height:0;overflow:hidden'>%s</div>",
    "<div style='font-size:0;line-height:0'>%s</div>",
    "<style>.preheader{display:none}</style><td class=preheader>%s</td>",
]


@pytest.mark.parametrize("way", PREVIEWS)
def test_a_newsletter_reads_right_and_its_preview_text_is_no_trick(way: str) -> None:
    preview = "Winter timetable and three more things" + "&#847;&zwnj;&nbsp;&#8199;&shy;" * 60
    message = html(
        MJML.replace("PREVIEW", way % preview).replace("TEXT", "Hello members, the timetable starts on Monday.")
    )
    assert message.new_text == "Hello members, the timetable starts on Monday."
    assert message.preview.split() == ["Winter", "timetable", "and", "three", "more", "things"]
    assert message.hidden_chars == len("".join(message.preview.split()))
    assert (message.invisible_chars, message.split_words) == (0, 0)


@pytest.mark.parametrize(
    "trick",
    [
        "<div style='display:none'>%s</div>" % ("the captain reads the weather aloud. " * 20),
        "<div style='position:absolute;left:-9999px'>the captain reads</div>",
        "<div style='color:#fff'>the captain reads</div>",
        "<div style='text-indent:-9999px'>the captain reads</div>",
    ],
)
def test_long_or_drawn_hidden_text_in_front_is_no_preview(trick: str) -> None:
    message = html(f"{trick}<p>pay now</p>")
    assert (message.new_text, message.preview) == ("pay now", "")
    assert message.hidden_chars > 10


def test_hidden_text_pushes_nothing_out() -> None:
    filler = "<div style='display:none'>" + "the captain reads the weather aloud. " * 3_000 + "</div>"
    message = html(f"{filler}<p>verify your password <a href=http://evil.example/>here</a></p>{filler}")
    assert message.new_text == "verify your password here"
    assert len(message.hidden_text) == 10_000 and message.hidden_chars > 150_000
    assert [url.host for url in message.urls] == ["evil.example"]


def test_of_html_beyond_its_budget_the_end_is_read() -> None:
    message = html("<p>hello</p><!--" + "x" * 1_100_000 + "--><p>verify your password</p>")
    assert "verify your password" in message.new_text
    assert message.status_of(("text",)) is Status.OVER_BUDGET


@pytest.mark.parametrize(
    ("source", "text", "splits"),
    [
        ("pass<span style='display:none'>xx</span>word", "password", 1),
        ("pa<!-- a -->ss<!-- b -->word", "password", 2),
        ("pass<b></b>word", "password", 1),
        ("pass<font style='font-size:0'>q</font>word in<i></i>voice", "password invoice", 2),
        ("pass&shy;word log&#8203;in", "password login", 2),
        ("<table><tr><td>p</td><td>a</td><td>y</td><td>n</td><td>o</td><td>w</td></tr></table>", "paynow", 1),
        # What typesetting does to words.
        ("<b>W</b>elcome H<sub>2</sub>O", "Welcome H2O", 0),
        ("<p>one<!-- x --> two</p><!-- y --><p>three", "one two\n\nthree", 0),
        ("Donau&shy;dampf&shy;schiff&shy;fahrt", "Donaudampfschifffahrt", 0),
        (
            "<table><tr><td>M</td><td>T</td><td>W</td><td>T</td><td>F</td><td>S</td><td>S</td></tr></table>",
            "M T W T F S S",
            0,
        ),
        ("<table><tr><td>A</td><td>B</td><td>C</td><td>D</td><td>E</td></tr></table>", "A B C D E", 0),
        ("<table><tr><td>Qty</td><td>Item</td><td>a</td><td>EUR</td></tr></table>", "Qty Item a EUR", 0),
    ],
)
def test_divided_words_are_read_whole_and_counted(source: str, text: str, splits: int) -> None:
    message = html(source)
    assert (message.new_text, message.split_words) == (text, splits)


def test_text_written_backwards_is_read_as_drawn() -> None:
    way = "style='unicode-bidi:bidi-override;direction:rtl'"
    assert html(f"<span {way}>drowssap</span>").new_text == "password"
    assert html("<p>&#8238;drowssap&#8236; now").new_text == "password now"


def test_references_in_a_style_are_read_by_value() -> None:
    message = html("a<span style='font-family:&quot;Arial&quot;;display:none'>b</span>c")
    assert (message.new_text, message.hidden_chars) == ("ac", 1)


def test_declarations_and_screens() -> None:
    assert declarations("margin:0 auto;cursor:x") == (("margin-top", "0", False), ("margin-left", "auto", False))
    assert screens("not print") == (True, True)
    assert screens("tv, screen") == (True, True)
    assert not is_seen((255, 255, 255), (250, 250, 250)) and is_seen((119, 119, 119), (255, 255, 255))


def test_too_many_rules_are_said() -> None:
    rules = "".join(f".c{number}{{display:none}}" for number in range(6_000))
    message = html(f"<style>{rules}</style><p class=c1>hidden</p><p>seen</p>")
    assert message.new_text == "seen"
    assert message.status_of(("text",)) is Status.OVER_BUDGET


@pytest.mark.parametrize("sheet", ["", "<style>.a .b{color:red} td{padding:0}</style>"])
def test_reading_leaves_nothing_for_a_collector_to_find(sheet: str) -> None:
    source = f"{sheet}<table class=a><tr><td class=b><b>x<td><div style='color:#111'><i>y</i></div></table>" * 20
    html(source)
    gc.collect()
    gc.disable()
    try:
        html(source)
        assert gc.collect() == 0
    finally:
        gc.enable()
