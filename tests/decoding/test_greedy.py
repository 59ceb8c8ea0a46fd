import math

import pytest
import torch

from bigfoot.data.batches import Batch
from bigfoot.decoding.greedy import decode_greedy, transcribe_batches
from bigfoot.text.tokenizers import CharTokenizer, save_processor


def scores(rows, size=32):
    """Logits whose best tokens are the given ones, by a margin of 1."""
    return torch.nn.functional.one_hot(torch.tensor(rows), size).float()


def test_texts_are_transformers(tokenizer, processor, tmp_path):
    from transformers import Wav2Vec2CTCTokenizer

    save_processor(processor, tmp_path)
    theirs = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path)
    generator = torch.Generator().manual_seed(0)
    # Only blank, delimiter and letters: on specials the two differ by design (see CharTokenizer).
    allowed = torch.tensor([0, 0, 0, 4, *range(5, 32)])
    best = allowed[torch.randint(len(allowed), (40, 60), generator=generator)]
    best = best.repeat_interleave(2, dim=1)[:, :75]
    logits = torch.randn(40, 75, 32, generator=generator).scatter(2, best[..., None], 9.0)
    expected = [" ".join(text.split()) for text in theirs.batch_decode(logits.argmax(-1))]
    assert decode_greedy(logits, None, tokenizer).texts == expected
    assert len(set(expected)) == 40


def test_padding_is_not_read(tokenizer):
    logits = scores([[5, 5, 0, 5], [6, 0, 7, 7], [5, 6, 7, 8]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    result = decode_greedy(logits, mask, tokenizer)
    assert result.texts == ["EE", "T", ""]
    assert result.blank_rate == 2 / 6
    assert result.margins == [1.0, 1.0, math.inf]


def test_margins_are_the_closest_call_of_real_frames(tokenizer):
    logits = scores([[5, 6, 7]])
    logits[0, 1, 9] = 0.75
    logits[0, 2, 9] = 0.999
    mask = torch.tensor([[True, True, False]])
    assert decode_greedy(logits, mask, tokenizer).margins == [0.25]
    assert decode_greedy(logits, None, tokenizer).margins == [pytest.approx(0.001, abs=1e-6)]
    logits[0, 0, 8] = 1.0
    assert decode_greedy(logits, None, tokenizer).margins == [0.0]


@pytest.mark.parametrize(("rows", "rate"), [([[0, 0, 0]], 1.0), ([[5, 0, 0, 6]], 0.5), ([[5, 6]], 0.0)])
def test_blank_rate(tokenizer, rows, rate):
    assert decode_greedy(scores(rows), None, tokenizer).blank_rate == rate


def test_confidence_is_the_mean_probability_of_what_is_not_blank(tokenizer):
    logits = torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(3)) * 4
    logits[:, ::2, 0] += 20
    mask = torch.arange(7) < torch.tensor([7, 4, 1])[:, None]
    found = decode_greedy(logits, mask, tokenizer).confidences
    for row, length in enumerate((7, 4, 1)):
        probabilities = []
        for frame in logits[row, :length].double().tolist():
            best = max(range(32), key=frame.__getitem__)
            if best != 0:
                probabilities.append(math.exp(frame[best]) / sum(map(math.exp, frame)))
        assert found[row] == pytest.approx(sum(probabilities) / max(1, len(probabilities)), rel=1e-5)
    # Nothing but blanks: an empty hypothesis, whatever the reference.
    assert found[2] == 0.0 < found[1] < 1.0


def test_the_blank_need_not_be_the_first_token():
    tokenizer = CharTokenizer(("A", "B", "|", "<pad>"))
    result = decode_greedy(scores([[0, 3, 0, 1, 2, 1]], 4), None, tokenizer)
    assert result.texts == ["AAB B"]
    assert result.blank_rate == 1 / 6


def test_no_frames_at_all(tokenizer):
    result = decode_greedy(torch.zeros(3, 0, 32), None, tokenizer)
    assert result.texts == ["", "", ""]
    assert result.margins == [math.inf] * 3
    assert result.confidences == [0.0] * 3
    assert result.blank_rate == 1.0
    assert decode_greedy(torch.zeros(0, 5, 32), None, tokenizer).texts == []


def test_half_precision(tokenizer):
    assert decode_greedy(scores([[5, 0, 6]]).bfloat16(), None, tokenizer).texts == ["ET"]


def batches_of(waves, size):
    for start in range(0, len(waves), size):
        rows = waves[start : start + size]
        longest = max(len(wave) for wave in rows)
        mask = torch.stack([torch.arange(longest) < len(wave) for wave in rows])
        values = torch.stack([torch.nn.functional.pad(wave, (0, longest - len(wave))) for wave in rows])
        names = [str(start + row) for row in range(len(rows))]
        yield Batch(values, mask, None, names, [f"text {n}" for n in names], [f"speaker {n}" for n in names])


@pytest.mark.parametrize("structure", ["base", "large-lv60"])
def test_transcripts_do_not_depend_on_the_batch(build_model, speech, tokenizer, structure):
    model = build_model(structure)
    wave = max((w[0] for w in speech), key=len)
    waves = [wave[:size] for size in (16_000, 300, 8000, len(wave), 4001)]
    alone = transcribe_batches(model, batches_of(waves, 1), tokenizer)
    assert alone.ids == ["0", "1", "2", "3", "4"]
    assert alone.references[3] == "text 3"
    assert alone.speakers[4] == "speaker 4"
    assert alone.hypotheses[1] == ""
    assert alone.margins[1] == math.inf
    for size in (2, 5):
        together = transcribe_batches(model, batches_of(waves, size), tokenizer)
        assert together.ids == alone.ids
        flipped = [i for i in range(5) if together.hypotheses[i] != alone.hypotheses[i]]
        assert all(alone.margins[i] < 1e-4 for i in flipped)
        assert together.blank_rate == pytest.approx(alone.blank_rate, abs=0.02)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_its_mode(build_model, speech, tokenizer, training):
    model = build_model(hidden_dropout=0.5)
    expected = transcribe_batches(model.eval(), batches_of([speech[0][0]], 1), tokenizer).hypotheses
    model.train(training)
    assert transcribe_batches(model, batches_of([speech[0][0]], 1), tokenizer).hypotheses == expected
    assert model.training == training


def test_nothing_to_transcribe(build_model, tokenizer):
    result = transcribe_batches(build_model(), [], tokenizer)
    assert (result.ids, result.hypotheses, result.blank_rate) == ([], [], 1.0)
