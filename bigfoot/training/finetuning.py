"""Settings of training on the transcripts."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.config import Problem, above_zero, not_negative, one_of, share, unknown_words
from bigfoot.distill import LogitKLLoss, LossesConfig, default_losses
from bigfoot.distill.registry import losses_by_name
from bigfoot.install import install_hint
from bigfoot.text.settings import TokenizerConfig
from bigfoot.training.settings import TrainConfig

_STREAMS = ("encoder", "layers", "fbank", "posteriors")


@dataclass
class DecoderConfig:
    """A decoder that writes text token by token, where the model has none yet."""

    kind: str = one_of("mini_gpt", "pretrained")
    """``mini_gpt``, small and trained from nothing, with the CTC head's tokens; or ``pretrained``, a causal language
    model of transformers' with its own."""
    language_model: str | None = None
    """Folder or id of ``pretrained``: GPT-2 or one of its kin, with a ``tokenizer.json``."""
    train: str = one_of("full", "lora", "frozen")
    """What of ``pretrained`` learns besides what is new in it: all, low-rank adapters (needs ``peft``), or nothing."""
    lora_rank: int = above_zero(8)
    """Rank of the adapters."""
    hidden_size: int = above_zero(256)
    """Width of ``mini_gpt``."""
    num_layers: int = above_zero(4)
    """Transformer layers of ``mini_gpt``."""
    num_heads: int = above_zero(4)
    """Attention heads of ``mini_gpt``, and where streams are fused by attention."""
    dropout: float = share(0.1)
    """Of ``mini_gpt``, in training."""
    streams: list[str] = field(default_factory=lambda: ["encoder"])
    """Its inputs: ``encoder`` (the last state), ``layers`` (all, by learned weights), ``fbank`` (log-mel energies),
    ``posteriors`` (of the CTC head); each projected by itself."""
    fuse: str = one_of("pool", "attention", "decoder")
    """How several streams become one: ``pool`` (sum by learned weights), ``attention`` (the first attends to the
    others through gates that are closed at the start), or ``decoder`` (every layer of ``mini_gpt`` attends to each, to
    all but the first through such gates)."""
    projection: str = one_of("linear", "conv")
    """From a stream to the decoder's width: ``linear``, or ``conv`` over three frames."""
    stride: int = above_zero(1)
    """Frames that are merged into one."""

    def find_problems(self) -> Iterator[Problem]:
        """Check constraints that no range of a single number covers."""
        yield from unknown_words("streams", "stream", self.streams, _STREAMS)
        if not self.streams or len(set(self.streams)) < len(self.streams):
            yield Problem("streams", "empty_or_repeated", f"expected one or more, each once, got {self.streams}")
        if self.hidden_size % 2 or (self.num_heads > 0 and self.hidden_size % self.num_heads):
            yield Problem(
                "hidden_size", "indivisible",
                f"{self.hidden_size} should be even and a multiple of num_heads {self.num_heads}",
            )  # fmt: skip


@dataclass
class FinetuneConfig(TokenizerConfig, TrainConfig):
    """Train on the transcripts: with CTC, with a decoder, or with both."""

    max_steps: int = above_zero(300)
    """Optimizer steps."""
    learning_rate: float = above_zero(2e-4)
    """Highest learning rate."""
    head: str = one_of("teacher", "new", "respelled")
    """``teacher`` keeps the model's own CTC head; ``new`` creates a random one over the tokens of ``tokenizer``;
    ``respelled`` does too, and initializes each token from the row of its first letter in the model's own head."""
    objective: str = one_of("ctc", "decoder", "joint")
    """What is trained: the CTC head, an autoregressive ``decoder``, or both; the encoder with either."""
    ctc_weight: float = share(0.3)
    """``joint``: share of the CTC loss; the decoder's cross-entropy has the rest."""
    label_smoothing: list[float] = field(default_factory=lambda: [0.1, 0.0])
    """Share of the decoder's targets that is spread over all tokens, at the first and at the last step."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """The decoder, where the model has none yet."""
    freeze_feature_encoder_steps: int = not_negative(0)
    """Steps in which the feature encoder is frozen."""
    losses: LossesConfig = field(default_factory=lambda: default_losses(logit_kl=LogitKLLoss(weight=0.0)))
    """Further losses that compare with no teacher, by name and weight: ``intermediate_ctc``, ``alignment``,
    ``log_mel``, ``feature_penalty``. The weights of ``ctc`` and ``decoder`` follow from ``objective``."""

    def find_problems(self) -> Iterator[Problem]:
        """Check constraints that no range of a single number covers."""
        yield from TrainConfig.find_problems(self)
        yield from TokenizerConfig.find_problems(self)
        if self.tokenizer != "char" and self.head == "teacher":
            yield Problem(
                "tokenizer", "other_vocabulary",
                f"{self.tokenizer} is another vocabulary than the teacher's; set finetune.head=new",
            )  # fmt: skip
        yield from self._loss_problems()
        smoothing = self.label_smoothing
        if len(smoothing) != 2 or not all(0 <= part <= 1 for part in smoothing):
            yield Problem(
                "label_smoothing", "bad_bounds",
                f"expected [at the first step, at the last], from 0 to 1, got {smoothing}",
            )  # fmt: skip
        if self.decoder.kind == "pretrained" and self.objective != "ctc":
            yield from self._pretrained_problems()

    def _loss_problems(self) -> Iterator[Problem]:
        for name, loss in losses_by_name(self.losses).items():
            if loss.weight and (loss.needs_teacher or name in ("ctc", "decoder", "task")):
                why = "it compares with a teacher, and fine-tuning has none"
                why = why if loss.needs_teacher else "finetune.objective says whether it is learned"
                yield Problem(f"losses.{name}", "not_read", f"{why}; leave it out")

    def _pretrained_problems(self) -> Iterator[Problem]:
        decoder = self.decoder
        if decoder.language_model is None:
            yield Problem(
                "decoder.language_model", "missing",
                "needed by kind pretrained: folder or id of a causal language model",
            )  # fmt: skip
        if decoder.fuse == "decoder":
            yield Problem(
                "decoder.fuse", "not_for_pretrained",
                "decoder is for mini_gpt; a pretrained model attends to one stream, so pool them",
            )  # fmt: skip
        if decoder.train == "lora" and importlib.util.find_spec("peft") is None:
            yield Problem(
                "decoder.train", "missing_package", f"lora needs the package peft: {install_hint('decoder')}"
            )
