"""Words of scripts with and without spaces, and user-perceived characters."""

import unicodedata
from itertools import accumulate

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.text.scripts import count_columns, split_clusters
from bigfoot.text.tokenizers import CharTokenizer
from bigfoot.text.words import PlacedText, RunLimits, group_words

SAMPLES = {
    "Han": "我们有三个字幕。好吗\uff1f",
    "kana": "カメラとコーヒーをがギ",
    "Thai": "กำลังเรียนภาษาไทยเด็กๆ",
    "Lao": "ກຳລັງຮຽນພາສາລາວ",
    "Khmer": "ខ្មែរភាសាខ្ញុំស្ត្រី",
    "Burmese": "မြန်မာဘာသာအင်္ဂလိပ်",
    "Hindi": "क्षत्रिय हिन्दी",
    "Korean": unicodedata.normalize("NFD", "자막이 있는"),
    "Latin": unicodedata.normalize("NFD", "naïve café"),
}


def place(text, step=5):
    return [PlacedText(character, step * n, step * n + 1) for n, character in enumerate(text)]


def texts_of(text):
    return [word.text for word in group_words(place(text))]


@pytest.mark.parametrize("text", SAMPLES.values(), ids=SAMPLES)
def test_clusters_are_whole_ones_of_unicode(text):
    """``regex`` implements UAX 29: we never cut where it does not."""
    ours = {*accumulate(map(len, split_clusters(text)))}
    assert "".join(split_clusters(text)) == text
    assert ours <= {*accumulate(map(len, regex.findall(r"\X", text)))}


@given(st.text(st.sampled_from("".join(SAMPLES.values())), max_size=30))
def test_a_mark_stays_with_its_letter(text):
    words = group_words(place(text))
    assert "".join(word.text for word in words) == "".join(text.split())
    for before, word in zip(["", *texts_of(text)], words, strict=False):
        if word.joined:
            assert before and not unicodedata.category(word.text[0]).startswith("M")
    # What is joined makes the text again.
    joined = "".join(word.text if word.joined else f" {word.text}" for word in words)
    assert joined.split() == text.split()


def test_a_word_is_a_character_where_there_are_no_spaces():
    assert texts_of("我有iPhone手机。「好」吗\uff1f") == ["我", "有", "iPhone", "手", "机。", "「好」", "吗\uff1f"]
    assert texts_of("กำลังเด็ก") == ["กำ", "ลั", "ง", "เ", "ด็", "ก"]
    assert texts_of("ខ្មែរ") == ["ខ្មែ", "រ"]
    assert texts_of("မြန်မာ") == ["မြ", "န်", "မာ"]
    assert texts_of("ONE TWO") == ["ONE", "TWO"] and texts_of("자막이 있는") == ["자막이", "있는"]
    assert texts_of("  ") == texts_of("") == []


def test_marks_without_end_are_no_single_letter():
    assert max(map(len, texts_of("\u0e01" + "\u0e31" * 500))) <= 16
    assert texts_of("\u0e31\u0e01") == ["\u0e31", "\u0e01"]


def test_places_and_joints():
    words = group_words(place("AB 我有C"))
    assert [(w.text, w.start_frame, w.end_frame, w.joined) for w in words] == [
        ("AB", 0, 6, False), ("我", 15, 16, False), ("有", 20, 21, True), ("C", 25, 26, True)
    ]  # fmt: skip


def test_a_run_that_is_no_word_is_cut_in_its_widest_gaps():
    limits = RunLimits(columns=10, frames=1000, gap=50)
    characters = [PlacedText("A", 5 * n + 3 * (n >= 13), 5 * n + 3 * (n >= 13) + 1) for n in range(18)]
    parts = group_words(characters, limits)
    assert [len(part.text) for part in parts] == [6, 7, 5]
    assert [part.joined for part in parts] == [False, *[True] * (len(parts) - 1)]
    # A pause cuts even a short one.
    assert [p.text for p in group_words([PlacedText("A", 0, 1), PlacedText("B", 60, 61)], limits)] == ["A", "B"]
    assert [p.text for p in group_words([PlacedText("A", 0, 1), PlacedText("B", 40, 41)], limits)] == ["AB"]


@pytest.mark.slow
@given(st.integers(0, 400), st.data())
def test_limits_hold_and_nothing_is_lost(count, data):
    gaps = data.draw(st.lists(st.integers(1, 80), min_size=count, max_size=count))
    places = list(accumulate(gaps))
    characters = [PlacedText("ab"[n % 2], frame, frame + 1) for n, frame in enumerate(places)]
    limits = RunLimits(columns=42, frames=300, gap=25)
    parts = group_words(characters, limits)
    assert "".join(part.text for part in parts) == "".join(character.text for character in characters)
    assert all(len(part.text) <= 42 and part.end_frame - part.start_frame <= 300 for part in parts)
    assert [(p.start_frame, p.end_frame) for p in parts] == sorted((p.start_frame, p.end_frame) for p in parts)


@pytest.mark.slow
def test_a_text_of_an_hour_without_delimiters_takes_no_square_of_time():
    characters = [PlacedText("a", n, n + 1) for n in range(40_000)]
    assert max(len(part.text) for part in group_words(characters, RunLimits(42, 300, 25))) <= 42


def test_a_tokenizer_s_words():
    tokenizer = CharTokenizer(("<pad>", *"我有กำ"), word_delimiter="")
    words = tokenizer.decode_words([1, 0, 2, 2, 0, 3, 4, 0])
    assert [(w.text, w.start_frame, w.end_frame) for w in words] == [("我", 0, 1), ("有", 2, 4), ("กำ", 5, 7)]
    assert tokenizer.decode_ctc([1, 0, 2, 2, 0, 3, 4, 0]) == "我有กำ"


@pytest.mark.parametrize(("text", "columns"), [("ABC", 3), ("字幕", 4), ("กำลัง", 4), ("e\u0301", 1), ("ｶﾞ", 2)])
def test_columns(text, columns):
    assert count_columns(text) == columns
