"""Losses of a speech LLM against plain loops; what each stage trains."""

import copy

import pytest
import torch

from bigfoot.distill.speech_llm import PromptBatch, SpeechLLMLosses, SpeechLLMObjective
from bigfoot.distill.token_logits import keep_top, token_logit_distillation
from bigfoot.errors import TrainingError
from bigfoot.formats.speech_llm import merge_adapters
from bigfoot.models.speech_llm.adapters import AdapterShape
from bigfoot.models.speech_llm.packing import Layout
from bigfoot.models.speech_llm.trainable import set_trainable_
from tests.models.speech_llm.conftest import batch_of, build, examples  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow

TRANSCRIPTS = [torch.arange(10, 10 + length) for length in (3, 1, 5, 2, 4, 1, 2, 6)]


@pytest.fixture(params=["gpt2", "llama"])
def model(request):
    return build(request.param, AdapterShape("stack", stride=4, hidden_size=24))


def with_transcripts(examples, chosen):  # noqa: F811
    layouts, speech = batch_of(examples, chosen)
    read = [Layout((e.pieces[0], TRANSCRIPTS[i], e.pieces[2]), e.output) for e, i in zip(layouts, chosen, strict=True)]
    return PromptBatch(layouts, speech, read)


def test_divergence_is_zero_where_the_speech_is_the_transcript(model, examples):  # noqa: F811
    batch = with_transcripts(examples, range(8))
    embeddings = [model.token_embedding(tokens) for tokens in TRANSCRIPTS]
    with torch.no_grad():
        teacher = SpeechLLMObjective(model, SpeechLLMLosses()).teach(batch)
        student = model(batch.layouts, embeddings).logits
    assert float(token_logit_distillation(student, teacher).abs().max()) < 1e-5


def test_divergence_is_a_plain_sum_and_top_tokens_count_the_rest_as_one():
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 11), 3 * torch.randn(6, 11)
    p, q = teacher.softmax(-1), student.softmax(-1)
    expected = [
        sum(float(a) * (float(a.log()) - float(b.log())) for a, b in zip(*rows, strict=True))
        for rows in zip(p, q, strict=True)
    ]
    assert token_logit_distillation(student, teacher).tolist() == pytest.approx(expected, abs=1e-5)
    kept = keep_top(teacher, 3)
    for row, found in enumerate(token_logit_distillation(student, kept).tolist()):
        order = p[row].argsort(descending=True)
        merged = [[*each[row, order[:3]].tolist(), float(each[row, order[3:]].sum())] for each in (p, q)]
        by_hand = sum(a * (torch.tensor(a).log() - torch.tensor(b).log()) for a, b in zip(*merged, strict=True))
        assert found == pytest.approx(float(by_hand), abs=1e-5)
    whole = token_logit_distillation(student, keep_top(teacher, 11)).tolist()
    assert whole == pytest.approx(expected, abs=1e-4)


def test_gradients_accumulate_to_those_of_the_large_batch(examples):  # noqa: F811
    gradients = []
    for parts in ([range(8)], [range(3), range(3, 8)]):
        model = build("llama", AdapterShape("stack", stride=4, hidden_size=24))
        objective = SpeechLLMObjective(model, SpeechLLMLosses(1.0, 0.5))
        batches = [with_transcripts(examples, part) for part in parts]
        tokens = sum(batch.num_tokens for batch in batches)
        for batch in batches:
            terms = objective(batch)
            sum(objective.weights[name] * term.total / tokens for name, term in terms.items()).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        assert float((gradients[1][name] - gradient).abs().max()) <= 1e-6 * max(1.0, largest), name


@pytest.mark.parametrize(
    ("stage", "changed"),
    [
        ({}, {"adapter"}),
        ({"language_model": "lora"}, {"adapter", "lora_"}),
        (
            {"language_model": "lora", "encoder": "top", "top_layers": 1},
            {"adapter", "lora_", "encoder.wav2vec2.encoder.layers.2"},
        ),
        ({"language_model": "full", "encoder": "full"}, {"adapter", "language_model", "encoder"}),
    ],
)  # fmt: skip
def test_a_stage_changes_what_it_names_and_nothing_else(model, examples, stage, changed):  # noqa: F811
    counts = set_trainable_(model, **stage)
    before = copy.deepcopy(dict(model.named_parameters()))
    assert sum(counts.values()) == sum(p.numel() for p in before.values() if p.requires_grad)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # The first leaves LoRA's first factor without a gradient.
        optimizer.zero_grad()
        objective = SpeechLLMObjective(model, SpeechLLMLosses())
        objective(with_transcripts(examples, range(4)))["next_token"].total.backward()
        optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert all(any(part in name for part in changed) for name in moved)
    assert all(any(part in name for name in moved) for part in changed)


def test_merged_adapters_give_the_same_logits(model, examples):  # noqa: F811
    set_trainable_(model, language_model="lora")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.1)
    batch = with_transcripts(examples, range(4))
    with torch.no_grad():
        adapted = model(batch.layouts, batch.speech).logits
        taught = SpeechLLMObjective(model, SpeechLLMLosses()).teach(batch)
        model.language_model = merge_adapters(model.language_model)
        merged = model(batch.layouts, batch.speech).logits
        other = SpeechLLMObjective(model, SpeechLLMLosses()).teach(batch)
    torch.testing.assert_close(merged, adapted, atol=1e-3, rtol=1e-3)
    # The teacher is the language model without its adapters.
    assert float((taught - other).abs().max()) > 1e-2


def test_transcripts_that_a_loss_needs_and_weights_that_are_all_zero(model, examples):  # noqa: F811
    batch = PromptBatch(*batch_of(examples, range(2)))
    with pytest.raises(TrainingError):
        SpeechLLMObjective(model, SpeechLLMLosses(0.0, 1.0))(batch)
    with pytest.raises(TrainingError):
        SpeechLLMObjective(model, SpeechLLMLosses(0.0, 0.0))
