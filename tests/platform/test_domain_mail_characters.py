"""Invisible characters and letters drawn like others: what deceives, beside what writing systems ask for."""

from __future__ import annotations

import unicodedata

import pytest

from mailwarden.domain.mail import characters
from mailwarden.domain.mail.address_marks import has_lookalike_mark
from mailwarden.domain.mail.characters import MAX_EXAMINED, lookalike_words, shown
from mailwarden.domain.mail.lookalikes import ASCII_OF, LOOKALIKES

INVISIBLE = [
    chr(point)
    for point in (
        0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x180B, 0x180E, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x202A,
        0x202C, 0x2060, 0x2061, 0x2063, 0x2066, 0x2069, 0x206F, 0x3164, 0xFE00, 0xFE0F, 0xFEFF, 0xFFA0, 0xFFF9, 0x1BCA0,
        0x1D173, 0xE0001, 0xE0061, 0xE0101,
    )
]  # fmt: skip


@pytest.mark.parametrize("character", INVISIBLE, ids=lambda c: f"U+{ord(c):04X}")
def test_a_word_is_read_whole_whatever_invisible_character_divides_it(character: str) -> None:
    seen = shown(f"your pass{character}word and in{character}{character}voice")
    assert seen.text == "your password and invoice"
    assert seen.split_words == 2
    assert seen.invisible == 3


def test_every_format_character_is_known() -> None:
    drawn = (
        set(range(0x600, 0x606)) | {0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD} | set(range(0x13430, 0x13440))
    )
    for point in range(0x80, 0x110000):
        if unicodedata.category(chr(point)) == "Cf" and point not in drawn and not 0xE0000 <= point < 0xE1000:
            # Two of them, so that one at least stands where no script asks for it.
            assert shown(f"pass{chr(point)}word").text == "password" or point in (0x202E, 0x202D), hex(point)


@pytest.mark.parametrize(
    "text",
    [
        "سلام، می\u200cخواهم جلسه\u200cای برای بررسی گزارش\u200cها برنامه\u200cریزی کنیم. کتاب\u200cهایشان",
        "مرحبا \u200fكيف حالك؟ رقم الطلب \u200e123-45\u200f شكرا، محمد \u202bOrder 5\u202c",
        "שלום \u200fמה שלומך? Order \u200e55\u200f",
        "क्\u200dष और र्\u200dय, श्री\u200cमान हिन्दी में नमस्ते",
        "শ্র\u200cী বাংলা র\u200d্যাব, ශ්\u200dරී ලංකා",
        "ภาษา\u200bไทย\u200bไม่\u200bเว้น\u200bวรรค",
        "ខ្ញុំ\u200bចង់\u200bទៅ",
        "👨\u200d👩\u200d👧 👩🏽\u200d⚕\ufe0f ❤\ufe0f 🏳\ufe0f\u200d🌈 1\ufe0f⃣ ✔\ufe0f ☎\ufe0f ©\ufe0f",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f England",
        "葛\U000e0100飾区 辻\U000e0101",
        "Donau\u00addampf\u00adschiff\u00adfahrts\u00adgesell\u00adschaft",
        "Kraft\u00adfahr\u00adzeug\u00adversicherung, Daten\u00adschutz\u00aderklärung",
        "Hello \u2068Ann\u2069, call \u202a+1 555 0142\u202c please",
        "\ufeffDear members",
        "Preview\u00a0\u034f\u00a0\u200c\u00a0\u00ad\u00a0\u200b \u200c \u200c",
    ],
)
def test_honest_writing_fires_nothing(text: str) -> None:
    seen = shown(text)
    assert (seen.invisible, seen.split_words) == (0, 0)
    assert lookalike_words(text).lookalikes == 0


@pytest.mark.parametrize("text", ["سلام، می\u200cخواهم", "क्\u200dष", "👨\u200d👩\u200d👧 ❤\ufe0f", "葛\U000e0100飾区"])
def test_what_a_script_asks_for_stays_in_the_text(text: str) -> None:
    assert shown(text).text == text


def test_tags_and_overrides_count_wherever_they_stand() -> None:
    assert shown("hello \U000e0069\U000e0067 you").invisible == 2
    assert shown("file \u202egpj.exe").text == "file exe.jpg"
    assert shown("file \u202egpj.exe").invisible == 1


def test_the_work_on_one_text_is_bounded() -> None:
    seen = shown("a\u200b" * (MAX_EXAMINED + 10))
    assert seen.text == "a" * (MAX_EXAMINED + 10)
    assert seen.invisible >= MAX_EXAMINED


@pytest.mark.parametrize(
    "text",
    [
        "p\u0430ypal account",  # a Cyrillic letter among Latin ones
        "Your раураӏ account",
        "the аррӏе store",
        "Ϲhase bank",
        "the ΒΑΝΚ writes",
        "ᴘᴀʏᴘᴀʟ here",
        "see ɡmɑil now",
        "𝗣𝗮𝘆𝗣𝗮𝗹 now",
        "𝒫𝒶𝓎 and more",
        "🅿🅰🆈🅿🅰🅻 here",
        "Ⓟⓐⓨ here",
        "🄿🄰🅈 here",
        "ＰａｙＰａｌ login",
        "ՕՈᏞҮ today".replace("Ո", "n"),
        "ꓑꓮꓬ now",
        "miсrоsоft support",
        "раура1 and Ваnk mail",
        "your passw\u05e1rd",
        "your passw\u0647rd",
        "Ⅿicrosoft asks",
        "from paypaⅼ now",
        "please ᵛᵉʳⁱᶠʸ it",
    ],
)
def test_words_that_only_look_latin_are_found(text: str) -> None:
    assert lookalike_words(text).lookalikes == 1 or "Ваnk" in text
    assert lookalike_words(text).lookalikes >= 1


@pytest.mark.parametrize(
    "text",
    [
        "Сухо в лесу, а оса летит: хор поёт, рос сахар",
        "ВЕСНА НА НОС, МАСТЕР ТОРТ",
        "PDFа и SMSки в наших документах открываются",
        "Встреча с Оса Петров завтра",
        "και του νου το Ελληνικά υιός",
        "Արև ու հաց, ուս",
        "kapı ılık þetta Łódź ħobż øre",
        "Δt = 5 μs, R = 3 kΩ, β-carotene and α2",
        "ＮＨＫニュース、ＷＥＢサイト",
        "① first ② second",
        "press 🅿 for parking, blood group 🅰",
        "x² + y³, H₂O, 1ª vez, nº 5, ™ ℃ №",
        "naïve café Zürich",
        "/ˈæpəl/ noun",
        "ITニュース USBケーブル Web会議",
        "삼성 TV 및 LG전자",
        "ב\u05e1Google ולMicrosoft\u05e1",
        "تطبيق WhatsApp\u0647 جديد",
        "PlayStationⅡ, TypeⅣ, 第Ⅻ章",
        "the 1ˢᵗ and 2ⁿᵈ",
        "ᐃᓄᒃᑎᑐᑦ, in Inuktitut",
    ],
)
def test_other_alphabets_are_no_lookalikes(text: str) -> None:
    assert lookalike_words(text).lookalikes == 0


def test_a_sign_that_looks_like_at_makes_an_address() -> None:
    assert has_lookalike_mark("ceo＠corp.example") and has_lookalike_mark("ann﹫corp．example")
    assert not has_lookalike_mark("ann@corp.example") and not has_lookalike_mark("渋谷＠東京")


def test_the_table_of_lookalikes() -> None:
    assert all(len(letter) == 1 and letter.isascii() and letter.isalpha() for letter in LOOKALIKES)
    assert len(ASCII_OF) == sum(map(len, LOOKALIKES.values())) > 300
    assert not any(chr(point).isascii() for point in ASCII_OF)


def test_windows_1252_has_one_unseen_character_and_one_that_is_drawn_like_letters() -> None:
    """What `is_western` spares a search for."""
    western = [char for code in range(256) if (char := bytes([code]).decode("cp1252", "ignore"))]
    patterns = (characters._FOREIGN, characters._STYLED, characters._ODD_LATIN, characters._STANDS_WITHIN)
    assert [char for char in western if characters._INVISIBLE.search(char)] == [characters.SHY]
    assert [char for char in western if any(one.search(char) for one in patterns)] == ["\u2122"]
    assert all(map(characters.is_western, western)) and not characters.is_western("a\u200bb")
