"""How models are loaded and saved: as transformers does, with weights that may be quantized."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from bigfoot.errors import ModelError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.fake_int8 import int8_layers
from bigfoot.models.shape_fields import OWN_FIELDS
from bigfoot.models.small_state import pack_state, unpack_state

_PLACE = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder", "proxies")
"""Arguments of ``from_pretrained`` that locate a model."""


class BigfootPreTrainedModel(PreTrainedModel):
    """Base of all models: the configuration's class and the names of weights."""

    config_class = BigfootConfig
    base_model_prefix = "wav2vec2"
    main_input_name = "input_values"
    _supports_sdpa = True

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__(config)
        # The prefix belongs to the shape, not to the class: see BigfootConfig.weight_prefix.
        self.base_model_prefix = config.weight_prefix

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *model_args: object,
        config: BigfootConfig | str | os.PathLike[str] | None = None,
        **kwargs: Any,  # noqa: ANN401 - whatever transformers takes
    ) -> Any:  # noqa: ANN401 - with output_loading_info it is a pair
        """Open a folder or id as transformers does; quantized weights come back in fp32."""
        name, source = pretrained_model_name_or_path, config or pretrained_model_name_or_path
        place = {key: kwargs[key] for key in _PLACE if key in kwargs}
        # Not of our class: where a folder brings its code, transformers may have loaded that class twice.
        shape = cast("BigfootConfig", source) if isinstance(source, PreTrainedConfig) else None
        if name is not None and shape is None:
            wanted = {key: value for key, value in kwargs.items() if key in OWN_FIELDS}
            shape = BigfootConfig.from_pretrained(source, **place, **wanted)
        if name is None or shape is None or shape.small_weights is None:
            return super().from_pretrained(name, *model_args, config=config, **kwargs)
        file = cached_file(name, "model.safetensors", **place)
        state = cls.restore_weights(shape, load_file(str(file)), str(name))
        others = {key: value for key, value in kwargs.items() if key not in place and not hasattr(shape, key)}
        wanted = {"dtype": kwargs.get("dtype", kwargs.get("torch_dtype", torch.float32))}
        others.pop("torch_dtype", None)
        return super().from_pretrained(None, *model_args, config=shape, state_dict=state, **(others | wanted))

    @classmethod
    def restore_weights(cls, config: BigfootConfig, tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
        """Bring the weights of a folder back to fp32; see ``unpack_state``.

        Args:
            config: of the folder.
            tensors: of its weight files, by name.
            source: where they come from, for messages.

        Raises:
            ModelError: they do not match the configuration.
        """
        layers: Mapping[str, nn.Module] = {}
        if config.has_int8_weights:
            with torch.device("meta"):
                layers = int8_layers(cls(config).base_model)
        return unpack_state(tensors, config.small, layers, config.weight_prefix, source)

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *, state_dict: dict[str, Tensor] | None = None, **kwargs: object
    ) -> None:
        """Write a folder as transformers does, with weights quantized as in ``config.small_weights``.

        Raises:
            ModelError: weights hold other numbers than fit there.
        """
        if (small := self.config.small) is not None:
            state = self.state_dict() if state_dict is None else state_dict
            tied = self.get_expanded_tied_weights_keys(all_submodels=True)
            state = {name: tensor for name, tensor in state.items() if tied.get(name) not in state}
            state_dict = pack_state(state, small, int8_layers(self.base_model), self.config.weight_prefix)
        super().save_pretrained(save_directory, state_dict=state_dict, **kwargs)


def refuse_small(config: BigfootConfig, consequence: str) -> None:
    """Refuse a change of a model with quantized weights, which could not hold it.

    Args:
        config: of the model.
        consequence: what is refused.

    Raises:
        ModelError: its weights are quantized.
    """
    if config.small_weights is not None:
        raise ModelError(
            f"this model's weights are {config.precision} on disk, and {consequence}: what changed would be lost when "
            "they are rounded again. Do it before they are quantized, or bring the model back first: "
            "bigfoot quantize MODEL OUT --precision float32"
        )
