"""Minutes and hours of speech by a real model: no word lost or doubled at the joins, and no more memory."""

import jiwer
import numpy as np
import pytest

from bigfoot.audio_io import normalize_waveform
from bigfoot.data.synthetic import synthesize_split
from bigfoot.runtime.chunking import OVERLAP, plan_chunks
from bigfoot.runtime.transcriber import Transcriber

RATE = 16_000
MINUTES_3 = 180 * RATE


@pytest.fixture(scope="module")
def engine():
    from bigfoot.evaluation.torch_engine import TorchEngine
    from bigfoot.models.folder import load_model

    return TorchEngine(load_model("tiny_teacher"), threads=1)


@pytest.fixture(scope="module")
def markers(engine):
    """Three minutes of strings of digits, as loud as each other, that the teacher hears without a fault alone."""
    strings = list(synthesize_split(7, "train", 110, 1, 8))
    heard = Transcriber(engine).transcribe([string.samples for string in strings])
    known = [string for string, result in zip(strings, heard, strict=True) if result.text == string.text]
    ends = np.cumsum([len(string.samples) for string in known])
    assert ends[-1] > MINUTES_3, f"only {ends[-1] / RATE:.0f} s of strings are heard"
    known = known[: int(np.searchsorted(ends, MINUTES_3)) + 1]
    return np.concatenate([normalize_waveform(one.samples) for one in known]), " ".join(one.text for one in known)


def hear_chunks(engine, wave, chunks):
    """Words of each chunk with their frames in the recording, heard by a loop of our own."""
    scaled = normalize_waveform(wave)
    for chunk in chunks:
        piece = scaled[None, chunk.start : chunk.end]
        ids = engine.run(piece, np.array([piece.shape[1]])).logits[0].argmax(-1).tolist()
        words = engine.facts.tokenizer.decode_words(ids)
        yield [(w.text, w.start_frame + chunk.start_frame, w.end_frame + chunk.start_frame) for w in words]


@pytest.mark.slow
def test_words_that_both_chunks_hear_are_there_once(engine, markers):
    wave, reference = markers
    result = Transcriber(engine, chunk_seconds=12).transcribe([wave])[0]
    chunks = plan_chunks(len(wave), 320, 12 * RATE, round(OVERLAP * RATE))
    heard = list(hear_chunks(engine, wave, chunks))
    shared = 0
    for chunk, left, right in zip(chunks[1:], heard, heard[1:], strict=False):
        for text, start, end in left:
            if (
                any(text == other and abs(start - begin) <= 3 for other, begin, _ in right)
                and start > chunk.start_frame
            ):
                shared += 1
                near = [w for w in result.words if w.start * 50 < end + 3 and start - 3 < w.end * 50 and w.text == text]
                assert len(near) == 1, (text, start / 50, near)
    assert len(chunks) >= 20 and shared >= 60
    times = [time for word in result.words for time in (word.start, word.end)]
    assert times == sorted(times)
    found = jiwer.process_words(reference, result.text)
    print(f"{len(chunks) - 1} joins, {shared} words in them: {found.deletions} lost, {found.insertions} doubled, "
          f"{found.substitutions} others of {len(reference.split())}")  # fmt: skip


@pytest.mark.slow
def test_chunks_cost_no_accuracy(engine, markers):
    """At most 0.5 points of WER above hearing three minutes at once."""
    wave, reference = markers
    whole, chunked = (
        jiwer.wer(reference, Transcriber(engine, chunk_seconds=seconds).transcribe([wave])[0].text)
        for seconds in (1000, 30)
    )
    print(f"WER of {len(wave) / RATE:.0f} s at once {whole:.2%}, in chunks {chunked:.2%}")
    assert chunked <= whole + 0.005
