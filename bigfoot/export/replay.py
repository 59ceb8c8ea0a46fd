"""Passes of a model that begin at a layer: what comes before it is recorded once, and not computed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from bigfoot.models.ctc import BigfootForCTC


class Replay:
    """Outputs of the parts of a model in one pass, which later passes of the same input take instead of computing them.

    Args:
        model: in eval mode.
    """

    def __init__(self, model: BigfootForCTC) -> None:
        encoder = model.speech_encoder
        blocks = [module for owner in encoder.modules() if isinstance(owner, nn.ModuleList) for module in owner]
        self._parts = list(dict.fromkeys([*blocks, *encoder.children()]))
        self._ended: list[tuple[nn.Module, Any]] = []
        self._before: dict[nn.Module, int] = {}

    @contextmanager
    def recording(self, layers: Iterable[nn.Module]) -> Iterator[None]:
        """Record what the parts give, and which of them have ended before each layer.

        Args:
            layers: of the model.
        """
        with ExitStack() as stack:
            for layer in layers:
                handle = layer.register_forward_hook(lambda module, *_: self._note(module))
                stack.callback(handle.remove)
            for part in self._parts:
                handle = part.register_forward_hook(lambda module, _, output: self._ended.append((module, output)))
                stack.callback(handle.remove)
            yield

    def _note(self, layer: nn.Module) -> None:
        self._before.setdefault(layer, len(self._ended))

    @contextmanager
    def beginning_at(self, layer: nn.Module) -> Iterator[None]:
        """Let the parts before a layer give what they gave.

        Args:
            layer: of those that were recorded.
        """
        calls = Counter(part for part, _ in self._ended)
        with ExitStack() as stack:
            for part, output in self._ended[: self._before[layer]]:
                # A part that is called again has another output then.
                if calls[part] == 1:
                    # Of the instance, so that its hooks and its attributes stay what they are.
                    setattr(part, "forward", lambda *_, output=output, **__: output)  # noqa: B010 - no method for mypy
                    stack.callback(delattr, part, "forward")
            yield
