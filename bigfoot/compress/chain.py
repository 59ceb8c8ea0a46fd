"""``bigfoot.compress``: several techniques, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from bigfoot.compress.audio import LazyAudio
from bigfoot.compress.registry import apply_techniques
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.models.ctc import BigfootForCTC


@overload
def compress(model: BigfootForCTC, techniques: Sequence[object], audio: Iterable[Any] = ()) -> BigfootForCTC: ...
@overload
def compress(
    model: LoadedModel | str | Path, techniques: Sequence[object], audio: Iterable[Any] = ()
) -> LoadedModel: ...
def compress(
    model: BigfootForCTC | LoadedModel | str | Path, techniques: Sequence[object], audio: Iterable[Any] = ()
) -> BigfootForCTC | LoadedModel:
    """Compress a model.

    Args:
        model: left as it is: a loaded model, its name or folder (see ``load_model``), or the network alone.
        techniques: settings, applied in this order, such as ``[Depth(4), ConvGroups(2), Prune(ratio=0.2)]``.
        audio: real speech, read only where a technique fits or measures something on it: paths, waveforms
            (mono, 16 kHz, floats from -1 to 1), or batches with ``input_values`` and ``attention_mask``; ``Prune`` by
            ``taylor`` needs batches with ``labels``.

    Returns:
        What was given, smaller: a network for a network, else a loaded model whose history lists the techniques.

    Raises:
        BigfootError: a technique cannot be applied to this model, or needs audio.

    Examples:
        >>> import bigfoot
        >>> from bigfoot.compress import ConvGroups, Depth
        >>> student = bigfoot.compress("tiny_teacher", [Depth(4), ConvGroups(2)])
        >>> student.model.config.num_hidden_layers, [entry["step"] for entry in student.history[-2:]]
        (4, ['depth', 'conv_groups'])
    """
    loaded = load_model(model) if isinstance(model, str | Path) else model
    network = loaded if isinstance(loaded, BigfootForCTC) else loaded.model
    batches = LazyAudio(audio, None if isinstance(loaded, BigfootForCTC) else loaded.processor)
    network, changes = apply_techniques(network, techniques, batches)
    if isinstance(loaded, BigfootForCTC):
        return network
    entries = [{"step": change.step, "changes": [change.describe()]} for change in changes]
    return replace(loaded, model=network, history=[*loaded.history, *entries], folder=None)
