"""``SpeechLLM``: encoder, adapter and a causal language model of transformers'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.encoder import SpeechEncoder
from bigfoot.models.speech_llm.adapters import Adapter, AdapterShape
from bigfoot.models.speech_llm.packing import Layout, PackedBatch, name_recordings, pack


@dataclass(frozen=True)
class SpeechInput:
    """Recordings of a batch, which its layouts name by number.

    Args:
        input_values: (R, N), normalized by the encoder's processor.
        attention_mask: (R, N), True = real.
        masks: SpecAugment's ``mask_time_indices`` and ``mask_feature_indices``, (R, ...); empty for none.
    """

    input_values: Tensor
    attention_mask: Tensor
    masks: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class SpeechLLMOutput:
    """Outputs along the tokens of a batch's outputs.

    Args:
        logits: (K, V) before each of the K tokens, example by example.
        labels: (K,) those tokens.
        counts: tokens of each example, which sum to K.
    """

    logits: Tensor
    labels: Tensor
    counts: list[int]

    @property
    def token_losses(self) -> Tensor:
        """Cross-entropy of every token, (K,) nats."""
        return nn.functional.cross_entropy(self.logits.float(), self.labels, reduction="none")

    def split(self, values: Tensor) -> list[Tensor]:
        """Split (K, ...) values by example."""
        return list(values.split(self.counts))


class SpeechLLM(nn.Module):
    """A language model that takes speech among its tokens' embeddings.

    Args:
        encoder: any of bigfoot's, compressed or not; a CTC head is left unused.
        adapter: shape of what joins encoder and language model.
        language_model: of ``AutoModelForCausalLM``.
        end_id: the token that ends an output.
        vocab_size: tokens that the tokenizer knows; a larger head's others are never generated.
        stop_ids: further tokens that end what is generated, such as the end of a turn of a chat.
        seed: of the adapter's weights.
    """

    def __init__(
        self, encoder: BigfootForCTC, adapter: AdapterShape, language_model: nn.Module, end_id: int,
        vocab_size: int, seed: int = 0, stop_ids: Sequence[int] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder = encoder
        self.language_model: Any = language_model
        table = self.token_embedding.weight
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.adapter = Adapter(adapter, encoder.config.hidden_size, table.shape[1])
        self.adapter.match_(table)
        self.end_id, self.vocab_size, self.stop_ids = end_id, vocab_size, tuple(stop_ids)

    @property
    def token_embedding(self) -> nn.Embedding:
        """The language model's embedding of tokens."""
        found = self.language_model.get_input_embeddings()
        assert isinstance(found, nn.Embedding)
        return found

    @property
    def speech_encoder(self) -> SpeechEncoder:
        """The encoder without its heads."""
        return self.encoder.speech_encoder

    @property
    def config(self) -> BigfootConfig:
        """The encoder's shape."""
        return self.encoder.config

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.token_embedding.weight.device

    @property
    def most_tokens(self) -> int | None:
        """Positions of the language model; None where its configuration states no limit."""
        # Of a model that takes images too, its language model has a configuration of its own.
        found = getattr(self.language_model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        return None if found is None else int(found)

    @property
    def embeddings_per_second(self) -> float | None:
        """Rate at which speech enters the language model; None where it does not follow the length."""
        if self.adapter.shape.kind == "queries":
            return None
        return 16000 / self.encoder.config.inputs_to_logits_ratio / self.adapter.shape.stride

    def parts(self) -> dict[str, nn.Module]:
        """Return the parts by their names in configurations and reports."""
        return {"encoder": self.encoder, "adapter": self.adapter, "language_model": self.language_model}

    def train(self, mode: bool = True) -> SpeechLLM:
        """Set the mode; parts that learn nothing stay in eval mode, without dropout."""
        super().train(mode)
        for part in self.parts().values():
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
        return self

    def count_embeddings(self, num_samples: Sequence[int]) -> list[int]:
        """Count the embeddings of recordings of so many samples."""
        frames = self.speech_encoder.feature_encoder.frame_lengths(torch.tensor(num_samples, dtype=torch.long))
        return [int(count) for count in self.adapter.inner.count(frames)]

    def embed_speech(self, speech: SpeechInput) -> list[Tensor]:
        """Compute the (T', M) embeddings of each recording."""
        real = speech.attention_mask.any(-1)
        found = [self.token_embedding.weight.new_zeros(0, self.token_embedding.weight.shape[1])] * len(real)
        if not real.any():
            return found
        mask = speech.attention_mask[real]
        given = {name: values[real] for name, values in speech.masks.items()}
        encoded = self.encoder.speech_encoder(speech.input_values[real], mask, **given)
        lengths = encoded.frame_mask.sum(-1).tolist()
        states = [row[:length] for row, length in zip(encoded.last_hidden_state, lengths, strict=True)]
        for index, embeddings in zip(real.nonzero().flatten().tolist(), self.adapt(states), strict=True):
            found[index] = embeddings
        return found

    def adapt(self, states: Sequence[Tensor]) -> list[Tensor]:
        """Compute the (T', M) embeddings of (T, D) states of the encoder, 1 recording or more."""
        padded = nn.utils.rnn.pad_sequence(list(states), batch_first=True)
        lengths = torch.tensor([len(row) for row in states], device=padded.device)
        mask = torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]
        embeddings, kept = self.adapter(padded, mask)
        dtype = self.token_embedding.weight.dtype
        return [row[: int(real.sum())].to(dtype) for row, real in zip(embeddings, kept, strict=True)]

    def pack(self, layouts: Sequence[Layout], recordings: Sequence[Tensor], padding_side: str = "right") -> PackedBatch:
        """Pack examples; see ``packing.pack``."""
        return pack(
            layouts, recordings, self.token_embedding, padding_side=padding_side, most_tokens=self.most_tokens
        )

    def forward(
        self, layouts: Sequence[Layout], speech: SpeechInput | Sequence[Tensor], padding_side: str = "right"
    ) -> SpeechLLMOutput:
        """Compute the logits of the outputs' tokens.

        Args:
            layouts: examples with outputs.
            speech: recordings, or their embeddings.
            padding_side: of the batch; makes no difference.
        """
        if isinstance(speech, SpeechInput):
            # Where transcripts stand in the place of all speech, the encoder has nothing to do.
            speech = self.embed_speech(speech) if name_recordings(layouts) else []
        packed = self.pack(layouts, speech, padding_side)
        logits = self.compute_logits(packed)[:, :-1]
        labels = packed.labels[:, 1:]
        return SpeechLLMOutput(
            logits[labels >= 0], labels[labels >= 0], [len(example.output) for example in layouts]
        )

    def compute_logits(self, packed: PackedBatch) -> Tensor:
        """Compute the (B, S, V) logits of a packed batch."""
        # Without padding no mask: the language model then runs as it does on text alone.
        mask = None if bool(packed.attention_mask.all()) else packed.attention_mask.long()
        return self.language_model(
            inputs_embeds=packed.inputs_embeds, attention_mask=mask, position_ids=packed.position_ids, use_cache=False
        ).logits
