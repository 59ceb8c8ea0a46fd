"""Outputs of a language model that gets speech: generated, or scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from bigfoot.errors import DataError
from bigfoot.models.speech_llm.model import SpeechInput, SpeechLLM
from bigfoot.models.speech_llm.packing import Layout


@torch.inference_mode()
def generate(
    model: SpeechLLM, prompts: Sequence[Layout], speech: SpeechInput | Sequence[Tensor], *,
    most_new_tokens: int = 128, use_cache: bool = True, streamer: Any = None,  # noqa: ANN401 - transformers types none
) -> list[list[int]]:  # fmt: skip
    """Generate the most probable token after the other.

    Args:
        model: in eval mode.
        prompts: without outputs.
        speech: recordings, or their embeddings.
        most_new_tokens: an output ends there at the latest.
        use_cache: keep the keys and values of tokens; makes no difference but in time.
        streamer: of transformers', for one prompt: gets every token at once.

    Returns:
        The token ids of each output, without the end token.

    Raises:
        DataError: prompt and output have more tokens than the language model takes.
    """
    # Before the encoder runs: on a recording of minutes it takes gigabytes.
    _check_room(model, prompts, speech, most_new_tokens)
    recordings = model.embed_speech(speech) if isinstance(speech, SpeechInput) else speech
    packed = model.pack(prompts, recordings, "left")
    head = model.language_model.get_output_embeddings().weight.shape[0]
    unknown, ends = list(range(model.vocab_size, head)), [model.end_id, *model.stop_ids]
    with _without_settings(model.language_model):
        tokens = model.language_model.generate(
            inputs_embeds=packed.inputs_embeds, attention_mask=packed.attention_mask.long(),
            max_new_tokens=most_new_tokens, do_sample=False, num_beams=1, use_cache=use_cache,
            eos_token_id=ends, pad_token_id=model.end_id, suppress_tokens=unknown or None, streamer=streamer,
        )  # fmt: skip
    return [_until(row.tolist(), ends) for row in tokens]


def _check_room(
    model: SpeechLLM, prompts: Sequence[Layout], speech: SpeechInput | Sequence[Tensor], most_new_tokens: int
) -> None:
    if isinstance(speech, SpeechInput):
        counts = model.count_embeddings(speech.attention_mask.sum(-1).tolist())
    else:
        counts = [len(embeddings) for embeddings in speech]
    longest = max(
        sum(counts[piece] if isinstance(piece, int) else len(piece) for piece in prompt.pieces) for prompt in prompts
    )
    if model.most_tokens is not None and longest + most_new_tokens > model.most_tokens:
        raise DataError(
            f"a prompt of {longest} tokens with {most_new_tokens} new ones is longer than the {model.most_tokens} that "
            "the language model takes: shorten the recording or the prompt, or allow fewer new tokens"
        )


@contextmanager
def _without_settings(language_model: Any) -> Iterator[None]:  # noqa: ANN401 - of transformers' or peft's
    """Put a folder's settings of generation aside, such as penalties of repetition: they fill in what is not given."""
    inner = language_model.get_base_model() if hasattr(language_model, "peft_config") else language_model
    kept, inner.generation_config = inner.generation_config, GenerationConfig()
    try:
        yield
    finally:
        inner.generation_config = kept


def _until(tokens: list[int], ends: Sequence[int]) -> list[int]:
    return list(takewhile(lambda token: token not in ends, tokens))


@torch.inference_mode()
def score_outputs(
    model: SpeechLLM, examples: Sequence[Layout], speech: SpeechInput | Sequence[Tensor], *, per_token: bool = False
) -> list[float]:
    """Compute the log-probability of each example's output.

    Args:
        model: in eval mode.
        examples: with outputs.
        speech: recordings, or their embeddings.
        per_token: divide by the number of tokens.

    Returns:
        Nats, at most 0.
    """
    output = model(examples, speech)
    losses = output.split(output.token_losses.double())
    return [-float(loss.mean() if per_token else loss.sum()) for loss in losses]
