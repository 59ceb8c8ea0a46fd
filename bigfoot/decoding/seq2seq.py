"""Transcripts by a sequence-to-sequence model of transformers, such as Whisper, with its hallucinations counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    GenerationConfig,
)

from bigfoot.data.batches import Batch
from bigfoot.decoding.greedy import Transcripts, join_pieces
from bigfoot.errors import ModelError
from bigfoot.formats.filling import in_fp32
from bigfoot.formats.weight_files import read_weights
from bigfoot.muting import without_bars
from bigfoot.text.hallucinations import find_hallucination
from bigfoot.text.json_files import read_json_if_there
from bigfoot.types import SAMPLE_RATE, Samples

KINDS = ("whisper",)
"""Kinds of models in transformers' words."""


@dataclass
class Written:
    """Texts of a sequence-to-sequence model.

    Args:
        transcripts: texts, empty where one was a hallucination; confidences are the mean probability (geometric) of a
            token.
        hallucinations: how many texts were dropped, by their sign.
    """

    transcripts: Transcripts = field(default_factory=Transcripts)
    hallucinations: Counter[str] = field(default_factory=Counter)


def writes_text(folder: Path) -> bool:
    """Return whether a folder holds a sequence-to-sequence speech model with its tokenizer."""
    if not folder.is_dir():
        return False
    config = read_json_if_there(folder / "config.json")
    named = config.get("architectures")
    whole = isinstance(named, list) and any(str(name).endswith("ForConditionalGeneration") for name in named)
    tokenizer = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json"))
    return config.get("model_type") in KINDS and whole and tokenizer


class Seq2SeqTranscriber:
    """A sequence-to-sequence model at work, an utterance at a time: its input is 30 s whatever stands beside it.

    Args:
        folder: of transformers' ``save_pretrained``, with its processor; no code of the folder is run.

    Raises:
        ModelError: it cannot be loaded.
    """

    def __init__(self, folder: Path) -> None:
        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            self._processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            kind: Any = AutoModelForSpeechSeq2Seq
            with without_bars():
                empty = kind.from_config(config, trust_remote_code=False)
                self.model = type(empty).from_pretrained(None, config=config, state_dict=in_fp32(read_weights(folder)))
            if (folder / "generation_config.json").is_file():
                self.model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            raise ModelError(f"{folder}: transformers cannot load it with its processor: {error}") from error
        self.model.eval()

    @torch.no_grad()
    def write(self, samples: Samples) -> tuple[str, float]:
        """Write the text of an utterance.

        Args:
            samples: (N,) at 16 kHz, not normalized.

        Returns:
            The text without special tokens, and the mean probability (geometric) of its tokens.
        """
        given = self._processor.feature_extractor([samples], sampling_rate=SAMPLE_RATE, return_tensors="pt")
        features = given["input_features"].to(self.model.device)
        found = self.model.generate(features, do_sample=False, return_dict_in_generate=True, output_scores=True)
        tokens = found.sequences[0, -len(found.scores) :]
        scores = [step[0].float().log_softmax(-1)[token] for step, token in zip(found.scores, tokens, strict=True)]
        mean = float(torch.stack(scores).mean()) if scores else 0.0
        text = self._processor.tokenizer.decode(tokens, skip_special_tokens=True)
        return " ".join(text.split()), math.exp(mean)


def transcribe_seq2seq(transcriber: Seq2SeqTranscriber, batches: Iterable[Batch]) -> Written:
    """Transcribe batches, and drop texts that their audio cannot have.

    Args:
        transcriber: on the device where it runs.
        batches: of audio that is not normalized.

    Returns:
        See ``Written``.
    """
    written, found = Written(), Transcripts()
    for batch in batches:
        lengths = batch.input_lengths.tolist()
        for row, (samples, length) in enumerate(zip(batch.values_for(False), lengths, strict=True)):
            own = samples[:length].cpu().numpy()
            text, confidence = transcriber.write(own)
            if sign := find_hallucination(text, own):
                written.hallucinations[sign] += 1
                text, confidence = "", 0.0
            found.ids.append(batch.ids[row])
            found.speakers.append(batch.speakers[row])
            found.references.append(batch.texts[row])
            found.hypotheses.append(text)
            found.greedy.append(text)
            found.margins.append(math.inf)
            found.confidences.append(confidence)
    written.transcripts = join_pieces(found)
    return written
