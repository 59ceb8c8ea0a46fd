# ruff: noqa: RUF001
"""Whatever a vocabulary can write comes through as it is, in every script; marks go by category."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.text.normalize import comparable_text, drop_silent_marks, normalize_text


def letters(*ranges):
    characters = (chr(code) for low, high in ranges for code in range(low, high + 1))
    return "".join(character for character in characters if unicodedata.category(character)[0] in "LM")


VOCABULARIES = {
    # With the letters that Unicode forms always take apart: rra, rha, yya; qa ... yya.
    "bengali": letters((0x981, 0x9CC), (0x9DC, 0x9DF)) + "\u09cd \u200d",
    "hindi": letters((0x901, 0x94D), (0x958, 0x961)) + " \u200d",
    "nukta composed": "कग\u0958 ",
    "nukta apart": "कग\u093c ",
    "thai": letters((0xE01, 0xE4C), (0xE4E, 0xE4E)),  # no space; am, which NFKC takes apart
    "lao": letters((0xE81, 0xECD)),
    "amharic": letters((0x1200, 0x135A)) + " ",
    "georgian": letters((0x10D0, 0x10F0)) + " ",
    "georgian and capitals": letters((0x10D0, 0x10F0)) + "ABC ",
    "turkish": "abcçdefgğhıijklmnoöprsştuüvyz ",
    "turkish capitals": "ABCÇDEFGĞHIİJKLMNOÖPRSŞTUÜVYZ ",
    "arabic": letters((0x621, 0x652)) + "ٱ ",
    "persian": letters((0x621, 0x63A), (0x641, 0x648)) + "پچژکگی\u200c ",
    "arabic as presented": letters((0xFE80, 0xFEF4)) + " ",
    "hebrew": letters((0x5D0, 0x5EA), (0x5B0, 0x5BB)) + "\ufb2a\ufb2b\u05f3 ",
    "korean": "가각간나다라마바사아자차카타파하힣 ",
    "korean letters": letters((0x1100, 0x1112), (0x1161, 0x1175), (0x11A8, 0x11C2)) + " ",
    "korean letters for print": letters((0x3131, 0x3163)) + " ",
    "chinese": "的一是不了人我在有\uf900\u2f00",
    "japanese": "はいがぎゃーハイ日本\u3099",
    "vietnamese": "aăâbcdđeêghiklmnoôơpqrstuưvxyàáảãạằắẳẵặầấẩẫậèéẻẽẹềếểễệìíỉĩịòóỏõọồốổỗộờớởỡợùúủũụừứửữựỳýỷỹỵ ",
    "vietnamese with tones apart": "aăâbcdđeêghiklmnoôơpqrstuưvxy\u0300\u0301\u0303\u0309\u0323 ",
    "greek": "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ ",
    "german": "abcdefghijklmnopqrstuvwxyzäöüß' ",
    "german capitals": "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜß' ",
    "english with everything": "abcABC'\u2019\u02bc´`.,?!½²ﬁ\uff21%-0123 ",
}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_character_of_a_vocabulary_comes_through_alone(name):
    for character in VOCABULARIES[name].replace(" ", ""):
        assert normalize_text(character, VOCABULARIES[name]) == character
        assert drop_silent_marks(character, VOCABULARIES[name]) == character


@pytest.mark.parametrize("name", VOCABULARIES)
@settings(max_examples=20)
@given(data=st.data())
def test_what_a_vocabulary_writes_comes_through(name, data):
    vocabulary = VOCABULARIES[name]
    text = data.draw(st.text(st.sampled_from(vocabulary)))
    words = (" " if " " in vocabulary else "").join(text.split())
    assert normalize_text(text, vocabulary) == words
    assert drop_silent_marks(text, vocabulary) == text


@pytest.mark.grid
@pytest.mark.parametrize("name", VOCABULARIES)
@settings(max_examples=20)
@given(data=st.data())
def test_forms_and_normalization_agree(name, data):
    """What was composed or decomposed on its way is the text that the vocabulary writes; twice is once."""
    vocabulary = VOCABULARIES[name]
    text = data.draw(st.text(st.sampled_from(vocabulary) | st.characters(codec="utf-8"), max_size=12))
    once = normalize_text(text, vocabulary)
    assert normalize_text(once, vocabulary) == once


@pytest.mark.parametrize(
    ("name", "written", "expected"),
    [
        ("nukta composed", "क\u093c", "\u0958"), ("nukta apart", "\u0958", "क\u093c"),
        ("thai", "น\u0e4d\u0e32", "น\u0e33"), ("thai", "ไป ไหน", "ไปไหน"),
        ("vietnamese", unicodedata.normalize("NFD", "tiếng việt"), "tiếng việt"),
        ("vietnamese", "TIẾNG VIỆT", "tiếng việt"),
        ("vietnamese with tones apart", "tiếng việt", "tiê\u0301ng viê\u0323t"),
        ("korean", unicodedata.normalize("NFD", "나라"), "나라"),
        ("korean letters", "나라", unicodedata.normalize("NFD", "나라")),
        ("turkish", "IŞIK İZMİR I\u0307", "ışık izmir i"), ("turkish capitals", "ışık izmir", "IŞIK İZMİR"),
        ("georgian", "ᲗᲑᲘᲚᲘ", "თბილი"), ("georgian and capitals", "თაbᲑ", "თაBბ"),
        ("greek", "ΟΔΟΣ ΣΑΣ", "οδος σας"), ("german", "STRASSE ﬁN", "strasse fin"), ("german capitals", "ﬁn", "FIN"),
        ("chinese", "我在，有", "我在,有"), ("hebrew", "ש\u05c1", "\ufb2a"),
    ],
)  # fmt: skip
def test_other_spellings_become_the_vocabularys(name, written, expected):
    assert normalize_text(written, VOCABULARIES[name]) == expected


def test_digits_of_another_script_are_those_of_the_vocabulary_where_it_has_any():
    assert normalize_text("३ ٣ 3 ３ 三", "०१२३ ") == "३ ३ ३ ३ 三"
    assert normalize_text("३ ٣ 3 ３", "0123 ") == "3 3 3 3"
    assert normalize_text("३ ٣ 3", "abc ") == "३ ٣ 3"


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("सब सब।", "सब सब"), ("ما، ما؟", "ما ما"), ("ہے ہے۔", "ہے ہے"), ("「はい」", "はい"),
        ("はい、はい。", "はいはい"),
        ("այ՞ո այ։", "այո այ"), ("ሰላ። ሰላ፡ሰላ", "ሰላ ሰላ ሰላ"), ("να;", "να"), ("是，了。", "是了"),
        ("« oui », oui…", "oui oui"), ("¿Sí? ¡No!", "Sí No"), ("ไป“ไหน”", "ไปไหน"), ("မင်္ဂလာ။", "မင်္ဂလာ"),
        ("(a) [b] {c} – d — e", "a b c d e"), ("סוף׃ צה״ל ג׳ירפה", "סוף צה״ל ג׳ירפה"), ("col·lega - no", "col·lega no"),
        ("well-known, isn’t", "well-known isn’t"), ("\u200fשלום\u200e\ufeff", "שלום"), ("عـــرب", "عرب"),
        ("100% of R&B @home 3/4 #1 ٣٪", "100% of R&B @home 3/4 #1 ٣٪"), ("a_b", "a_b"), ("5 $ + 3 = 8", "5 $ + 3 = 8"),
    ],
)  # fmt: skip
def test_marks_that_nobody_says(sentence, expected):
    assert " ".join(drop_silent_marks(sentence).split()) == expected


@given(st.text(st.characters(codec="utf-8")))
def test_marks_alone_are_dropped(text):
    kept = drop_silent_marks(text)
    for character in kept:
        assert unicodedata.category(character) != "Cf"
    letters_in = [c for c in text if unicodedata.category(c)[0] in "LMNS" and c != "\u0640"]
    assert [c for c in kept if unicodedata.category(c)[0] in "LMNS"] == letters_in


def test_references_and_hypotheses_are_compared_in_one_spelling():
    both = "क\u093c\u0958 "
    assert normalize_text("\u0958 क\u093c", both) == "\u0958 क\u093c"
    assert comparable_text("\u0958", both) == comparable_text("क\u093c", both)
    assert comparable_text("As it is", None) == "As it is"
