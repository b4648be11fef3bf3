"""Quotes told by what a thread leaves in a message, as mail programs write it, from what only looks like one."""

from __future__ import annotations

import pytest

from mailwarden.domain.mail.message import Message
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.quotes import split_quotes

PAYLOAD = "Please pay the overdue invoice to our new bank account."
IN_THREAD = "In-Reply-To: <1@corp.example>\nReferences: <0@corp.example> <1@corp.example>\n"
ANSWER = "In-Reply-To: <1@corp.example>\n"


def plain(text: str, headers: str = "") -> Message:
    return parse_message(f"{headers}Content-Type: text/plain; charset=utf-8\n\n{text}".encode())


def html(text: str, headers: str = "") -> Message:
    return parse_message(f"{headers}Content-Type: text/html; charset=utf-8\n\n{text}".encode())


ATTRIBUTIONS = {
    "gmail en": "On Mon, 29 Dec 2025 at 09:00, Bob Roe <bob@corp.example> wrote:",
    "gmail de": "Am Mo., 29. Dez. 2025 um 09:00 Uhr schrieb Bob Roe <bob@corp.example>:",
    "gmail fr": "Le lun. 29 déc. 2025 à 09:00, Bob Roe <bob@corp.example> a écrit :",
    "gmail es": "El lun, 29 dic 2025 a las 9:00, Bob Roe (<bob@corp.example>) escribió:",
    "gmail it": "Il giorno lun 29 dic 2025 alle ore 09:00 Bob Roe <bob@corp.example> ha scritto:",
    "gmail pt": "Em seg., 29 de dez. de 2025 às 09:00, Bob Roe <bob@corp.example> escreveu:",
    "gmail nl": "Op ma 29 dec 2025 om 09:00 schreef Bob Roe <bob@corp.example>:",
    "gmail da": "Den man. 29. dec. 2025 kl. 09.00 skrev Bob Roe <bob@corp.example>:",
    "gmail sv": "Den mån 29 dec. 2025 kl 09:00 skrev Bob Roe <bob@corp.example>:",
    "gmail no": "man. 29. des. 2025 kl. 09:00 skrev Bob Roe <bob@corp.example>:",
    "gmail pl": "pon., 29 gru 2025 o 09:00 Bob Roe <bob@corp.example> napisał(a):",
    "gmail cs": "po 29. 12. 2025 v 9:00 odesílatel Bob Roe <bob@corp.example> napsal:",
    "gmail tr": "Bob Roe <bob@corp.example>, 29 Ara 2025 Pzt, 09:00 tarihinde şunu yazdı:",
    "gmail ru": "пн, 29 дек. 2025 г. в 09:00, Bob Roe <bob@corp.example>:",
    "gmail uk": "пн, 29 груд. 2025 р. о 09:00 Bob Roe <bob@corp.example> пише:",
    "gmail ja": "2025年12月29日(月) 9:00 Bob Roe <bob@corp.example>:",
    "gmail zh-CN": "Bob Roe <bob@corp.example> 于2025年12月29日周一 09:00写道：",
    "gmail zh-TW": "Bob Roe <bob@corp.example> 於 2025年12月29日 週一 上午9:00寫道：",
    "gmail ko": "2025년 12월 29일 (월) 오전 9:00, Bob Roe <bob@corp.example>님이 작성:",
    "gmail fi": "ma 29. jouluk. 2025 klo 9.00 Bob Roe (bob@corp.example) kirjoitti:",
    "gmail hu": "Bob Roe <bob@corp.example> ezt írta (időpont: 2025. dec. 29., H, 9:00):",
    "thunderbird en": "On 29/12/2025 09:00, Bob Roe wrote:",
    "thunderbird pl": "W dniu 29.12.2025 o 09:00, Bob Roe pisze:",
    "thunderbird cs": "Dne 29. 12. 25 v 9:00 Bob Roe napsal(a):",
    "thunderbird ru": "29.12.2025 09:00, Bob Roe пишет:",
    "thunderbird nl": "Op 29-12-2025 om 09:00 schreef Bob Roe:",
    "thunderbird zh": "在 2025/12/29 9:00, Bob Roe 写道:",
    "thunderbird ja": "On 2025/12/29 9:00, Bob Roe wrote:",
    "apple ja": "2025/12/29 9:00、Bob Roe <bob@corp.example>のメール:",
    "apple da": "Den 29. dec. 2025 kl. 09.00 skrev Bob Roe <bob@corp.example>:",
    "two lines": "On Mon, 29 Dec 2025 at 09:00, Bob Roe\n<bob@corp.example> wrote:",
}

BLOCKS = {
    "en": ("From", "Sent", "To", "Subject"),
    "de": ("Von", "Gesendet", "An", "Betreff"),
    "fr": ("De", "Envoyé", "À", "Objet"),
    "es": ("De", "Enviado el", "Para", "Asunto"),
    "it": ("Da", "Inviato", "A", "Oggetto"),
    "pt": ("De", "Enviada em", "Para", "Assunto"),
    "nl": ("Van", "Verzonden", "Aan", "Onderwerp"),
    "da": ("Fra", "Sendt", "Til", "Emne"),
    "sv": ("Från", "Skickat", "Till", "Ämne"),
    "pl": ("Od", "Wysłano", "Do", "Temat"),
    "cs": ("Od", "Odesláno", "Komu", "Předmět"),
    "tr": ("Kimden", "Gönderildi", "Kime", "Konu"),
    "ru": ("От", "Отправлено", "Кому", "Тема"),
    "ja": ("差出人", "送信日時", "宛先", "件名"),
    "zh-CN": ("发件人", "发送时间", "收件人", "主题"),
    "zh-TW": ("寄件者", "寄件日期", "收件者", "主旨"),
    "ko": ("보낸 사람", "보낸 날짜", "받는 사람", "제목"),
}

FORWARDS = {
    "gmail en": "---------- Forwarded message ---------",
    "gmail de": "---------- Weitergeleitete Nachricht ---------",
    "gmail da": "---------- Videresendt meddelelse ---------",
    "gmail nl": "---------- Doorgestuurd bericht ---------",
    "gmail ja": "---------- 転送メッセージ ---------",
    "outlook en": "-----Original Message-----",
    "outlook de": "-----Ursprüngliche Nachricht-----",
    "outlook fr": "-----Message d'origine-----",
    "outlook da": "-----Oprindelig meddelelse-----",
    "outlook pl": "-----Oryginalna wiadomość-----",
    "outlook cs": "-----Původní zpráva-----",
    "outlook tr": "-----Özgün İleti-----",
    "outlook ru": "-----Исходное сообщение-----",
    "outlook zh": "-----邮件原件-----",
    "outlook ko": "-----원본 메시지-----",
    "ru": "-------- Пересылаемое сообщение --------",
    "zh": "------------------ 原始邮件 ------------------",
    "apple": "Begin forwarded message:",
    "rule": "________________________________",
}


@pytest.mark.parametrize("attribution", ATTRIBUTIONS.values(), ids=ATTRIBUTIONS)
@pytest.mark.parametrize("mark", ["> ", ""])
def test_attributions_of_mail_programs_open_a_quote(attribution: str, mark: str) -> None:
    message = plain(f"Thanks, fine.\n\n{attribution}\n\n{mark}OLD WORDS\n{mark}\n{mark}more")
    assert message.new_text == "Thanks, fine."
    assert "OLD WORDS" in message.quoted_text


@pytest.mark.parametrize("attribution", ATTRIBUTIONS.values(), ids=ATTRIBUTIONS)
def test_answers_below_a_quote_stay_new(attribution: str) -> None:
    assert plain(f"{attribution}\n> OLD WORDS\n\nThanks, fine.").new_text == "Thanks, fine."
    escaped = attribution.replace("<", "&lt;").replace(">", "&gt;").replace("\n", "<br>")
    message = html(f"<div>{escaped}<br></div><blockquote type=cite><p>OLD WORDS</p></blockquote><p>Thanks, fine.</p>")
    assert message.new_text == "Thanks, fine."
    assert "OLD WORDS" in message.quoted_text


@pytest.mark.parametrize("labels", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("colon", [": ", "："])
def test_quoted_headers_open_a_quote(labels: tuple[str, ...], colon: str) -> None:
    values = ("Bob Roe <bob@corp.example>", "29. 12. 2025 09:00", "Ann", "plan")
    block = [f"{label}{colon}{value}" for label, value in zip(labels, values, strict=True)]
    message = plain("Thanks, fine.\n\n" + "\n".join(block) + "\n\nOLD WORDS")
    assert message.new_text == "Thanks, fine."
    lines = "<br>".join(f"<b>{line.replace('<', '&lt;')}</b>" for line in block)
    assert (
        html(f"<p>Thanks, fine.</p><div style='border-top:solid'>{lines}</div><p>OLD WORDS").new_text == "Thanks, fine."
    )


@pytest.mark.parametrize(
    "forward",
    [
        "-------- Yönlendirilmiş İleti --------\nKonu: plan\nTarih: 29 Ara 2025\nKimden: B <b@corp.example>\nKime: a",
        "-------- Перенаправленное сообщение --------\nТема: plan\nДата: 29.12.2025\nОт: B <b@corp.example>\nКому: a",
        "-------- 转发的消息 --------\n主题: plan\n日期: 29.12.2025\n发件人: B <b@corp.example>\n收件人: a",
        "-------- Videresendt besked --------\nEmne: plan\nDato: 29.12.2025\nFra: B <b@corp.example>\nTil: a",
        "------[ 받은 메일 내용 ]------\n제목 : plan\n날짜 : 2025-12-29\n보낸이 : B <b@corp.example>\n받는이 : a",
        '-------- Пересылаемое сообщение --------\n29.12.2025, 09:00, "B" <b@corp.example>:',
        "------- Original Message -------\nOn Monday, December 29th, 2025 at 9:00, B <b@corp.example> wrote:\n",
        "> Message du 29/12/25 09:00\n> De : B <b@corp.example>\n> A : a\n> Objet : plan\n>",
    ],
)
def test_lines_above_a_quoted_header_are_part_of_the_quote(forward: str) -> None:
    mark = "> " if forward[0] == ">" else ""
    message = plain(f"See below.\n\n{forward}\n{mark}\n{mark}OLD WORDS")
    assert message.new_text == "See below."
    assert message.quoted_text.endswith("OLD WORDS")


@pytest.mark.parametrize("forward", FORWARDS.values(), ids=FORWARDS)
def test_forwarding_lines_open_a_quote(forward: str) -> None:
    block = "From: Bob Roe <bob@corp.example>\nDate: Mon, 29 Dec 2025\nTo: Ann\nSubject: plan"
    message = plain(f"See below.\n\n{forward}\n{block}\n\nOLD WORDS")
    assert message.new_text == "See below."
    assert message.quoted_text.endswith("OLD WORDS")


def test_a_bare_forward_is_read() -> None:
    message = plain("---------- Forwarded message ---------\nFrom: Bob\nDate: Monday\nTo: Ann\n\n" + PAYLOAD)
    assert PAYLOAD in message.new_text and message.quoted_text == ""


@pytest.mark.parametrize(
    "quote",
    [
        '<div class="gmail_quote"><div class="gmail_attr">On Mon, 29 Dec 2025 Bob'
        " &lt;bob@corp.example&gt; wrote:<br></div>"
        '<blockquote class="gmail_quote">OLD</blockquote></div>',
        '<div class="gmail_quote gmail_quote_container"><div dir="ltr" class="gmail_attr">On Mon, 29'
        " Dec 2025 at 09:00, Bob "
        '&lt;<a href="mailto:bob@corp.example">bob@corp.example</a>&gt;'
        " wrote:<br></div><blockquote>OLD</blockquote></div>",
        '<div class="yahoo_quoted"><div><div>On Monday, 29 December 2025 at 09:00, Bob wrote:'
        " </div><div>OLD</div></div></div>",
        '<div class="moz-cite-prefix">On 29/12/2025 09:00, Bob wrote:<br></div><blockquote'
        ' type="cite">OLD</blockquote>',
        '<blockquote type="cite"><div>On 29 Dec 2025, at 09:00, Bob wrote:</div><div>OLD</div></blockquote>',
        '<div id="appendonsend"></div><hr><div id="divRplyFwdMsg"><b>From:</b> Bob<br><b>Sent:</b>'
        " Monday<br><b>To:</b> Ann"
        "<br><b>Subject:</b> x</div><div>OLD</div>",
        '<div name="quote"><div><b>Gesendet:</b> Montag<br><b>Von:</b> Bob<br><b>An:</b>'
        " Ann<br><b>Betreff:</b> x</div>OLD</div>",
        "<table><tr><td>From:</td><td>Bob</td></tr><tr><td>Date:</td><td>Monday</td></tr><tr><td>To:</td><td>Ann</td></tr>"
        "</table>OLD",
    ],
)
def test_quotes_of_mail_programs_in_html(quote: str) -> None:
    message = html(f"<div>Thanks, fine.</div><br>{quote}", ANSWER)
    assert message.new_text == "Thanks, fine."
    assert "OLD" in message.quoted_text


@pytest.mark.parametrize("headers", ["", ANSWER], ids=["no thread", "forged answer"])
@pytest.mark.parametrize(
    "trick",
    [
        f"<div class=gmail_quote><p>{PAYLOAD}</p></div>",
        f"<blockquote class=gmail_quote>{PAYLOAD}</blockquote>",
        f"<div class=yahoo_quoted>{PAYLOAD}</div>",
        f"<div class=protonmail_quote>{PAYLOAD}</div>",
        f"<div class=moz-cite-prefix>{PAYLOAD}</div>",
        f"<div class=zmail_extra>{PAYLOAD}</div>",
        f"<blockquote type=cite>{PAYLOAD}</blockquote>",
        f"<blockquote type=cite cite='mid:1@x'>{PAYLOAD}</blockquote>",
        f"<div style='border-left:1px solid #ccc;padding-left:1ex'>{PAYLOAD}</div>",
        f"<div id=divRplyFwdMsg>{PAYLOAD}</div>",
        f"<div id=appendonsend></div><p>{PAYLOAD}</p>",
        f"<div class=OutlookMessageHeader></div><p>{PAYLOAD}</p>",
        f"<span id=olk_src_body_section>{PAYLOAD}</span>",
        f"<div class=gmail_quote><div class=gmail_attr></div><p>{PAYLOAD}</p><p>On Monday 1, Bob"
        f" wrote:</p><p>x</p></div>",
        f"<p>&gt; {PAYLOAD}</p>",
    ],
)
def test_what_stands_under_a_made_up_mark_is_new(trick: str, headers: str) -> None:
    message = html(f"<div>Hi Bob,</div>{trick}", headers)
    assert message.new_text.startswith("Hi Bob,") and PAYLOAD in message.new_text


@pytest.mark.parametrize(
    "trick",
    [
        f"> {PAYLOAD}",
        f"| {PAYLOAD}",
        f"BR> {PAYLOAD}",
        f"-----Original Message-----\n\n{PAYLOAD}",
        f"---------- Forwarded message ---------\n{PAYLOAD}",
        f"________________________________\n{PAYLOAD}",
        f"-- \n{PAYLOAD}",
        f"From: here on it is easy:\n{PAYLOAD}",
        f"Begin forwarded message:\n\n{PAYLOAD}",
    ],
)
def test_made_up_marks_in_plain_text(trick: str) -> None:
    assert PAYLOAD in plain(f"Hi Bob,\n\n{trick}").new_text


def test_marked_lines_are_quotes_where_the_headers_name_the_thread() -> None:
    assert split_quotes("yes\n\n> old", "thread") == ("yes", "> old")
    assert split_quotes("> old\n\nyes", "answered") == ("yes", "> old")
    assert split_quotes("yes\n\n> old", "answered") == ("yes\n\n> old", "")
    assert plain("yes\n\n> old", IN_THREAD).new_text == "yes"


@pytest.mark.parametrize(
    "prose",
    [
        "Opening hours on Monday:\n9:00 to 17:00",
        "From: 9:00\nTo: 17:00",
        "Date: 5 May\nFrom: 9:00\nTo: 17:00\nbring tea",
        "Write to Ann <ann@corp.example>:\nshe knows",
        "> summary(model)\nCall: glm",
        "----------\nsale\n----------",
        "日時: 12月29日\n場所: 会議室",
        "Od: 9:00\nDo: 17:00\nTemat: plan",
        "---- Order ----\nSubject: two desks\nDate: 5 May\nTo: room 4",
        "> Tickets\n> From: 9:00\n> To: 17:00",
        "-----Original Message-----",
    ],
)
def test_prose_is_not_taken_for_a_quote(prose: str) -> None:
    new, quoted = split_quotes(f"Hello\n\n{prose}")
    assert quoted == ""
    assert new == f"Hello\n\n{prose}"


@pytest.mark.parametrize("between", ["\n\n", "\n"])
@pytest.mark.parametrize(
    "attribution",
    ['"Bob Roe" <bob@corp.example> writes:', "Bob Roe <bob@corp.example> wrote:", ATTRIBUTIONS["gmail en"]],
)
def test_a_line_with_an_address_above_an_attribution_is_new(attribution: str, between: str) -> None:
    tested = "Tested-by: Ann Lee <ann@corp.example>"
    message = plain(f"Works here.\n\n{tested}{between}{attribution}\n\n> Allow more.\n", IN_THREAD)
    assert message.new_text == f"Works here.\n\n{tested}"
    assert "Allow more." in message.quoted_text


@pytest.mark.parametrize(
    "above",
    [
        "---------------------- Forwarded by Ann Lee/LON/CORP on 04/24/2000 08:37 AM ---------------------------",
        "----- Forwarded by Ann Lee/Corp on 24.04.00 08:37 -----",
        "---------------------- Forwarded by Facilities/LON/CORP on\n04/24/2000 08:37 AM ---------------------------",
        "\tFrom:  Ann Lee               01/12/2001 07:31 PM\n\t\n\nSent by: Bob Roe\nTo: All\ncc:  \n\nSubject: boats",
        '>>> "Ann Lee" <ann@corp.example> 06/27/00 01:06PM >>>',
        ">>> Ann Lee 27.06.2000 13:06 >>>",
        "From: Ann Lee <ann@corp.example>\nTo: " + "Bob <bob@corp.example>,\n " * 9 + "Eve\nSubject: a\nDate: 5 May",
    ],
)
def test_what_programs_write_above_a_quote(above: str) -> None:
    new, quoted = split_quotes(f"See below.\n\n{above}\n\nThe harbour opens at ten.")
    assert new == "See below."
    assert quoted.endswith("The harbour opens at ten.")


@pytest.mark.parametrize(
    "prose",
    [
        "---- Forwarded by the harbour office ----\nPlease pay.",
        "From: Monday 01/12/2001\nTo: Friday\nSubject: works on the quay",
        "From: 01/12/2001 07:30\nTo: 01/12/2001 09:30\nSubject: works on the quay",
        ">>> import boats\n>>> boats.launch('01/12/2001 07:30')",
        ">>> Sale ends 01/12/2001 >>>\nPlease pay.",
        ">>> 01/12/2001 07:30 >>>\nPlease pay.",
    ],
)
def test_what_only_looks_like_it_is_new(prose: str) -> None:
    assert split_quotes(f"Hello\n\n{prose}") == (f"Hello\n\n{prose}", "")
