"""The decoder's path as a pass of fixed length, to time it and to count its operations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from bigfoot.data.batches import Batch, read_lengths
from bigfoot.decoding.settings import DecodingConfig
from bigfoot.decoding.spoken import decode_batch, require_decoder, require_tokenizer
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.size import count_pass_macs
from bigfoot.measure.speed import make_samples
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.types import SAMPLE_RATE, Seconds


class DecoderPass:
    """Encoder and autoregressive decoder, which always writes the same number of tokens.

    A decoder costs by the token. Left alone, it ends after a few tokens of noise or never; so the length is given, and
    what is measured depends on the search and the shapes alone.

    Args:
        model: with a decoder, in eval mode.
        config: of the search.
        tokens_per_second: of audio.

    Raises:
        ModelError: the model has no decoder.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> from bigfoot.models.reshape import with_decoder
        >>> model = with_decoder(load_model("tiny_teacher").model, {"num_layers": 1}, seed=1).eval()
        >>> DecoderPass(model, DecodingConfig(), tokens_per_second=4.0)(make_samples(1.0))[0].shape
        torch.Size([1, 1, 1])
    """

    def __init__(self, model: BigfootForCTC, config: DecodingConfig, tokens_per_second: float) -> None:
        require_decoder(model)
        self.model, self.config, self.tokens_per_second = model, config, tokens_per_second

    @torch.no_grad()
    def __call__(self, samples: torch.Tensor) -> tuple[torch.Tensor]:
        """Decode audio without padding.

        Args:
            samples: (B, N).

        Returns:
            Scores of the best texts, (B, 1, 1).
        """
        count = max(1, round(self.tokens_per_second * samples.shape[1] / SAMPLE_RATE))
        # No text is cut at a repetition loop: it would end there.
        config = replace(self.config, max_tokens=count, max_repeats=count)
        words = [""] * len(samples)
        batch = Batch(samples, torch.ones_like(samples, dtype=torch.bool), None, words, words, words)
        found = decode_batch(self.model, batch.to(self.model.device), config, min_tokens=count)
        return (torch.tensor([each.best.score for each in found])[:, None, None],)


def count_decoder_macs(decoder: DecoderPass, seconds: Seconds = 10.0) -> int:
    """Count multiply-accumulates of a decoder, beside those of the encoder and the CTC head.

    Args:
        decoder: see there.
        seconds: audio of the pass; attention grows with its square.

    Returns:
        Of the decoder and its input streams, per second of audio.
    """
    samples = make_samples(seconds).to(decoder.model.device)
    rest = count_pass_macs(lambda: decoder.model(samples))
    return round((count_pass_macs(lambda: decoder(samples)) - rest) / seconds)


def find_token_rate(loaded: LoadedModel, manifests: Iterable[Path]) -> float | None:
    """Compute how many tokens of a model's decoder a second of speech has, by the transcripts.

    Args:
        loaded: with a decoder.
        manifests: of splits; the first one with transcripts counts.

    Returns:
        Tokens per second; None where there are no transcripts that the decoder's tokens can write.

    Raises:
        ModelError: no decoder, or no vocabulary for it.
    """
    tokenizer = require_tokenizer(loaded)
    for manifest in manifests:
        tokens, seconds = 0, 0.0
        for _, text, duration in read_lengths(manifest):
            try:
                own = len(tokenizer.encode(text))
            except ValueError:  # out of vocabulary
                continue
            tokens, seconds = tokens + own, seconds + duration * bool(own)
        if tokens:
            return tokens / seconds
    return None
