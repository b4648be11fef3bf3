from __future__ import annotations

import base64

import pytest

from mailwarden.domain.mail.message import Message
from mailwarden.ingest.charset_labels import codec_for
from mailwarden.ingest.parse import parse_message

RUSSIAN = "Здравствуйте, предлагаем вам наши услуги по ремонту квартир и офисов."
CHINESE = "尊敬的客户，您的账户已被暂停，请在二十四小时内验证您的密码。"
TAIWANESE = "親愛的客戶，您的帳戶已被暫停，請在二十四小時內驗證您的密碼。"
KOREAN = "고객님의 계정이 정지되었습니다. 비밀번호를 확인해 주십시오."
JAPANESE = "お客様のアカウントは停止されました。パスワードを確認してください。"
THAI = "บัญชีของคุณถูกระงับ กรุณายืนยันรหัสผ่านของคุณ"
FRENCH = "Votre compte a été bloqué à la suite d’une vérification — où êtes-vous ?"
POLISH = "Państwa konto zostało zawieszone, proszę potwierdzić swoje hasło już dziś."


def read(label: str, data: bytes, kind: str = "plain") -> Message:
    named = f"; charset={label}" if label else ""
    return parse_message(f"Content-Type: text/{kind}{named}\n\n".encode() + data)


def codes(message: Message) -> set[str]:
    return {defect.code for defect in message.defects if defect.code.startswith("charset_")}


@pytest.mark.parametrize(
    ("label", "data", "text"),
    [
        ("ISO-2022-JP", b"\x1b$B-!\x1b(B \x1b$B-5-j\x1b(B", "① Ⅰ㈱"),
        ("iso-2022-jp", b"\x1b$B|b\x1b(B", "髙"),
        ("iso-2022-jp", b"\x1b(I12\x1b(B \x1b$@F|K\\\x1b(J", "ｱｲ 日本"),
        ("cp50222", b"\x0e12\x0f", "ｱｲ"),
        ("cp50220", "日本".encode("iso2022_jp"), "日本"),
        ("windows-31j", "①髙崎㈱".encode("cp932"), "①髙崎㈱"),
        ("shift_jis", "①髙崎㈱～".encode("cp932"), "①髙崎㈱～"),
        ("euc-jp", b"\xad\xa1 \xc6\xfc\xcb\xdc \x8e\xb1", "① 日本 ｱ"),
        ("eucJP-ms", b"\xad\xea", "㈱"),
        ("iso-2022-jp-2", "日本 é 한".encode("iso2022_jp_2"), "日本 é 한"),
        ("iso-2022-jp-3", "日本 ①".encode("iso2022_jp_3"), "日本 ①"),
        ("iso-2022-jp-2004", "日本 俱".encode("iso2022_jp_2004"), "日本 俱"),
        ("iso-2022-jp-2", b"\x1b$B-!\x1b(B", "①"),
        ("gbk", b"\x80 100 " + "您的账户".encode("gbk"), "€ 100 您的账户"),
        ("big5", b"\xa3\xe1 100 " + "您的帳戶".encode("big5"), "€ 100 您的帳戶"),
        ("x-mac-ukrainian", "Привіт".encode("mac_cyrillic"), "Привіт"),
        ("gb2312", "镕囧€".encode("gb18030"), "镕囧€"),
        ("GBK", "𠀀".encode("gb18030"), "𠀀"),
        ("hz-gb-2312", b"~{VPND~}", "中文"),
        ("ks_c_5601-1987", "똠방각하".encode("cp949"), "똠방각하"),
        ("euc-kr", "펲시콜라".encode("cp949"), "펲시콜라"),
        ("iso-2022-kr", "한국".encode("iso2022_kr"), "한국"),
        ("big5", "嘅冇".encode("big5hkscs"), "嘅冇"),
        ("iso-8859-1", b"\x93a\x94 \x80", "“a” €"),
        ("iso-8859-15", b"\x93a\x94 \xa4", "“a” €"),
        ("latin9", b"\xa4", "€"),
        ("iso-8859-9", b"\xf0\x80", "ğ€"),
        ("tis-620", b"\xa1\x80", "ก€"),
        ("iso88592", "łóż".encode("iso8859_2"), "łóż"),
        ("win-1251", "Да".encode("cp1251"), "Да"),
        ("x-cp1251", "Да".encode("cp1251"), "Да"),
        ("KOI8-U", "ґ Да".encode("koi8_u"), "ґ Да"),
        ("utf-16", b"\xff\xfe" + "aé".encode("utf-16-le"), "aé"),
        ("utf-16", "aé b".encode("utf-16-le"), "aé b"),
        ("utf-16", "aé b".encode("utf-16-be"), "aé b"),
        ("utf-32", "aé".encode("utf-32-be"), "aé"),
        ("UTF8", "naïve".encode(), "naïve"),
    ],
)
def test_what_is_labelled_is_read_in_the_superset_that_it_is_written_in(label: str, data: bytes, text: str) -> None:
    message = read(label, data)
    assert message.new_text == text
    assert codes(message) == set()


@pytest.mark.parametrize("label", ["", "unknown-8bit", "x-user-defined", "us-ascii", "utf-8", "iso-8859-1"])
@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (RUSSIAN, "koi8_r"),
        (RUSSIAN, "cp1251"),
        (CHINESE, "gb18030"),
        (TAIWANESE, "big5"),
        (KOREAN, "cp949"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "iso2022_jp"),
        (THAI, "cp874"),
        (RUSSIAN, "utf-8"),
        (JAPANESE, "utf-8"),
    ],
)
def test_what_the_label_cannot_be_is_guessed_and_said(label: str, text: str, codec: str) -> None:
    message = read(label, text.encode(codec))
    assert message.new_text == text
    honest = (label == "utf-8" or label == "us-ascii") and codec == "utf-8"
    assert bool(codes(message)) is not honest


@pytest.mark.parametrize("label", ["iso-8859-1", "windows-1252", "", "us-ascii"])
def test_western_text_is_not_taken_for_another_script(label: str) -> None:
    for text in (FRENCH, "Grüße aus Köln", "¡¡¡Olé!!! «««¿Qué?»»»", "price: 5 £ © 2024", "•••••••••• new ••••••••••"):
        message = read(label, text.encode("cp1252"))
        assert message.new_text == text
        assert "charset_guessed" not in codes(message)


def test_polish_is_told_from_western_text() -> None:
    assert read("", POLISH.encode("cp1250")).new_text == POLISH


def test_a_byte_order_mark_goes_before_the_label() -> None:
    assert read("iso-8859-1", b"\xef\xbb\xbf" + RUSSIAN.encode()).new_text == RUSSIAN
    assert read("utf-8", b"\xff\xfe" + "plain".encode("utf-16-le")).new_text == "plain"


def test_the_charset_of_markup_counts_where_the_header_names_none() -> None:
    for head in (
        '<meta charset="windows-1251">',
        '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">',
        '<?xml version="1.0" encoding="windows-1251"?>',
    ):
        data = head.encode() + b"<p>" + RUSSIAN.encode("cp1251")
        assert read("", data, "html").new_text == RUSSIAN
        assert read("x-unknown", data, "html").new_text == RUSSIAN
    # Markup that can be read byte by byte is in no wide encoding, whatever it says.
    assert read("", b"<meta charset=utf-16><p>plain", "html").new_text == "plain"


def test_seven_bit_text_under_a_wide_label_is_read() -> None:
    message = read("utf-16", b"verify your password")
    assert message.new_text == "verify your password" and "charset_mismatch" in codes(message)


def test_utf7_is_read_and_said() -> None:
    message = read("utf-7", b"+AOk-t+AOk-")
    assert message.new_text == "été" and codes(message) == {"charset_utf7"}


def test_text_that_nearly_fits_keeps_its_label() -> None:
    russian = RUSSIAN.encode() * 5
    assert read("utf-8", russian[:-1]).new_text.startswith(RUSSIAN)


@pytest.mark.parametrize("label", ["rot13", "unicode_escape", "idna", "zlib", "os.path", "../x", "x" * 500])
def test_labels_of_no_text_encoding_are_none(label: str) -> None:
    assert codec_for(label) is None


def encoded_words(text: str, codec: str, label: str, at: int) -> str:
    data = text.encode(codec)
    words = (base64.b64encode(piece).decode() for piece in (data[:at], data[at:]))
    return "\n ".join(f"=?{label}?B?{word}?=" for word in words)


@pytest.mark.parametrize(
    ("text", "codec", "label"),
    [
        (RUSSIAN, "utf-8", "utf-8"),
        ("①髙崎の件", "cp932", "Shift_JIS"),
        ("镕囧的账户", "gb18030", "gb2312"),
        ("똠방각하 계정", "cp949", "ks_c_5601-1987"),
        (TAIWANESE, "big5", "big5"),
    ],
)
def test_characters_cut_in_two_by_encoded_words_are_whole(text: str, codec: str, label: str) -> None:
    for at in (1, 3, 4):
        raw = f"Subject: {encoded_words(text, codec, label, at)}\n\n".encode()
        assert parse_message(raw).subject == text
    quoted = "".join(f"={byte:02X}" for byte in text.encode(codec))
    cut = f"=?{label}?Q?{quoted[:3]}?= =?{label.upper()}?Q?{quoted[3:]}?="
    assert parse_message(f"Subject: {cut}\n\n".encode()).subject == text


def test_base64_that_is_cut_itself_is_put_together() -> None:
    whole = base64.b64encode(JAPANESE.encode()).decode()
    raw = f"Subject: =?utf-8?B?{whole[:13]}?= =?utf8?B?{whole[13:]}?=\n\n"
    assert parse_message(raw.encode()).subject == JAPANESE
    assert parse_message(b"Subject: =?utf-8?B?aGVsbG8?= =?utf-8?B?d29ybGQ?=\n\n").subject == "helloworld"


def test_encoded_words_in_japanese_escapes_hold_rows_of_vendors() -> None:
    word = base64.b64encode(b"\x1b$B-!F|K\\\x1b(B").decode()
    assert parse_message(f"Subject: =?ISO-2022-JP?B?{word}?=\n\n".encode()).subject == "①日本"


def test_eight_bit_headers_are_guessed_or_in_the_charset_of_the_message() -> None:
    assert parse_message(b"Subject: " + RUSSIAN.encode("koi8_r") + b"\n\n").subject == RUSSIAN
    for codec, label in (("iso8859_5", "iso-8859-5"), ("cp1251", "windows-1251")):
        head = f"Content-Type: text/plain; charset={label}\nSubject: ".encode()
        assert parse_message(head + "Привет".encode(codec) + b"\n\n").subject == "Привет"
    french = b"Content-Type: text/plain; charset=windows-1251\nSubject: " + FRENCH.encode("cp1252") + b"\n\n"
    assert parse_message(french).subject == FRENCH
