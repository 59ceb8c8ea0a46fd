"""The encoder with a linear head over characters, and the CTC loss that trains it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from bigfoot.errors import ModelError
from bigfoot.models.configuration import BIGFOOT_PREFIX, BigfootConfig
from bigfoot.models.decoders.shape import DecoderShape
from bigfoot.models.decoders.speech_decoder import SpeechDecoder
from bigfoot.models.decoders.streams import Sizes, StreamInputs
from bigfoot.models.dropout import Dropout
from bigfoot.models.encoder import SpeechEncoder
from bigfoot.models.frames.source import FrameSource
from bigfoot.models.outputs import SpeechEncoderOutput
from bigfoot.models.padding import bring_to_front
from bigfoot.models.pretrained import BigfootPreTrainedModel
from bigfoot.models.tasks.head import Audio, TaskHead
from bigfoot.models.tasks.shape import TaskShape


@dataclass
class CTCOutput(ModelOutput):
    """Outputs of the model.

    Args:
        loss: CTC loss, a scalar, where labels were given.
        logits: (B, T, V); None for a model without a head.
        last_hidden_state: (B, T, D).
        hidden_states: L+1 of (B, T, D) where asked for.
        attentions: L of (B, H, T, T) where asked for; None for a layer without attention.
        conv_features: (B, T, C).
        frame_mask: (B, T), True = real frame; None where no ``attention_mask`` was given.
        attention_values: L of (B, T, H * head_dim) where asked for, what attention mixes; None where there is none.
        memory: (B, T', M), the input of the decoder, where asked for.
        memory_mask: (B, T'), True = real.
        decoder_logits: (B, U + 1, V), of the decoder along the labels it was given.
        task_logits: (B, K), of the task head; None without one.
        pooled: (B, P), the pooled frames of the task head.
        pooling_weights: (B, H, T), shares of the frames where its pooling learns them.
        task_mix: see ``TaskAnswers.mix``.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor | None, ...] | None = None
    conv_features: Tensor | None = None
    frame_mask: Tensor | None = None
    attention_values: tuple[Tensor | None, ...] | None = None
    memory: Tensor | None = None
    memory_mask: Tensor | None = None
    decoder_logits: Tensor | None = None
    task_logits: Tensor | None = None
    pooled: Tensor | None = None
    pooling_weights: Tensor | None = None
    task_mix: tuple[Tensor, Tensor] | None = None


def compute_ctc_losses(logits: Tensor, labels: Tensor, frame_mask: Tensor | None, blank_id: int) -> Tensor:
    """Connectionist temporal classification, utterance by utterance (Graves et al., 2006, equation 8).

    Args:
        logits: (B, T, V).
        labels: (B, U), -100 = padding.
        frame_mask: (B, T), True = real; None where all are.
        blank_id: token of the blank.

    Returns:
        (B,) negative log-likelihoods in nats, summed over an utterance; 0 where the labels do not fit the frames or
        there is no real frame, as ``zero_infinity`` of PyTorch has it, and where there are no labels: the transcript
        is unknown then, and to train towards silence would be wrong.

    Examples:
        >>> compute_ctc_losses(torch.zeros(1, 1, 2), torch.tensor([[1]]), None, 0)
        tensor([0.6931])
    """
    frames = torch.full(logits.shape[:1], logits.shape[1], device=logits.device)
    if frame_mask is not None:
        frames = frame_mask.sum(-1)
        # Garbage in padding is not in the sums, but would come back through the softmax as zero times NaN.
        logits = logits.where(frame_mask.unsqueeze(-1), 0.0)
    label_lengths = (labels >= 0).sum(-1)
    # fp32: log-sums over hundreds of frames do not survive half precision.
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)
    losses = nn.functional.ctc_loss(
        log_probs, labels.clamp(min=0), frames, label_lengths, blank=blank_id, reduction="none", zero_infinity=True
    )
    return losses.where((frames > 0) & (label_lengths > 0), 0.0)


def _build_encoder(config: BigfootConfig) -> SpeechEncoder:
    if config.frame_encoder is None:
        return SpeechEncoder(config)
    from bigfoot.models.frames.encoder import OtherEncoder

    return OtherEncoder(config)


class PassedLogits(nn.Linear):
    """The head of an encoder whose frames are logits already: it has no weights.

    Args:
        size: V, given twice as of any head.
        vocab_size: V.

    Examples:
        >>> head = PassedLogits(3, 3)
        >>> head.out_features, head(torch.ones(1, 3)).tolist(), sum(p.numel() for p in head.parameters())
        (3, [[1.0, 1.0, 1.0]], 0)
    """

    def __init__(self, size: int, vocab_size: int) -> None:
        if size != vocab_size:
            raise ModelError(f"frames of {size} logits for a vocabulary of {vocab_size} tokens")
        super().__init__(0, vocab_size, bias=False)

    def reset_parameters(self) -> None:
        """Draw nothing."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the logits as they are."""
        return input


class BigfootForCTC(BigfootPreTrainedModel):
    """``SpeechEncoder`` with a linear CTC head, a decoder and a task head, as far as the shape has them.

    ``config.ctc_head``, ``config.decoder`` and ``config.task`` say which; a model for a task alone has no CTC head.

    Attribute names follow ``config.weight_prefix``: the family's, such as ``wav2vec2``, and ``lm_head`` where
    transformers' own class can open the folder, ``bigfoot`` and ``bigfoot_lm_head`` where it could only open it
    wrongly. Use the properties ``speech_encoder`` and ``head``, which are the same for both.

    Args:
        config: the shape.

    Attributes:
        kept_frames: what a frozen encoder gave is taken from here in training, where that is set.

    Examples:
        >>> config = BigfootConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32,
        ...                        conv_dim=[8] * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2)
        >>> BigfootForCTC(config).eval()(torch.zeros(1, 16000)).logits.shape
        torch.Size([1, 49, 32])
    """

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__(config)
        self.kept_frames: FrameSource | None = None
        self.head_name = f"{BIGFOOT_PREFIX}_lm_head" if config.weight_prefix == BIGFOOT_PREFIX else "lm_head"
        encoder = _build_encoder(config)
        self.add_module(config.weight_prefix, encoder)
        self.dropout = Dropout(config.final_dropout)
        if config.ctc_head:
            head = PassedLogits if encoder.gives_logits else nn.Linear
            self.add_module(self.head_name, head(config.hidden_size, config.vocab_size))
        self.decoder: SpeechDecoder | None = None
        if config.decoder is not None:
            sizes = Sizes(
                config.hidden_size, config.num_hidden_layers + 1, config.vocab_size, config.receptive_field,
                config.inputs_to_logits_ratio,
            )  # fmt: skip
            self.decoder = SpeechDecoder(DecoderShape.read(config.decoder), sizes, config.pad_token_id or 0)
        self.task_head: TaskHead | None = None
        if config.task is not None:
            self.task_head = TaskHead(TaskShape.read(config.task), config.hidden_size, config.num_hidden_layers + 1)
        self.post_init()

    @property
    def speech_encoder(self) -> SpeechEncoder:
        """Return the encoder."""
        encoder = getattr(self, self.config.weight_prefix)
        assert isinstance(encoder, SpeechEncoder)
        return encoder

    @property
    def head(self) -> nn.Linear | None:
        """The CTC head, or None."""
        return getattr(self, self.head_name, None)

    def parts(self) -> dict[str, nn.Module]:
        """Return the parts of the model by their names in configurations and reports."""
        encoder = self.speech_encoder
        found: dict[str, nn.Module] = {
            "feature_encoder": encoder.feature_encoder,
            "feature_projection": encoder.feature_projection,
            "encoder": encoder.encoder,
        }
        optional = {"lm_head": self.head, "decoder": self.decoder, "task_head": self.task_head}
        return found | {name: part for name, part in optional.items() if part is not None}

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        decoder_labels: Tensor | None = None,
        output_memory: bool = False,
        **encoder_arguments: object,
    ) -> CTCOutput:
        """Compute logits, and the mean CTC loss over labels where labels are given.

        Args:
            input_values: (B, N), normalized by the processor.
            attention_mask: (B, N), true where a sample is real, one run a row; None where all are. Frames of a row
                stand at the front of what comes back: see ``SpeechEncoder.forward``.
            labels: (B, U), -100 = padding.
            decoder_labels: (B, U), -100 = padding; the decoder gives its logits along them.
            output_memory: return the input of the decoder.
            encoder_arguments: passed to ``SpeechEncoder.forward``.

        Returns:
            See ``CTCOutput``.
        """
        decodes = self.decoder is not None and (output_memory or decoder_labels is not None)
        by_decoder = decodes and self.decoder is not None and self.decoder.streams.needs_layers
        if by_decoder or (self.task_head is not None and self.task_head.needs_layers):
            encoder_arguments["output_hidden_states"] = True
        reads_audio = self.task_head is not None and self.task_head.reads_audio
        if (decodes or reads_audio) and attention_mask is not None:
            # The decoder's streams read the waveform too, and their frames must be the encoder's.
            input_values, attention_mask = bring_to_front(input_values, attention_mask, self.training)
        audio = Audio(input_values, attention_mask)
        if self.kept_frames is not None and self.kept_frames.serves(training=self.training):
            encoded = self.kept_frames.encode(input_values, attention_mask)
            if self.task_head is not None:
                audio = Audio(*audio[:2], self.kept_frames.pool_audio(self.task_head.beside, *audio[:2]))
        else:
            encoded = self.speech_encoder(input_values, attention_mask, **encoder_arguments)
        assert encoded.last_hidden_state is not None
        logits = None if self.head is None else self.head(self.dropout(encoded.last_hidden_state))
        states = encoded.last_hidden_state, encoded.hidden_states
        inputs = StreamInputs(input_values, *states, logits, encoded.frame_mask)
        return CTCOutput(
            **(self._decode(inputs, decoder_labels) if decodes else {}),
            **self._answer(encoded, audio),
            loss=self._mean_loss(logits, labels, encoded.frame_mask),
            logits=logits,
            last_hidden_state=encoded.last_hidden_state,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            conv_features=encoded.conv_features,
            frame_mask=encoded.frame_mask,
            attention_values=encoded.attention_values,
        )

    def _mean_loss(self, logits: Tensor | None, labels: Tensor | None, frame_mask: Tensor | None) -> Tensor | None:
        if logits is None or labels is None:
            return None
        losses = compute_ctc_losses(logits, labels, frame_mask, self.config.pad_token_id or 0)
        return losses.sum() / (labels >= 0).sum().clamp(min=1)

    def _answer(self, encoded: SpeechEncoderOutput, audio: Audio) -> dict[str, Any]:
        if self.task_head is None:
            return {}
        answers = self.task_head(encoded.last_hidden_state, encoded.hidden_states, encoded.frame_mask, audio)
        found = {"task_logits": answers.logits, "pooled": answers.pooled, "pooling_weights": answers.weights}
        return found | {"task_mix": answers.mix}

    def _decode(self, inputs: StreamInputs, labels: Tensor | None) -> dict[str, Any]:
        assert self.decoder is not None
        memory, mask = self.decoder.streams(inputs)
        found = {"memory": memory, "memory_mask": mask}
        return found if labels is None else found | {"decoder_logits": self.decoder(labels, memory, mask)}
