from itertools import pairwise

import numpy as np

from bigfoot.espeak import Voice, phonemize, speak, speak_with_times
from tests.refusals import refused


def test_phonemes_of_words_and_clauses():
    seven, empty, both = phonemize(["SEVEN", "", "seven, three"])
    assert "".join(seven) == "s\u025bv\u0259n" and empty == []
    assert both[: len(seven)] == seven and len(both) > len(seven)


def test_stress_is_a_mark_of_the_vowel():
    (plain,), (marked,) = phonemize(["HELLO"]), phonemize(["HELLO"], stress=True)
    assert [phoneme.strip("\u02c8\u02cc") for phoneme in marked] == plain
    assert any(phoneme.startswith("\u02c8") for phoneme in marked)


def test_capitals_are_words_and_no_letters():
    assert phonemize(["IT IS US"]) == phonemize(["it is us"])


def test_other_languages_and_unknown_voices():
    assert phonemize(["oui"], "fr") != phonemize(["oui"])
    with refused(ValueError, "nobody"):
        phonemize(["one"], "nobody")


def test_times_of_words_go_with_the_same_sound():
    text = "seven three four"
    samples, rate, words = speak_with_times(text, Voice("en-us+f3"))
    np.testing.assert_array_equal(samples, speak(text, Voice("en-us+f3"))[0])
    assert [word.word for word in words] == text.split()
    starts = [word.start for word in words]
    assert starts == sorted(starts) and starts[0] >= 0 and starts[-1] < len(samples) / rate
    # A pause before a word puts it off by as much, and does not lengthen the word before.
    later = speak_with_times(text, Voice("en-us+f3", word_gap=30))[2]
    assert later[2].start > starts[2] + 0.3 and later[1].end < later[2].start - 0.2
    assert all(word.start < word.end for word in words) and words[-1].end <= len(samples) / rate
    assert all(left.end <= right.start for left, right in pairwise(words))


def test_phonemes_do_not_disturb_the_voice():
    before = speak("six", Voice("en-us+Mike"))[0]
    phonemize(["nine"])
    np.testing.assert_array_equal(before, speak("six", Voice("en-us+Mike"))[0])
