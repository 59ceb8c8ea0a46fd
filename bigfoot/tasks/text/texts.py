"""What a text model reads of an example: its text, its phonemes, or what a phoneme model transcribes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from bigfoot.config import Problem
from bigfoot.data.manifests import ListedUtterance
from bigfoot.decoding.greedy import decode_greedy
from bigfoot.errors import ConfigError
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.tasks.text.batches import TextReader
from bigfoot.tasks.text.settings import TrainTextConfig

Splits = Mapping[str, Sequence[ListedUtterance]]


def rewrite_texts(splits: Splits, config: TrainTextConfig) -> Splits:
    """Replace texts as ``config.text`` asks for.

    Args:
        splits: examples.
        config: of the run.

    Returns:
        The same examples with other texts.

    Raises:
        MissingExtraError: ``phonemes`` without espeak-ng.
        ConfigError: ``recognized`` by a model that gives no text.
    """
    if config.text == "phonemes":
        return {split: pronounce_texts(items, config.voice) for split, items in splits.items()}
    if config.text == "recognized":
        loaded = load_model(config.speech.phonemes)
        return {split: transcribe_texts(items, loaded, config.batch_size) for split, items in splits.items()}
    return splits


def pronounce_texts(examples: Sequence[ListedUtterance], voice: str) -> list[ListedUtterance]:
    """Replace texts by their phonemes, separated by blanks.

    Args:
        examples: with texts.
        voice: of espeak-ng.
    """
    from bigfoot.espeak import phonemize

    spoken = phonemize([item.text for item in examples], voice)
    return [replace(item, text=" ".join(phones)) for item, phones in zip(examples, spoken, strict=True)]


@torch.no_grad()
def transcribe_texts(
    examples: Sequence[ListedUtterance], loaded: LoadedModel, batch_size: int
) -> list[ListedUtterance]:
    """Replace texts by what a CTC model transcribes, greedily.

    Args:
        examples: with audio.
        loaded: such as a phoneme model.
        batch_size: utterances in a batch; no transcript depends on it.

    Raises:
        ConfigError: the model gives no text.
    """
    tokenizer, found = loaded.processor.tokenizer, list[str]()
    if loaded.missing_text_reason or tokenizer is None:
        raise ConfigError([Problem("speech.phonemes", "no_head", f"{loaded.folder}: {loaded.missing_text_reason}")])
    reader = TextReader(_NO_TOKENS, replace(loaded.processor, tokenizer=None), 1)
    for batch in reader.read(examples, batch_size):
        output = loaded.model(batch.input_values, batch.attention_mask)
        assert output.logits is not None
        found += decode_greedy(output.logits, output.frame_mask, tokenizer).texts
    return [replace(item, text=text) for item, text in zip(examples, found, strict=True)]


class _NoTokens:
    """Stands for a tokenizer where only audio is read."""

    def __call__(self, texts: Sequence[str], **_: object) -> dict[str, torch.Tensor]:
        empty = torch.zeros(len(texts), 0, dtype=torch.int64)
        return {"input_ids": empty, "attention_mask": empty}


_NO_TOKENS = _NoTokens()
