"""Decoders that write text one token at a time and attend to encoder states."""

from bigfoot.models.decoders.mini_gpt import MiniGPT
from bigfoot.models.decoders.pretrained import PretrainedDecoder

__all__ = ["MiniGPT", "PretrainedDecoder"]
