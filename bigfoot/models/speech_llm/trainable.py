"""What of a speech LLM is trained: stages, and low-rank adapters."""

from __future__ import annotations

from typing import Any

from torch import nn

from bigfoot.errors import MissingExtraError, ModelError
from bigfoot.models.speech_llm.model import SpeechLLM

FROZEN, LORA, FULL, TOP = "frozen", "lora", "full", "top"


def set_trainable_(
    model: SpeechLLM, *, language_model: str = FROZEN, encoder: str = FROZEN, top_layers: int = 2, lora_rank: int = 8
) -> dict[str, int]:
    """Choose what is trained besides the adapter, which always is.

    Args:
        model: changed in place.
        language_model: ``frozen``, ``lora`` (Hu et al., 2021; needs ``peft``) or ``full``.
        encoder: ``frozen``, ``top`` (its last layers) or ``full``.
        top_layers: of ``top``.
        lora_rank: of ``lora``.

    Returns:
        Parameters that are trained, by part.

    Raises:
        ModelError: there is no such choice.
        MissingExtraError: ``peft`` is not installed.
    """
    for name, value, known in (
        ("language_model", language_model, (FROZEN, LORA, FULL)), ("encoder", encoder, (FROZEN, TOP, FULL)),
    ):  # fmt: skip
        if value not in known:
            raise ModelError(f"{name} {value!r} is none of {', '.join(known)}")
    if language_model == LORA and not hasattr(model.language_model, "peft_config"):
        model.language_model = _with_adapters(model.language_model, lora_rank)
    for name, parameter in model.language_model.named_parameters():
        parameter.requires_grad = language_model == FULL or (language_model == LORA and "lora_" in name)
    model.encoder.requires_grad_(encoder == FULL)
    if encoder == TOP:
        layers = model.encoder.speech_encoder.encoder.layers
        for layer in list(layers)[-top_layers:]:
            layer.requires_grad_(True)
    model.adapter.requires_grad_(True)
    return {name: count_trainable(part) for name, part in model.parts().items()}


def count_trainable(module: nn.Module) -> int:
    """Count the parameters of a module that are trained."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _with_adapters(language_model: Any, rank: int) -> Any:  # noqa: ANN401 - of transformers' and peft's
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError("decoder", "peft") from error
    from transformers.pytorch_utils import Conv1D

    kept = language_model.get_output_embeddings()
    targets = [
        name for name, module in language_model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not kept
    ]  # fmt: skip
    transposed = any(isinstance(module, Conv1D) for module in language_model.modules())
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, fan_in_fan_out=transposed)
    return get_peft_model(language_model, config)
