import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.decoding.beam import PrefixBeamSearch
from bigfoot.decoding.frames import decode_frames_by
from bigfoot.decoding.words import WordValues
from bigfoot.runtime.transcriber import Transcriber
from bigfoot.text.tokenizers import CharTokenizer
from tests.runtime.tape import TapeEngine, write_tape

LETTERS = CharTokenizer(("<pad>", "|", *"ABC"))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), frames=st.integers(0, 15), scale=st.sampled_from([0.5, 1.0, 30.0]))
def test_the_frames_say_what_the_search_found(draw_posteriors, seed, frames, scale):
    logits = (scale * draw_posteriors(seed, frames, 5) + seed).astype(np.float32)
    search = PrefixBeamSearch(LETTERS, 8, WordValues(hot_words=("AB", "C A"), hot_word_bonus=3.0))
    ids = decode_frames_by(search, 0)(logits)
    assert ids.shape == (frames,)
    scores = logits.astype(np.float64)
    log_probs = scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)
    assert LETTERS.decode_ctc(ids.tolist()) == search.search(log_probs)[0].text


class SureEngine(TapeEngine):
    """A tape reader that finds each token twelve nats likelier than any other."""

    def run(self, *arguments, **named):
        output = super().run(*arguments, **named)
        return output._replace(logits=12 * output.logits)


def transcribe_tapes(tapes, *hot_words, **settings):
    engine = SureEngine()
    search = PrefixBeamSearch(engine.facts.tokenizer, 8, WordValues(hot_words=hot_words, hot_word_bonus=15.0))
    transcriber = Transcriber(engine, decode=decode_frames_by(search, 0), **settings)
    return transcriber.transcribe([write_tape(tape) for tape in tapes])


def test_a_transcriber_finds_hot_phrases_and_their_times():
    tape = [0, 2, 0, 3, 1, 4, 0]
    assert transcribe_tapes([tape], "AB DE")[0].text == "AB C"
    (hot,) = transcribe_tapes([tape], "AB D")
    assert hot.text == "AB D"
    # Where the frames say the same, the times are the same.
    recording = write_tape([0, 2, 0, 3, 1, 5, 0])
    assert hot.words == Transcriber(SureEngine()).transcribe([recording])[0].words


def test_hot_words_in_a_batch_are_those_alone():
    rng = np.random.default_rng(0)
    tapes = [rng.integers(0, 10, size).tolist() for size in (7, 30, 8, 2, 31)]
    together = transcribe_tapes(tapes, "AB", "C D", "E A")
    assert [result.words for result in together] == [
        transcribe_tapes([tape], "AB", "C D", "E A")[0].words for tape in tapes
    ]


@pytest.mark.slow
def test_a_hot_phrase_comes_out_of_every_chunk_of_a_long_recording():
    tape = ([0] * 150 + [2, 0, 3, 1, 4, 1]) * 12  # 37 s of AB C
    (found,) = transcribe_tapes([tape], "AB D", chunk_seconds=10)
    assert found.text.split() == ["AB", "D"] * 12
