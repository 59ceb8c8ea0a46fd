import numpy as np
import pytest
import soundfile

from bigfoot.data.batches import read_utterances
from bigfoot.errors import ModelError
from bigfoot.evaluation.evaluate import evaluate_accuracy
from bigfoot.evaluation.settings import EvaluateConfig
from bigfoot.evaluation.torch_engine import TorchEngine
from bigfoot.formats.folder import load_model
from bigfoot.runtime.transcriber import Transcriber
from tests.refusals import refused


def test_texts_are_those_of_the_evaluation(narrow_teacher, small_digits):
    loaded, manifest = load_model(narrow_teacher), small_digits.manifests["test"]
    transcripts = evaluate_accuracy(loaded, manifest, EvaluateConfig(batch_size=1), 1).transcripts
    expected = dict(zip(transcripts.ids, transcripts.hypotheses, strict=True))
    utterances = read_utterances(manifest)
    results = Transcriber(TorchEngine(loaded)).transcribe([utterance.samples for utterance in utterances])
    # Evaluation normalizes; letters of special tokens, which a random model emits, are the only lower-case ones.
    assert [result.text.upper() for result in results] == [expected[utterance.id] for utterance in utterances]
    assert any(expected.values())


def test_files_of_any_rate_and_channel_count(narrow_teacher, tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", rng.normal(0, 0.1, (44_100, 2)), 44_100)
    soundfile.write(tmp_path / "b.flac", rng.normal(0, 0.1, 8_000), 8_000)
    (tmp_path / "c.wav").write_bytes(b"RIFF nonsense")
    soundfile.write(tmp_path / "d.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "e.wav", rng.normal(0, 0.1, 100), 16_000)
    names = ["a.wav", "b.flac", "c.wav", "missing.wav", "d.wav", "e.wav", "b.flac"]
    transcriber = Transcriber(TorchEngine(load_model(narrow_teacher)))
    found = transcriber.transcribe([tmp_path / name for name in names], lambda _: None)
    assert [item.source for item in found] == [str(tmp_path / name) for name in names]
    assert [item.error is None for item in found] == [True, True, False, False, False, True, True]
    # Six milliseconds hold no frame: their transcript is empty.
    assert (found[5].text, found[1].text) == ("", found[-1].text)


@pytest.mark.parametrize(("name", "reason"), [("headless", "no CTC head"), ("mute", "no vocabulary")])
def test_models_without_text(other_teachers, name, reason):
    with refused(ModelError, reason):
        TorchEngine(load_model(other_teachers[name]))
