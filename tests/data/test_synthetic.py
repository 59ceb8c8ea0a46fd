import subprocess
import sys

import numpy as np
import pytest

from bigfoot.data.synthetic import VARIANTS, synthesize_split, synthesize_string
from bigfoot.espeak import Voice, speak
from tests.refusals import refused


def test_a_string_sounds_the_same_whatever_was_spoken_before():
    alone = synthesize_string(5, "test", 2)
    (*_, after_others) = synthesize_split(5, "test", 3)
    assert alone.text == after_others.text
    np.testing.assert_array_equal(alone.samples, after_others.samples)


@pytest.mark.parametrize("voice", ["en-us+f3", "en+klatt6", "en-us+Mike", "en-029+Storm"])
def test_a_voice_says_a_sentence_once_and_for_all(voice):
    first, again = (speak("zero six seven three", Voice(voice))[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.slow
def test_another_process_makes_the_same_bits():
    code = (
        "import zlib; from bigfoot.data.synthetic import synthesize_string as s; "
        "print(zlib.crc32(s(5, 'train', 7).samples.tobytes()))"
    )
    printed = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(printed) == 1


@pytest.mark.slow
def test_splits_share_no_voice_and_every_voice_speaks():
    train, dev, test = (set(VARIANTS[split]) for split in ("train", "dev", "test"))
    assert not train & dev and not train & test and not dev & test
    for variant in sorted(train | dev | test):
        samples, rate = speak("one", Voice(f"en-us+{variant}"))
        # Of every voice: two of espeak-ng's own never sound the same twice.
        np.testing.assert_array_equal(samples, speak("one", Voice(f"en-us+{variant}"))[0])
        assert 0.1 < len(samples) / rate < 3 and np.abs(samples).max() > 0.01


def test_an_unknown_voice_is_named():
    with refused(ValueError, "nobody"):
        speak("one", Voice("nobody"))
