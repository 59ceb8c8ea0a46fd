"""Language models of transformers' in four shapes, of random weights, beside a narrow encoder."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.speech_llm.adapters import AdapterShape
from bigfoot.models.speech_llm.model import SpeechInput, SpeechLLM
from bigfoot.models.speech_llm.packing import Layout
from tests.conftest import NARROW, NO_DROPOUT, STRUCTURES

SMALL = {
    "vocab_size": 90, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": None, "tie_word_embeddings": False,
}  # fmt: skip
LANGUAGE_MODELS = {
    "gpt2": {"vocab_size": 90, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "bos_token_id": 0,
             "eos_token_id": 1, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "llama": SMALL,
    "qwen2": SMALL | {"tie_word_embeddings": True},
    "gemma": SMALL | {"tie_word_embeddings": True, "pad_token_id": 2},
}  # fmt: skip


def build(kind: str, adapter: AdapterShape, structure: str = "base") -> SpeechLLM:
    torch.manual_seed(0)
    encoder = BigfootForCTC(BigfootConfig(**(NARROW | STRUCTURES[structure] | NO_DROPOUT)))
    config = AutoConfig.for_model(kind, **LANGUAGE_MODELS[kind])
    language_model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in language_model.parameters():
            # As transformers starts them, logits of all tokens are nearly one.
            if parameter.ndim > 1:
                parameter.mul_(8)
    return SpeechLLM(encoder, adapter, language_model, end_id=1, vocab_size=80).eval()


@pytest.fixture(scope="session", params=LANGUAGE_MODELS)
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def model(kind):
    return build(kind, AdapterShape("stack", stride=4, hidden_size=24))


@pytest.fixture(scope="session")
def examples():
    """Eight examples of unequal prompts, outputs and recordings; the fifth has no recording at all."""
    generator = torch.Generator().manual_seed(1)

    def draw(length):
        return torch.randint(3, 80, (length,), generator=generator)

    layouts, waves = [], []
    for index, (before, after, output, seconds) in enumerate(
        [(3, 2, 4, 1.0), (1, 0, 1, 0.3), (9, 7, 6, 0.9), (0, 1, 2, 0.5), (4, 3, 3, 0.0), (2, 2, 9, 1.4), (5, 1, 1, 0.6),
         (1, 8, 2, 0.2)]
    ):  # fmt: skip
        layouts.append(Layout((draw(before), index, draw(after)), torch.cat([draw(output), torch.tensor([1])])))
        waves.append(torch.randn(int(seconds * 16000), generator=generator))
    return layouts, waves


def speech_of(waves):
    longest = max(1, *map(len, waves)) if len(waves) > 1 else max(1, len(waves[0]))
    values = torch.stack([torch.nn.functional.pad(wave, (0, longest - len(wave))) for wave in waves])
    mask = torch.stack([torch.arange(longest) < len(wave) for wave in waves])
    return SpeechInput(values, mask)


def batch_of(examples, chosen):
    """The chosen examples, which name their recordings by the place in this batch."""
    layouts, waves = examples
    renumbered = []
    for place, index in enumerate(chosen):
        before, _, after = layouts[index].pieces
        renumbered.append(Layout((before, place, after), layouts[index].output))
    return renumbered, speech_of([waves[index] for index in chosen])
