"""Minutes and hours of speech by a real model: no word lost or doubled at the joins, and no more memory."""

from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile

from bigfoot.audio.chunking import OVERLAP, plan_chunks
from bigfoot.audio.files import normalize_waveform
from bigfoot.data.synthetic import synthesize_split
from bigfoot.runtime.transcriber import Transcriber

RATE = 16_000
MINUTES_3 = 180 * RATE


@pytest.fixture(scope="module")
def engine():
    from bigfoot.evaluation.torch_engine import TorchEngine
    from bigfoot.formats.folder import load_model

    return TorchEngine(load_model("tiny_teacher"), threads=1)


@pytest.fixture(scope="module")
def markers(engine):
    """``markers(samples)``: strings of digits, equally loud, each of which alone the teacher transcribes rightly."""
    strings = list(synthesize_split(7, "train", 110, 1, 8))
    transcribed = Transcriber(engine).transcribe([string.samples for string in strings])
    known = [string for string, result in zip(strings, transcribed, strict=True) if result.text == string.text]
    ends = np.cumsum([len(string.samples) for string in known])
    assert ends[-1] > MINUTES_3, f"only {ends[-1] / RATE:.0f} s of strings are transcribed"
    return lambda samples: join(known[: int(np.searchsorted(ends, samples)) + 1])


def join(known):
    return np.concatenate([normalize_waveform(one.samples) for one in known]), " ".join(one.text for one in known)


def transcribe_chunks(engine, wave, chunks):
    """Words of each chunk with their frames in the recording, by a plain loop."""
    scaled = normalize_waveform(wave)
    for chunk in chunks:
        piece = scaled[None, chunk.start : chunk.end]
        ids = engine.run(piece, np.array([piece.shape[1]])).logits[0].argmax(-1).tolist()
        words = engine.facts.tokenizer.decode_words(ids)
        yield [(w.text, w.start_frame + chunk.start_frame, w.end_frame + chunk.start_frame) for w in words]


@pytest.mark.slow
def test_words_of_both_chunks_are_there_once(engine, markers):
    wave, reference = markers(MINUTES_3)
    result = Transcriber(engine, chunk_seconds=12).transcribe([wave])[0]
    chunks = plan_chunks(len(wave), 320, 12 * RATE, round(OVERLAP * RATE))
    transcribed = list(transcribe_chunks(engine, wave, chunks))
    shared = 0
    for chunk, left, right in zip(chunks[1:], transcribed, transcribed[1:], strict=False):
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
    """At most 0.5 points of WER above transcribing a hundred seconds at once, whose attention takes 5,000 frames."""
    wave, reference = markers(100 * RATE)
    whole, chunked = (
        jiwer.wer(reference, Transcriber(engine, chunk_seconds=seconds).transcribe([wave])[0].text)
        for seconds in (1000, 30)
    )
    print(f"WER of {len(wave) / RATE:.0f} s at once {whole:.2%}, in chunks {chunked:.2%}")
    assert chunked <= whole + 0.005


# A process of its own: the most memory that it held tells of nothing else.
LISTEN = """
import sys
from bigfoot import Transcriber
result = Transcriber(sys.argv[1], threads=1).transcribe([sys.argv[2]])[0]
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(result.seconds, len(result.words), peak.split()[1])
"""


@pytest.fixture(scope="module")
def student_file(tmp_path_factory):
    """A student of four layers and grouped convolutions, cut from the tiny teacher and exported."""
    pytest.importorskip("onnx")
    from bigfoot.compress import conv_groups, depth
    from bigfoot.export.onnx import build_onnx, save_onnx
    from bigfoot.formats.folder import LoadedModel, load_model

    teacher = load_model("tiny_teacher")
    shallow, _ = depth.apply(teacher.model, depth.Depth(num_hidden_layers=4, layer_init="spread"))
    student, _ = conv_groups.apply(shallow, conv_groups.ConvGroups(conv_groups=2))
    path = tmp_path_factory.mktemp("student") / "student.onnx"
    save_onnx(build_onnx(LoadedModel(student.eval(), teacher.processor)).graph, path)
    return path


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak of a process")
def test_ten_minutes_take_no_more_memory_than_one(student_file, start, tmp_path):
    speech = np.concatenate([string.samples for string in synthesize_split(0, "test", 30)])[: 60 * RATE]
    assert len(speech) == 60 * RATE
    peaks = {}
    for minutes in (1, 10):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", RATE, 1) as file:
            for _ in range(minutes):
                file.write(speech)
        done = start("-c", LISTEN, student_file, path)
        assert done.returncode == 0, done.stderr
        seconds, words, peak = done.stdout.split()
        assert float(seconds) == 60 * minutes and int(words) >= minutes
        peaks[minutes] = int(peak) / 1024
        path.unlink()
    print(f"peak: a minute {peaks[1]:.0f} MiB, ten {peaks[10]:.0f} MiB")
    # Their samples alone are 38 MB.
    assert peaks[10] <= min(1.2 * peaks[1], peaks[1] + 25)
