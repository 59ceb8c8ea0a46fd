"""Segments and cues: in order, within limits, every word once, and files that another parser reads."""

import html
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.runtime.breaks import may_break
from bigfoot.runtime.cues import break_lines, make_cues
from bigfoot.runtime.formats import render_srt, render_vtt
from bigfoot.runtime.segments import split_segments
from bigfoot.runtime.transcript import Transcript, Word
from bigfoot.text.scripts import count_columns

COLUMNS, LINES, LONGEST, SHORTEST = 42, 2, 7000, 1000
TEXTS = ["WORD", "a", "I'm", "end.", "well,", "字", "幕。", "カ", "ー", "ッ", "กำ", "เ", "ខ្មែ", "မြ", "<b>&", "-->"]
TEXTS += ["1", "X" * 60, "字" * 90]
"""Of scripts with and without spaces, marks of formats, and words that no line or screen can hold."""


GAPS = st.sampled_from([0.0, 0.0, 0.05, 0.3, 0.9, 4.0])


@st.composite
def words(draw, texts=TEXTS, gaps=GAPS):
    found, time, texts = [], draw(gaps), st.sampled_from(texts)
    for _ in range(draw(st.integers(0, 60))):
        end = time + draw(st.sampled_from([0.0, 0.02, 0.1, 0.3, 1.5, 9.0]))
        found.append(Word(draw(texts), time, end, draw(st.booleans())))
        time = end + draw(gaps)
    return found


def read_time(text):
    hours, minutes, seconds, thousandths = map(int, re.fullmatch(r"(\d\d+):(\d\d):(\d\d)[,.](\d{3})", text).groups())
    assert minutes < 60 and seconds < 60
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths


def parse_srt(text):
    cues = []
    for number, block in enumerate(re.split(r"\n\n", text.removesuffix("\n")) if text else [], start=1):
        index, times, *lines = block.split("\n")
        assert index == str(number)
        cues.append((*map(read_time, re.fullmatch(r"(\S+,\d{3}) --> (\S+,\d{3})", times).groups()), lines))
    return cues


def parse_vtt(text):
    head, *blocks = re.split(r"\n\n", text.removesuffix("\n"))
    assert head.strip() == "WEBVTT"
    cues = []
    for block in blocks:
        times, *lines = block.split("\n")
        assert not any("-->" in line or re.search(r"<|&(?!amp;|lt;|gt;)", line) for line in lines)
        found = re.fullmatch(r"(\S+\.\d{3}) --> (\S+\.\d{3})", times).groups()
        cues.append((*map(read_time, found), [html.unescape(line) for line in lines]))
    return cues


@pytest.mark.slow
@given(words())
@settings(max_examples=80, deadline=None)
def test_files_hold_every_letter_once_in_order_within_limits(words):
    transcript = Transcript("a.wav", 1000.0, tuple(words))
    srt = parse_srt(render_srt(transcript))
    assert parse_vtt(render_vtt(transcript)) == srt
    assert "".join("".join(line.split()) for *_, lines in srt for line in lines) == "".join(word.text for word in words)
    assert all(start < end for start, end, _ in srt)
    assert all(left[1] <= right[0] for left, right in pairwise(srt))
    assert all(1 <= len(lines) <= LINES for *_, lines in srt)
    assert all(0 < count_columns(line) <= COLUMNS for *_, lines in srt for line in lines)
    assert all(end - start <= LONGEST for start, end, _ in srt)


@pytest.mark.slow
@given(words())
@settings(max_examples=40, deadline=None)
def test_segments_hold_every_word_once(words):
    segments = split_segments(words)
    assert [word for segment in segments for word in segment.words] == words
    # Nothing goes on over a pause.
    assert all(b.start - a.end < 0.8 for segment in segments for a, b in pairwise(segment.words))


@pytest.mark.slow
@given(words(texts=["SEVEN", "end.", "字", "กำ"]))
@settings(max_examples=40, deadline=None)
def test_no_cue_flashes_at_any_rate_that_can_be_read(words):
    slow = [Word(word.text, 2 * place, 2 * place + 1.2, word.joined) for place, word in enumerate(words)]
    assert all(end - start >= SHORTEST for start, end, _ in parse_srt(render_srt(Transcript("a", 0, tuple(slow)))))
    fast = [Word(word.text, 0.3 * place, 0.3 * place + 0.25, word.joined) for place, word in enumerate(words)]
    assert all(end - start >= SHORTEST for start, end, _ in parse_srt(render_srt(Transcript("a", 0, tuple(fast)))))


def test_a_minute_without_spaces_or_pauses():
    words = [Word("字", 0.1 * place, 0.1 * place + 0.1, place > 0) for place in range(600)]
    cues = make_cues(split_segments(words))
    assert 9 <= len(cues) <= 20
    assert all(2000 <= cue.end - cue.start <= LONGEST for cue in cues)


def test_sentences_and_gaps_come_before_limits():
    text = "It is one. And here are some more. Then the end"
    words = [Word(text, 0.4 * n, 0.4 * n + 0.4) for n, text in enumerate(text.split())]
    assert [segment.text for segment in split_segments(words)] == [f"{part}." for part in text.split(". ")[:2]] + [
        "Then the end"
    ]
    # A gap of half a second in the middle of what must be divided anyway.
    words = [Word("WORD", 0.5 * n + 0.5 * (n > 8), 0.5 * n + 0.5 * (n > 8) + 0.4) for n in range(20)]
    assert len(split_segments(words)[0].words) == 9


@pytest.mark.parametrize(
    ("left", "right", "may"),
    [
        ("字", "幕", True), ("コ", "ー", False), ("シ", "ャ", False), ("เ", "ด็", False), ("ม", "า", False),
        ("AB", "CD", False), ("AB", "字", True),
    ],
)
def test_where_a_line_may_end(left, right, may):
    assert may_break(Word(left, 0, 1), Word(right, 1, 2, joined=True)) is may
    assert may_break(Word(left, 0, 1), Word(right, 1, 2))


def test_lines_are_even_and_wide_letters_count_twice():
    assert break_lines([Word("字", n, n + 1, n > 0) for n in range(30)]) == ["字" * 15, "字" * 15]
    assert break_lines([Word("字", n, n + 1, n > 0) for n in range(21)]) == ["字" * 21]
    assert break_lines([Word("word", n, n + 1) for n in range(10)]) == [" ".join(["word"] * 5)] * 2


def test_line_breaks_within_words_end_no_cue():
    words = (Word("A\n\nB", 0, 1), Word("", 1, 2), Word("C\r\n", 2, 3))
    assert parse_srt(render_srt(Transcript("a", 3, words))) == [(0, 3000, ["A B C"])]
    assert parse_vtt(render_vtt(Transcript("a", 3, (Word("\n", 0, 1),)))) == []


@pytest.mark.slow
def test_an_hour_of_words_takes_seconds():
    words = [Word("word", 0.35 * n, 0.35 * n + 0.3) for n in range(5_000)]
    assert sum(len(segment.words) for segment in split_segments(words)) == 5_000
