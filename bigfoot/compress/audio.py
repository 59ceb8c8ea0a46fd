"""Speech that techniques fit and measure on, read when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
import torch
from torch import Tensor

from bigfoot.audio.files import normalize_waveform, read_audio
from bigfoot.config import Problem
from bigfoot.errors import ModelError, UnfitError
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.text.tokenizers import Processor


class Waveforms(Protocol):
    """A batch of audio: ``PaddedAudio``, or ``bigfoot.data.batches.Batch``."""

    @property
    def input_values(self) -> Tensor:
        """(B, N), normalized by the processor."""

    @property
    def attention_mask(self) -> Tensor:
        """(B, N), True = real."""


class LazyAudio(Sequence[Any]):
    """Batches that are read when first asked for, and then kept.

    Args:
        source: of paths, waveforms or batches; or a function that gives them.
        processor: how paths and waveforms are normalized; None takes batches alone.

    Examples:
        >>> audio = LazyAudio([np.zeros(8000, np.float32)], Processor(None, do_normalize=False))
        >>> len(audio), audio[0].input_values.shape
        (1, torch.Size([1, 8000]))
    """

    def __init__(self, source: Iterable[Any] | Callable[[], Iterable[Any]], processor: Processor | None = None) -> None:
        self._source, self._processor = source, processor

    @cached_property
    def _batches(self) -> list[Any]:
        source = self._source() if callable(self._source) else self._source
        return [self._read(item) for item in ([source] if isinstance(source, str | Path) else source)]

    def _read(self, item: Any) -> Any:  # noqa: ANN401 - whatever a user has
        if hasattr(item, "input_values"):
            return item
        if self._processor is None:
            raise ModelError("audio: a network alone has no settings of normalization; give batches, or its folder")
        rate = self._processor.sample_rate
        samples = read_audio(item, sample_rate=rate) if isinstance(item, str | Path) else np.asarray(item, np.float32)
        if samples.ndim != 1 or not len(samples):
            raise ModelError(f"audio: expected paths, waveforms of one channel or batches, got shape {samples.shape}")
        if self._processor.do_normalize:
            samples = normalize_waveform(samples)
        values = torch.from_numpy(samples)[None]
        return PaddedAudio(values, torch.ones_like(values, dtype=torch.bool))

    @overload
    def __getitem__(self, index: int) -> Any: ...  # noqa: ANN401 - as above
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._batches[index]

    def __len__(self) -> int:
        return len(self._batches)


def require_audio(batches: Sequence[object], field: str, what: str) -> None:
    """Refuse to fit or measure without audio.

    Args:
        batches: of the technique; read here, if they are lazy.
        field: of its settings that asks for audio.
        what: needs it.

    Raises:
        UnfitError: there is none.
    """
    if not batches:
        raise UnfitError(Problem(field, "no_audio", f"{what} needs audio, and none was given"))


def one_by_one(batches: Iterable[Waveforms]) -> Iterator[PaddedAudio]:
    """Yield the utterances of batches without their padding.

    Args:
        batches: with ``input_values`` and ``attention_mask``, (B, N).
    """
    for batch in batches:
        for samples, mask in zip(batch.input_values, batch.attention_mask, strict=True):
            real = mask.bool()  # masks of transformers' feature extractors are numbers
            yield PaddedAudio(samples[real][None], real[real][None])
