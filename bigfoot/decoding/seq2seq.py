"""Transcripts by a sequence-to-sequence model of transformers, such as Whisper, with its hallucinations counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    AutoTokenizer,
)

from bigfoot.data.batches import Batch
from bigfoot.decoding.greedy import Transcripts, join_pieces
from bigfoot.errors import ModelError
from bigfoot.formats.choices import Choices
from bigfoot.formats.seq2seq import fill_theirs, is_seq2seq, load_seq2seq
from bigfoot.models.frames.seq2seq import SEQ2SEQ_KINDS
from bigfoot.models.frames.transformers_ctc import SHORTEST
from bigfoot.muting import without_bars
from bigfoot.text.hallucinations import find_hallucination
from bigfoot.text.json_files import read_json_if_there
from bigfoot.types import SAMPLE_RATE, Samples, Seconds

WHISPER = "whisper"
_WHOLE = ("ForConditionalGeneration", "ForSpeechToText")
"""Ends of the names of classes that have a decoder and a head."""
_TOKENIZERS = ("tokenizer.json", "vocab.json", "spm_char.model", "sentencepiece.bpe.model")
_NO_LENGTH = (None, 20)
"""Lengths of texts that transformers has where nobody chose one."""
_FASTEST = 30
"""Tokens of a second of audio at most."""
_POSITIONS = ("max_target_positions", "max_text_positions", "max_position_embeddings")


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
    whole = isinstance(named, list) and any(str(name).endswith(_WHOLE) for name in named)
    tokenizer = any((folder / name).is_file() for name in _TOKENIZERS)
    return config.get("model_type") in (WHISPER, *SEQ2SEQ_KINDS) and whole and tokenizer


class Seq2SeqTranscriber:
    """A sequence-to-sequence model at work, an utterance at a time, so that nothing that stands beside it matters.

    Args:
        folder: of transformers' ``save_pretrained``, with its processor; no code of the folder is run.

    Raises:
        ModelError: it cannot be loaded.
    """

    def __init__(self, folder: Path) -> None:
        try:
            if is_seq2seq(folder):
                model, _ = load_seq2seq(folder, Choices())
                inner: Any = model.speech_encoder.encoder.inner
                self.model: Any = inner.model
                self._extract: Callable[[Samples], dict[str, Any]] = lambda x: dict(inner.extract(torch.from_numpy(x)))
                self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            else:
                self._open_whisper(folder)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError) as error:
            raise ModelError(f"{folder}: transformers cannot load it with its processor: {error}") from error
        self.model.eval()

    def _open_whisper(self, folder: Path) -> None:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        kind: Any = AutoModelForSpeechSeq2Seq
        with without_bars(), torch.device("meta"):
            empty = kind.from_config(config, trust_remote_code=False)
        self.model = fill_theirs(folder, empty)
        self._tokenizer = processor.tokenizer

        def extract(samples: Samples) -> dict[str, Any]:
            given = processor.feature_extractor([samples], sampling_rate=SAMPLE_RATE, return_tensors="pt")
            return {"input_features": given["input_features"].to(self.model.device)}

        self._extract = extract

    @torch.no_grad()
    def write(self, samples: Samples) -> tuple[str, float]:
        """Write the text of an utterance.

        Args:
            samples: (N,) at 16 kHz, not normalized.

        Returns:
            The text without special tokens, and the mean probability (geometric) of its tokens.
        """
        if len(samples) < SHORTEST:
            return "", 0.0
        more = self._limit(len(samples) / SAMPLE_RATE)
        found = self.model.generate(
            **self._extract(samples), do_sample=False, return_dict_in_generate=True, output_scores=True, **more
        )
        tokens = found.sequences[0, -len(found.scores) :]
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return " ".join(text.split()), math.exp(self._score(found, tokens))

    def _limit(self, seconds: Seconds) -> dict[str, int]:
        """Bound the length of a text where no file does: transformers would cut it at 20 tokens."""
        chosen = self.model.generation_config
        if chosen.max_new_tokens is not None or chosen.max_length not in _NO_LENGTH:
            return {}
        known = [size for name in _POSITIONS if isinstance(size := getattr(self.model.config, name, None), int)]
        return {"max_new_tokens": max(1, min([round(_FASTEST * seconds) + 16, *(size - 2 for size in known)]))}

    def _score(self, found: Any, tokens: Tensor) -> float:  # noqa: ANN401 - of transformers' generate
        """Mean log probability of the tokens."""
        if getattr(found, "beam_indices", None) is not None:
            # Scores of a beam are log probabilities; shorter texts end in padding without one.
            given = self.model.compute_transition_scores(found.sequences, found.scores, found.beam_indices)[0]
            real = given[found.beam_indices[0] >= 0] if given.shape == found.beam_indices[0].shape else given
            return float(real.mean()) if len(real) else 0.0
        pairs = zip(found.scores, tokens, strict=True)
        scores = [step[0].float().log_softmax(-1)[token] for step, token in pairs]
        return float(torch.stack(scores).mean()) if scores else 0.0


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
