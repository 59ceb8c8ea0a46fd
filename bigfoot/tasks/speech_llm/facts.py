"""Facts of a speech LLM: parameters by part, embeddings a second, time to the first token, invariance of the batch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from bigfoot.decoding.language_model import generate
from bigfoot.measure.size import count_params
from bigfoot.models.speech_llm.model import SpeechInput
from bigfoot.tasks.speech_llm.batches import collate_prompts
from bigfoot.tasks.speech_llm.examples import Example
from bigfoot.tasks.speech_llm.prompts import Prompt, PromptBuilder

_PROMPTS = 8
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ModelFacts:
    """Facts of a model.

    Args:
        parameters: by part.
        embeddings_per_second: that speech takes of the language model; None where their number is fixed.
        seconds_to_first_token: median over a few prompts, one at a time; None where it was not measured.
        largest_difference: of a logit of an answer alone and in a batch.
    """

    parameters: dict[str, int]
    embeddings_per_second: float | None
    seconds_to_first_token: float | None
    largest_difference: float

    @property
    def batch_invariant(self) -> bool:
        """Whether answers are the same in a batch and alone."""
        return self.largest_difference <= _TOLERANCE

    def metrics(self) -> dict[str, float]:
        """Return what stands in the table of a task beside its metrics."""
        found: dict[str, float | None] = {
            "encoder_M_params": self.parameters["encoder"] / 1e6,
            "adapter_M_params": self.parameters["adapter"] / 1e6,
            "embeddings_per_second": self.embeddings_per_second,
            "seconds_to_first_token": self.seconds_to_first_token,
        }
        return {name: value for name, value in found.items() if value is not None}


def measure_facts(builder: PromptBuilder, examples: Sequence[Example], *, speed: bool) -> ModelFacts:
    """Measure a model.

    Args:
        builder: with the model, in eval mode.
        examples: of the split that is evaluated; a few are taken.
        speed: whether to measure the time to the first token.
    """
    model, few = builder.loaded.model, examples[:_PROMPTS]
    parameters = {name: count_params(part) for name, part in model.parts().items()}
    seconds = _measure_first_token(builder, few) if speed else None
    return ModelFacts(parameters, model.embeddings_per_second, seconds, _measure_difference(builder, few))


def prepare_first_token(builder: PromptBuilder, examples: Sequence[Example]) -> list[Callable[[], object]]:
    """Prepare prompts, to time a model from samples in memory to the first token.

    Args:
        builder: with the model, in eval mode.
        examples: of any task.

    Returns:
        A call a prompt.
    """
    model = builder.loaded.model
    found: list[Callable[[], object]] = []
    for example in examples:
        batch = collate_prompts(builder, [builder.build(example, 1)], [None]).to(model.device)
        speech = SpeechInput(batch.input_values, batch.attention_mask)
        found.append(partial(generate, model, batch.layouts, speech, most_new_tokens=1))
    return found


def _measure_first_token(builder: PromptBuilder, examples: Sequence[Example]) -> float:
    prompts, found = prepare_first_token(builder, examples), []
    prompts[0]()  # warms up
    for generate_one in prompts:
        began = time.perf_counter()
        generate_one()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


@torch.no_grad()
def _measure_difference(builder: PromptBuilder, examples: Sequence[Example]) -> float:
    prompts = [builder.build(example, builder.count_answer(example.answer)) for example in examples]
    answers = [example.answer for example in examples]
    whole = _logits(builder, prompts, answers)
    pairs = zip(prompts, answers, strict=True)
    single = [logits for prompt, answer in pairs for logits in _logits(builder, [prompt], [answer])]
    return max(float((one - other).abs().max()) for one, other in zip(whole, single, strict=True))


def _logits(builder: PromptBuilder, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[torch.Tensor]:
    batch = collate_prompts(builder, prompts, answers).to(builder.loaded.model.device)
    output = builder.loaded.model(batch.layouts, SpeechInput(batch.input_values, batch.attention_mask))
    return output.split(output.logits)
