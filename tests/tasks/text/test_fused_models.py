"""Text fused with streams of speech: padding and batch size change nothing, and what is saved answers alike."""

import numpy as np
import pytest
import soundfile
import torch

from bigfoot.data.manifests import ListedUtterance
from bigfoot.errors import ConfigError, ModelError
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.tasks.text.folder import build_text, load_text, save_text
from bigfoot.tasks.text.judge import answer_examples
from bigfoot.tasks.text.settings import SpeechConfig
from tests.refusals import refused

SHAPE = TaskShape(labels=["no", "yes"])
TEXTS = ["good", "the film was good", "a very very bad day", "awful", "fine day", "the day was a day", "bad", "a film"]


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """Utterances of 0.2 to 1.1 s, and texts of 1 to 6 words."""
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    found = []
    for number, text in enumerate(TEXTS):
        path = folder / f"{number}.wav"
        soundfile.write(path, rng.standard_normal(3200 + 1999 * ((5 * number) % 8)) / 9, 16000)
        found.append(ListedUtterance(str(number), path, text, "ann", labels={"label": "no"}))
    return found


def open_gates_(model):
    """At the start gates are closed, and attention adds nothing."""
    for name, parameter in model.named_parameters():
        if name.endswith("gate"):
            torch.nn.init.constant_(parameter, 0.7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fusion", "projection", "stride", "norm"),
    [("gated", "conv", 2, True), ("concat", "linear", 1, False), ("late", "conv", 1, True)],
)
def test_batches_of_every_size_answer_alike(fusion, projection, stride, norm, bert, narrow_teacher, examples, tmp_path):
    speech = SpeechConfig(
        encoder=str(narrow_teacher), layers=[1, -1], fbank=20, phonemes="tiny_teacher", fusion=fusion, width=24,
        projection=projection, stride=stride, norm=norm, num_heads=2, embedding_size=8,
    )  # fmt: skip
    loaded = build_text(str(bert), SHAPE, speech, max_tokens=16, seed=0)
    open_gates_(loaded.model)
    assert set(loaded.model.fusion.projections) == {"layer_1", "layer_4", "fbank", "phonemes"}
    save_text(loaded, loaded.model, tmp_path / "model")
    again = load_text(tmp_path / "model")
    alone = answer_examples(loaded.model, loaded.reader, examples, 1).answers.logits
    assert np.ptp(alone, 0).min() > 1e-4
    for size in (2, 4, 8):
        order = np.random.default_rng(size).permutation(len(examples))
        model = loaded if size < 8 else again
        found = answer_examples(model.model, model.reader, [examples[n] for n in order], size).answers.logits
        np.testing.assert_allclose(found, alone[order], atol=1e-5)


def test_gates_are_closed_at_first(bert, examples):
    answers = {}
    for fusion in ("gated", "concat"):
        loaded = build_text(str(bert), SHAPE, SpeechConfig(fbank=20, fusion=fusion, width=24, num_heads=2), 16, seed=0)
        state = {name: value for name, value in loaded.model.fusion.state_dict().items() if "to_" not in name}
        answers[fusion] = loaded, state
    gated, concat = (answers[name][0] for name in ("gated", "concat"))
    concat.model.fusion.load_state_dict(answers["gated"][1])
    found = [answer_examples(each.model, each.reader, examples, 4).answers.logits for each in (gated, concat)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    open_gates_(gated.model)
    moved = answer_examples(gated.model, gated.reader, examples, 4).answers.logits
    assert np.abs(moved - found[0]).max() > 1e-3


def test_what_does_not_fit_is_refused(bert, narrow_teacher, tmp_path):
    with pytest.raises(ConfigError) as caught:
        build_text(str(bert), SHAPE, SpeechConfig(encoder=str(narrow_teacher), layers=[9]), 16, seed=0)
    assert [(problem.key, problem.code) for problem in caught.value.problems] == [("speech.layers", "out_of_range")]
    for folder in (tmp_path, tmp_path / "nowhere"):
        with refused(ModelError, folder):
            load_text(folder)
        with refused(ModelError, folder):
            build_text(str(folder), SHAPE, SpeechConfig(), 16, seed=0)


def test_prosody_follows_pitch_and_loudness():
    pytest.importorskip("parselmouth")
    from bigfoot.tasks.text.streams import SpeechStreams

    time = torch.arange(16000) / 16000
    pulses = [sum(torch.sin(2 * torch.pi * hertz * n * time) / n for n in range(1, 9)) for hertz in (110.0, 220.0)]
    waves = torch.nn.utils.rnn.pad_sequence([pulses[0] / 20, pulses[1][:12000] / 2], batch_first=True)
    mask = torch.arange(16000) < torch.tensor([[16000], [12000]])
    streams = SpeechStreams(SpeechConfig(prosody=True), None, None)
    features, frames = streams(waves, mask)["prosody"]
    assert frames.sum(1).tolist() == [(16000 - 400) // 160 + 1, (12000 - 400) // 160 + 1]
    middle = features[:, 20:50]
    np.testing.assert_allclose(2 ** middle[..., 0].mean(1) * 100, [110, 220], rtol=0.02)
    assert middle[..., 1].min() == 1 and float((middle[1, :, 2] - middle[0, :, 2]).mean()) == pytest.approx(2, abs=0.3)
    alone = streams(waves[1:, :12000], mask[1:, :12000])["prosody"].features
    torch.testing.assert_close(features[1:, : alone.shape[1]], alone)
