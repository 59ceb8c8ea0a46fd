"""Batch size, order, side of the padding and cache change nothing, in four shapes of language models."""

import pytest
import torch
from transformers import GenerationConfig

from bigfoot.decoding.language_model import generate, score_outputs
from bigfoot.models.speech_llm.adapters import AdapterShape
from bigfoot.models.speech_llm.packing import Layout
from tests.models.speech_llm.conftest import batch_of, build

pytestmark = pytest.mark.slow

ORDER = [5, 2, 7, 0, 4, 1, 6, 3]


def alone(model, examples):
    """A plain loop without any padding: logits, losses, all from the language model's own call on one row."""
    layouts, waves = examples
    found = []
    for layout, wave in zip(layouts, waves, strict=True):
        row = [model.token_embedding(layout.pieces[0])]
        if len(wave):
            states = model.encoder.speech_encoder(wave[None]).last_hidden_state
            row.append(model.adapter(states, torch.ones(states.shape[:2], dtype=torch.bool))[0][0])
        row += [model.token_embedding(layout.pieces[2]), model.token_embedding(layout.output)]
        logits = model.language_model(inputs_embeds=torch.cat(row)[None]).logits[0]
        # The logits before a token are those at the position before it.
        found.append(logits[-len(layout.output) - 1 : -1])
    return found


def total_loss(outputs):
    return sum(output.token_losses.sum() for output in outputs) / sum(len(output.labels) for output in outputs)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_logits_and_loss_are_those_of_a_plain_loop(model, examples, size, side):
    with torch.no_grad():
        expected = alone(model, examples)
        outputs = [model(*batch_of(examples, ORDER[at : at + size]), side) for at in range(0, 8, size)]
    found = [logits for output in outputs for logits in output.split(output.logits)]
    for index, logits in zip(ORDER, found, strict=True):
        torch.testing.assert_close(logits, expected[index], atol=1e-4, rtol=1e-4)
    losses = [
        torch.nn.functional.cross_entropy(logits, layout.output, reduction="sum")
        for logits, layout in zip(expected, examples[0], strict=True)
    ]
    tokens = sum(len(layout.output) for layout in examples[0])
    torch.testing.assert_close(total_loss(outputs), sum(losses) / tokens, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", ["right", "left"])
def test_gradients_of_a_batch_are_those_of_its_examples(kind, examples, side):
    model = build(kind, AdapterShape("conv", stride=3, hidden_size=24))
    gradients = {}
    for size in (1, 2, 4, 8):
        model.zero_grad()
        total_loss([model(*batch_of(examples, ORDER[at : at + size]), side) for at in range(0, 8, size)]).backward()
        gradients[size] = {
            name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None
        }
    assert {"adapter.inner.conv.weight", "encoder.wav2vec2.feature_projection.projection.weight"} <= gradients[1].keys()
    scale = max(float(gradient.abs().max()) for gradient in gradients[1].values())
    for size in (2, 4, 8):
        assert gradients[size].keys() == gradients[1].keys()
        for name, gradient in gradients[1].items():
            torch.testing.assert_close(gradients[size][name], gradient, atol=1e-4 * max(1.0, scale), rtol=1e-4)


@pytest.mark.parametrize("adapter", ["stack", "conv", "queries"])
@pytest.mark.parametrize("structure", ["base", "hubert-large", "wavlm", "data2vec"])
def test_speech_embeddings_do_not_depend_on_the_batch(adapter, structure, examples):
    model = build("llama", AdapterShape(adapter, stride=3, hidden_size=24, num_queries=5), structure)
    with torch.no_grad():
        together = model.embed_speech(batch_of(examples, ORDER)[1])
        for place, index in enumerate(ORDER):
            single = model.embed_speech(batch_of(examples, [index])[1])[0]
            torch.testing.assert_close(together[place], single, atol=2e-5, rtol=1e-4)
            assert len(single) or not len(examples[1][index])


@pytest.mark.parametrize(
    ("size", "use_cache"), [(1, True), (2, True), (2, False), (4, True), (4, False), (8, True), (8, False)]
)
def test_generated_tokens_are_those_of_one_at_a_time(model, examples, size, use_cache):
    def run(size, use_cache):
        found = {}
        for at in range(0, 8, size):
            layouts, speech = batch_of(examples, ORDER[at : at + size])
            prompts = [Layout(layout.pieces, layout.output[:0]) for layout in layouts]
            outputs = generate(model, prompts, speech, most_new_tokens=12, use_cache=use_cache)
            found |= dict(zip(ORDER[at : at + size], outputs, strict=True))
        return found

    expected = run(1, use_cache=False)
    assert run(size, use_cache) == expected
    assert len({tuple(tokens) for tokens in expected.values()}) > 4
    # The head has more rows than the tokenizer has tokens.
    assert all(token < 80 for tokens in expected.values() for token in tokens)


def test_a_folder_s_settings_of_generation_change_nothing(model, examples, monkeypatch):
    layouts, speech = batch_of(examples, ORDER[:2])
    prompts = [Layout(layout.pieces, layout.output[:0]) for layout in layouts]
    expected = generate(model, prompts, speech, most_new_tokens=12)
    config = GenerationConfig(repetition_penalty=9.0, no_repeat_ngram_size=1, min_new_tokens=12, suppress_tokens=[5])
    monkeypatch.setattr(model.language_model, "generation_config", config)
    assert generate(model, prompts, speech, most_new_tokens=12) == expected
    assert model.language_model.generation_config is config
    assert any(len(set(tokens)) < len(tokens) for tokens in expected)


def test_a_token_that_ends_a_turn_ends_what_is_generated(model, examples, monkeypatch):
    layouts, speech = batch_of(examples, ORDER)
    prompts = [Layout(layout.pieces, layout.output[:0]) for layout in layouts]
    expected = generate(model, prompts, speech, most_new_tokens=12)
    stop = expected[0][-1]
    monkeypatch.setattr(model, "stop_ids", (stop,))
    cut = [tokens[: tokens.index(stop)] if stop in tokens else tokens for tokens in expected]
    assert generate(model, prompts, speech, most_new_tokens=12) == cut != expected


def test_scores_are_the_sums_of_log_probabilities(model, examples):
    layouts, speech = batch_of(examples, ORDER)
    with torch.no_grad():
        expected = [
            float(logits.log_softmax(-1).gather(-1, layout.output[:, None]).sum())
            for logits, layout in zip(alone(model, examples), examples[0], strict=True)
        ]
    found = score_outputs(model, layouts, speech)
    assert found == pytest.approx([expected[index] for index in ORDER], abs=1e-3)


def test_without_audio_it_is_the_language_model_to_the_bit(model):
    tokens = torch.arange(5, 25)
    layout = Layout((tokens[:6], 0, tokens[6:9]), tokens[9:])
    with torch.no_grad():
        output = model([layout], [torch.zeros(0, model.token_embedding.weight.shape[1])])
        expected = model.language_model(input_ids=tokens[None]).logits[0]
    assert torch.equal(output.logits, expected[8:-1])
    assert torch.equal(output.labels, tokens[9:])
