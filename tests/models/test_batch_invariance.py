"""Padding never changes an answer: an utterance alone and in batches of very different lengths."""

import pytest
import torch

ENCODERS = {
    "group norm": ("base", {}),
    "group norm, grouped convs": ("base", {"conv_groups": [1, 2, 2, 4, 4, 2, 2]}),
    "layer norm": ("large-lv60", {}),
    "layer norm, grouped convs": ("large-lv60", {"conv_groups": [1, 2, 2, 4, 4, 2, 2]}),
    "group norm, norms first": ("group-stable", {}),
    "layers of different shapes": ("base", {"layer_num_attention_heads": [3, 1, 2]}),
    "hubert": ("hubert", {}),
    "hubert large": ("hubert-large", {}),
    "hubert with batch norm": ("hubert-batch-norm", {}),
    "wavlm": ("wavlm", {}),
    "wavlm large": ("wavlm-large", {}),
    "wavlm with fewer heads": (
        "wavlm", {"layer_num_attention_heads": [2, 3, 1], "layer_position_heads": [[0, 2], [0, 1, 2], [1]]},
    ),
    "data2vec": ("data2vec", {}),
    "streaming": ("base", {"streaming": {"chunk": 5, "left": 2}}),
    "streaming data2vec": ("data2vec", {"streaming": {"chunk": 4, "left": 0}}),
    "mms": ("mms", {}),
    "convolutions behind the encoder": ("adapter", {}),
    "unispeech": ("unispeech", {}),
    "unispeech-sat": ("unispeech-sat", {}),
    "conformer": ("conformer", {}),
    "conformer with rotary positions": ("conformer-rotary", {}),
    "w2v-bert": ("w2v-bert", {}),
    "w2v-bert with adapters": ("w2v-bert-adapter", {}),
    "sew": ("sew", {}),
    "sew of three frames": ("sew", {"squeeze_factor": 3}),
    "sew-d": ("sew-d", {}),
}
SHORTER_THAN_A_FRAME = 211
# First sample and samples of each.
EIGHT = ((0, 4_001), (7, 1_200), (100, 2_345), (1, 3_999), (0, 700), (900, 3_101), (40, 1_601), (3, 2_222))


@pytest.fixture(params=ENCODERS)
def model(request, build_model):
    structure, changes = ENCODERS[request.param]
    return build_model(structure, **changes)


@pytest.fixture(scope="module")
def utterances(speech):
    longest = max(speech, key=lambda wave: wave.shape[1])[0]
    return [longest, longest[:4001], speech[0][0, 3000:3401], speech[1][0, :9999], longest[:SHORTER_THAN_A_FRAME]]


def collate(utterances, *fills, extra=0):
    """Pad to a batch; the padding is noise of these sizes, one after the other."""
    size = max(len(wave) for wave in utterances) + extra
    mask = torch.stack([torch.arange(size) < len(wave) for wave in utterances])
    values = torch.full(mask.shape, 0.0)
    for row, wave in enumerate(utterances):
        values[row, : len(wave)] = wave
    generator = torch.Generator().manual_seed(1)
    garbage = torch.tensor(fills).repeat(size)[:size] * torch.randn(values.shape, generator=generator)
    return torch.where(mask, values, garbage), mask


def check_rows(model, utterances, *fills, extra=0):
    with torch.no_grad():
        batch = model(*collate(utterances, *fills, extra=extra), output_hidden_states=True)
        for row, wave in enumerate(utterances):
            frames = int(batch.frame_mask[row].sum())
            assert frames == int(model.speech_encoder.feature_encoder.frame_lengths(torch.tensor(len(wave))))
            if frames == 0:
                continue
            alone = model(wave[None], output_hidden_states=True)
            assert alone.logits.shape[1] == frames, "frames of a batch are those of the utterance"
            assert (batch.logits[row, :frames] - alone.logits[0]).abs().max() < 1e-4
            for here, there in zip(batch.hidden_states, alone.hidden_states, strict=True):
                assert (here[row, :frames] - there[0]).abs().max() < 1e-4
    assert torch.isfinite(batch.logits).all()


def test_alone_and_in_a_batch_are_the_same(model, utterances):
    check_rows(model, utterances, 0.0)


@pytest.mark.grid
def test_batches_of_two_four_and_eight_are_the_same(model, utterances):
    """Every hidden state and logit, whatever stands beside an utterance."""
    given = [utterances[1][start : start + size] for start, size in EIGHT]
    with torch.no_grad():
        alone = [model(wave[None], output_hidden_states=True) for wave in given]
        for size in (2, 4, 8):
            for first in range(0, len(given), size):
                rows = range(first, first + size)
                batch = model(*collate([given[row] for row in rows], 3.0, extra=77), output_hidden_states=True)
                for place, row in enumerate(rows):
                    frames = alone[row].logits.shape[1]
                    pairs = zip((batch.logits, *batch.hidden_states), (alone[row].logits, *alone[row].hidden_states),
                                strict=True)  # fmt: skip
                    assert all((here[place, :frames] - there[0]).abs().max() < 1e-4 for here, there in pairs)


@pytest.mark.grid
def test_garbage_in_the_padding_does_not_matter(model, utterances):
    check_rows(model, utterances, 1.0, 1e4, float("inf"), float("nan"), extra=1234)


@pytest.mark.grid
def test_in_training_mode_too(model, utterances):
    check_rows(model.train(), utterances, 5.0)


def test_every_kind_of_mask_means_the_same(build_model, utterances):
    model = build_model()
    values, mask = collate(utterances, 0.0)
    with torch.no_grad():
        expected = model(values, mask).logits
        for kind in (torch.int64, torch.int32, torch.float32):
            assert torch.equal(model(values, mask.to(kind)).logits, expected)


def test_a_mask_of_ones_is_no_mask(build_model, speech):
    for structure in ("base", "large-lv60"):
        model = build_model(structure)
        with torch.no_grad():
            masked = model(speech[0], torch.ones_like(speech[0], dtype=torch.bool)).logits
            assert (masked - model(speech[0]).logits).abs().max() < 1e-5


@pytest.mark.grid
def test_gradients_are_those_of_the_utterances_alone(model, utterances):
    labels = torch.tensor([[5, 6, 7], [5, 5, -100], [8, -100, -100], [9, 9, 9], [5, -100, -100]])
    counted = int((labels >= 0).sum())
    values, mask = collate(utterances, 3.0)
    model.train().zero_grad()
    model(values, mask, labels=labels).loss.backward()
    batched = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert batched and all(torch.isfinite(grad).all() for grad in batched.values())
    model.zero_grad()
    for wave, label in zip(utterances, labels, strict=True):
        if int(model.speech_encoder.feature_encoder.frame_lengths(torch.tensor(len(wave)))):
            real = label[label >= 0][None]
            (model(wave[None], labels=real).loss * real.shape[1] / counted).backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            # Sums of cancelling terms: single entries near zero are all rounding.
            assert (batched[name] - parameter.grad).norm() <= 1e-3 * parameter.grad.norm() + 1e-6, name


@pytest.mark.grid
def test_a_row_of_padding_alone_gives_finite_gradients(model, utterances):
    values, mask = collate([utterances[1], utterances[2]], 1.0)
    mask[1] = False
    output = model.train()(values, mask, labels=torch.tensor([[5, 6], [7, -100]]))
    output.loss.backward()
    assert int(output.frame_mask[1].sum()) == 0
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.grid
def test_attentions_of_a_batch_are_those_of_the_fused_road_and_skip_padding(model, utterances):
    values, mask = collate(utterances, 2.0)
    with torch.no_grad():
        written_out, fused = model(values, mask, output_attentions=True), model(values, mask)
    real = fused.frame_mask
    assert (written_out.logits - fused.logits)[real].abs().max() < 1e-4
    for weights in written_out.attentions:
        assert torch.isfinite(weights).all()
        samples = torch.tensor(len(utterances[1]))
        seen = model.config.frames_in_layers(int(model.speech_encoder.feature_encoder.layer_lengths(samples)))
        assert weights[1][..., seen:].abs().max() == 0


@pytest.mark.slow
def test_only_utterances_shorter_than_a_frame(build_model):
    for structure in ("base", "large-lv60"):
        model = build_model(structure)
        values, mask = torch.randn(2, 300), torch.ones(2, 300, dtype=torch.bool)
        no_frames = torch.zeros(2, 0, dtype=torch.bool)
        with torch.no_grad():
            output = model(values, mask, mask_time_indices=no_frames)
        assert output.logits.shape[:2] == output.frame_mask.shape == (2, 1)
        assert not output.frame_mask.any()
        assert torch.isfinite(output.logits).all()


def test_masks_narrower_or_wider_than_the_batch(build_model, speech):
    model = build_model()
    with torch.no_grad():
        frames = model(speech[0]).logits.shape[1]
        narrow = torch.zeros(1, frames - 4, dtype=torch.bool)
        narrow[:, 2:5] = True
        wide = torch.nn.functional.pad(narrow, (0, 9))
        channels = torch.zeros(1, 24, dtype=torch.bool)
        channels[:, 3] = True
        first, second = (model(speech[0], mask_time_indices=m, mask_feature_indices=channels) for m in (narrow, wide))
    assert first.logits.shape[1] == frames
    assert torch.equal(first.logits, second.logits)
