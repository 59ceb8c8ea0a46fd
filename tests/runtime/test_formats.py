import json

import pytest

from bigfoot.runtime.formats import format_time, render_json, render_srt, render_txt, render_vtt, to_dict
from bigfoot.runtime.transcript import Transcript, Word, split_segments

WORDS = (Word("ONE", 0.5, 0.9), Word("A<B&C", 1.0, 1.4), Word("THREE", 61.25, 62.0))
TRANSCRIPT = Transcript("a.wav", 63.0, WORDS)


def test_srt():
    assert render_srt(TRANSCRIPT) == (
        "1\n00:00:00,500 --> 00:00:01,500\nONE A<B&C\n\n2\n00:01:01,250 --> 00:01:02,250\nTHREE\n"
    )


def test_vtt():
    assert render_vtt(TRANSCRIPT) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\nONE A&lt;B&amp;C\n\n00:01:01.250 --> 00:01:02.250\nTHREE\n"
    )


def test_txt_and_json():
    assert render_txt(TRANSCRIPT) == "ONE A<B&C THREE\n"
    found = json.loads(render_json(TRANSCRIPT))
    assert found["text"] == "ONE A<B&C THREE" and found["words"][2] == {"text": "THREE", "start": 61.25, "end": 62.0}
    assert [segment["text"] for segment in found["segments"]] == ["ONE A<B&C", "THREE"]
    assert to_dict(Transcript("b.wav", error="no such file")) == {"source": "b.wav", "error": "no such file"}


def test_silence():
    silent = Transcript("a.wav", 2.0)
    assert (render_txt(silent), render_srt(silent), render_vtt(silent)) == ("\n", "", "WEBVTT\n")


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "00:00:00,000"), (59.9996, "00:01:00,000"), (3599.9994, "00:59:59,999"), (360_000, "100:00:00,000")],
)
def test_times(seconds, written):
    assert format_time(seconds, ",") == written


def test_segments_fit_a_screen_and_lose_nothing():
    words = [Word("WORD", i * 0.5, i * 0.5 + 0.4) for i in range(100)] + [Word("X" * 200, 50.0, 50.4)]
    segments = split_segments(words)
    assert [word for segment in segments for word in segment.words] == words
    assert all(segment.end - segment.start <= 7 for segment in segments)
    assert all(len(segment.text) <= 84 for segment in segments[:-1])
    assert len(segments) < 12
