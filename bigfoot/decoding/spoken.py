"""Transcribe batches of audio with a model's decoder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch

from bigfoot.data.batches import Batch
from bigfoot.decoding.autoregressive import REPETITION, Decoded, decode_autoregressive
from bigfoot.decoding.ctc_prefix import CTCPrefixScorer
from bigfoot.decoding.greedy import Transcripts, join_pieces
from bigfoot.decoding.settings import DecodingConfig
from bigfoot.errors import ModelError
from bigfoot.formats.folder import LoadedModel, missing_vocabulary
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.decoders.speech_decoder import SpeechDecoder
from bigfoot.text.tokenizer import Tokenizer


def require_decoder(model: BigfootForCTC) -> SpeechDecoder:
    """Return the decoder of a model.

    Raises:
        ModelError: it has none.
    """
    if model.decoder is None:
        raise ModelError("the model has no decoder; fine-tune with finetune.objective=decoder or joint to give it one")
    return model.decoder


def require_tokenizer(loaded: LoadedModel) -> Tokenizer:
    """Return the tokenizer of a model's decoder, its own or the CTC head's.

    Args:
        loaded: with a decoder.

    Raises:
        ModelError: no decoder, no vocabulary, or one that is not the decoder's.
    """
    decoder = require_decoder(loaded.model)
    tokenizer = loaded.processor.decoder_tokenizer or loaded.processor.tokenizer
    if tokenizer is None:
        raise ModelError(f"{loaded.folder}: no text can come out of this model: {missing_vocabulary(loaded.folder)}")
    # Language models may have rows without a token, and no row for tokens that write nothing, as CTC's blank.
    rest = tokenizer.pieces[decoder.vocab_size :]
    fits = tokenizer.fits(decoder.vocab_size) if decoder.has_ctc_tokens else not any(rest)
    if not fits:
        raise ModelError(
            f"{loaded.folder}: no text can come out of this model: its vocabulary ({tokenizer.describe()}) is not its "
            f"decoder's, which has {decoder.vocab_size} tokens"
        )
    return tokenizer


def name_decoding(model: BigfootForCTC, config: DecodingConfig) -> str:
    """Describe how a model's decoder is used, for reports.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> from bigfoot.models.reshape import with_decoder
        >>> model = with_decoder(load_model("tiny_teacher").model, {"num_layers": 1}, seed=1)
        >>> name_decoding(model, DecodingConfig(beam_size=4, ctc_weight=0.3))
        'MiniGPT, beam 4, CTC 0.3'
    """
    parts = [require_decoder(model).name, "greedy" if config.beam_size == 1 else f"beam {config.beam_size}"]
    parts += [f"CTC {config.ctc_weight:g}"] * bool(config.ctc_weight)
    return ", ".join([*parts, *[f"length bonus {config.length_bonus:g}"] * bool(config.length_bonus)])


@torch.no_grad()
def decode_batch(
    model: BigfootForCTC,
    batch: Batch,
    config: DecodingConfig,
    prompts: Sequence[Sequence[int]] | None = None,
    min_tokens: int = 0,
) -> list[Decoded]:
    """Decode a batch by the model's decoder.

    No text is longer, in tokens, than its audio, in frames.

    Args:
        model: with a decoder, in eval mode.
        batch: on the model's device.
        config: beams, weights and limits.
        prompts: first tokens of each text, in the decoder's tokens.
        min_tokens: see ``decode_autoregressive``.

    Returns:
        One result an utterance.

    Raises:
        ModelError: no decoder, or CTC is to help one whose tokens it does not have.
    """
    decoder = require_decoder(model)
    output = model(batch.input_values, batch.attention_mask, output_memory=True)
    ctc = None
    if config.ctc_weight and decoder.has_ctc_tokens:
        ctc = CTCPrefixScorer(output.logits, output.frame_mask, model.config.pad_token_id or 0)
    limits = output.frame_mask.sum(-1)
    if decoder.max_tokens is not None:
        limits = limits.clamp(max=decoder.max_tokens)
    return decode_autoregressive(
        decoder.text_model, output.memory, output.memory_mask, config,
        ctc=ctc, limits=limits, prompts=prompts, min_tokens=min_tokens,
    )  # fmt: skip


def transcribe_by_decoder(
    model: BigfootForCTC, batches: Iterable[Batch], tokenizer: Tokenizer, config: DecodingConfig
) -> Transcripts:
    """Decode batches by the model's decoder.

    Args:
        model: with a decoder; put in eval mode for the time, then back as it was.
        batches: see ``bigfoot.data.batches``.
        tokenizer: of the decoder, which may be the CTC head's.
        config: beams, weights and limits.

    Returns:
        See ``Transcripts``; confidences are the mean probability (geometric) of a token.

    Raises:
        ModelError: see ``decode_batch``.
    """
    was_training, found = model.training, Transcripts(blank_rate=0.0)
    model.eval()
    for batch in batches:
        results = decode_batch(model, batch.to(model.device), config)
        found.ids += batch.ids
        found.speakers += batch.speakers
        found.references += [tokenizer.to_judged(text) for text in batch.texts]
        found.hypotheses += [tokenizer.decode(result.best.tokens) for result in results]
        found.margins += [result.margin for result in results]
        lengths = [len(result.best.tokens) + 1 for result in results]
        found.confidences += [
            math.exp(result.best.attention_score / n) for result, n in zip(results, lengths, strict=True)
        ]
        found.num_cut += sum(result.best.ended == REPETITION for result in results)
    found.greedy = list(found.hypotheses)
    model.train(was_training)
    return join_pieces(found)
