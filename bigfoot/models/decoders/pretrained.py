"""``PretrainedDecoder``: a causal language model of transformers' that attends to encoder states through gates."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.pytorch_utils import Conv1D

from bigfoot.errors import MissingExtraError, ModelError
from bigfoot.models.decoders.attention import token_positions
from bigfoot.text.json_fields import is_whole, quote

_CROSS = "crossattention"


@dataclass
class PretrainedCache:
    """transformers' cache with the number of tokens in it."""

    inner: EncoderDecoderCache
    length: int = 0

    def reorder_(self, rows: Tensor) -> None:
        """See ``TextCache``."""
        self.inner.reorder_cache(rows)


class GatedAttention(nn.Module):
    """Cross-attention behind a gate that is closed at the start (Alayrac et al., 2022, section 2.2).

    Args:
        attention: of transformers'.
    """

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, *arguments: Any, **named: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever the model gives it
        """Compute attention times tanh of the gate."""
        attended, *rest = self.attention(*arguments, **named)
        return attended * self.gate.tanh(), *rest


class PretrainedDecoder(nn.Module):
    """A causal language model, its text ability kept: with closed gates it gives its own logits, whatever the audio.

    Args:
        language_model: transformers' configuration of the model.
        train: ``full``, ``lora`` or ``frozen``; gates and cross-attention, which are new, always learn.
        lora_rank: of ``lora`` (Hu et al., 2021).

    Raises:
        ModelError: transformers has no such model, or cannot give it cross-attention.
        MissingExtraError: ``peft`` is not installed.

    Examples:
        >>> shape = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 20, "eos_token_id": 19}
        >>> model = PretrainedDecoder(shape, "frozen").eval()
        >>> model(torch.tensor([[19, 3]]), torch.zeros(1, 5, 8)).shape
        torch.Size([1, 2, 20])
    """

    def __init__(self, language_model: dict[str, Any], train: str = "full", lora_rank: int = 8) -> None:
        super().__init__()
        config = _read_config(language_model)
        self.hidden_size = int(config.hidden_size)
        self.end_id = int(config.eos_token_id)
        self.begin_id = self.end_id if config.bos_token_id is None else int(config.bos_token_id)
        self.max_tokens = int(config.max_position_embeddings)
        self.model = _build(config)
        self._gate_(config.model_type)
        if train != "full":
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad = _is_new(name)
        if train == "lora":
            self._add_adapters_(lora_rank)
        for module in self.modules():
            # Already initialized: the model around it must not do it again.
            setattr(module, "_is_hf_initialized", True)  # noqa: B010 - unknown to types

    def _gate_(self, kind: str) -> None:
        blocks = [module for module in self.model.modules() if hasattr(module, _CROSS)]
        if not blocks:
            raise ModelError(f"transformers cannot give a {kind} cross-attention; take GPT-2 or a model of its family")
        for block in blocks:
            setattr(block, _CROSS, GatedAttention(getattr(block, _CROSS)))

    def _add_adapters_(self, rank: int) -> None:
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise MissingExtraError("decoder", "peft") from error
        linear = [n for n, m in self.model.named_modules() if isinstance(m, nn.Linear | Conv1D) and "lm_head" not in n]
        config = LoraConfig(
            r=rank, lora_alpha=2 * rank, target_modules=[name for name in linear if not _is_new(name)],
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in self.model.modules()),
        )  # fmt: skip
        inject_adapter_in_model(config, self.model)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad = _is_new(name) or "lora_" in name

    def start(self, memory: Tensor, memory_mask: Tensor | None) -> PretrainedCache:
        """See ``TextModel``."""
        return PretrainedCache(EncoderDecoderCache(DynamicCache(), DynamicCache()))

    def forward(
        self,
        tokens: Tensor,
        memory: Tensor | None,
        memory_mask: Tensor | None = None,
        cache: PretrainedCache | None = None,
        token_mask: Tensor | None = None,
    ) -> Tensor:
        """See ``TextModel``; without a memory it is the language model alone."""
        past = 0 if cache is None else cache.length
        if memory_mask is not None:
            # Softmax over nothing is NaN: a row without any real frame attends to everything.
            memory_mask = memory_mask | ~memory_mask.any(-1, keepdim=True)
        if token_mask is None:
            token_mask = torch.ones(tokens.shape[0], past + tokens.shape[1], dtype=torch.bool, device=tokens.device)
        output = self.model(
            input_ids=tokens, position_ids=token_positions(tokens, past, token_mask), attention_mask=token_mask.long(),
            encoder_hidden_states=memory, encoder_attention_mask=None if memory_mask is None else memory_mask.long(),
            past_key_values=None if cache is None else cache.inner, use_cache=cache is not None,
        )  # fmt: skip
        if cache is not None:
            cache.length += tokens.shape[1]
        return output.logits


def _is_new(name: str) -> bool:
    """Return whether a module or parameter belongs to what the language model did not have."""
    return _CROSS in name or "cross_attn" in name


# Errors of transformers' constructors for settings that they cannot use.
_UNUSABLE = (
    TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, RuntimeError, ImportError,
    StrictDataclassError,
)  # fmt: skip
_COMMON = {item.name for item in dataclasses.fields(PreTrainedConfig)}  # type: ignore[arg-type]


def _read_config(raw: dict[str, Any]) -> Any:  # noqa: ANN401 - transformers types none of its own
    """Read the language model's own fields alone: some of transformers' name code to fetch or lists to build."""
    kind = raw.get("model_type")
    try:
        # Fields that every configuration has stay as they are there: the model is built by transformers' own code,
        # whatever code the folder names, and in fp32.
        usual = AutoConfig.for_model(kind)
        own = (usual.to_dict().keys() | usual.attribute_map) - _COMMON - {"model_type", "output_attentions"}
        given = {key: value for key, value in raw.items() if key in own}
        config = AutoConfig.for_model(kind, **(given | {"add_cross_attention": True, "use_cache": True}))
    except _UNUSABLE as error:
        reason = quote(str(error))
        raise ModelError(f"transformers has no language model {quote(kind)} of these settings: {reason}") from error
    ends = getattr(config, "eos_token_id", None), getattr(config, "max_position_embeddings", None)
    if not all(is_whole(each) for each in ends):
        raise ModelError(f"the configuration of the {kind} has no eos_token_id or no longest text")
    return config


def _build(config: Any) -> Any:  # noqa: ANN401 - see above
    try:
        return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    except _UNUSABLE as error:
        raise ModelError(f"transformers cannot build this {config.model_type}: {quote(str(error))}") from error
