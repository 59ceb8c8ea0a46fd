"""Inputs and outputs of an ONNX graph of any origin that turns audio into CTC posteriors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bigfoot.errors import ModelError

if TYPE_CHECKING:
    import onnxruntime

_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")
_WHOLES = ("tensor(int64)", "tensor(int32)")
_OUTPUTS = ("logits", "logprobs", "log_probs", "output", "outputs")
"""Names of posteriors, the likeliest first."""
_NEMO = ("audio_signal", "processed_signal")
NEMO_BANDS = (80, 128)
"""Log-mel bands of NeMo's models, whose front end is known."""


@dataclass(frozen=True)
class GraphSignature:
    """How a graph is called for one utterance.

    Args:
        audio: input of samples, (1, N) or (1, 1, N), or of log-mel bands (1, M, T').
        kind: its element type.
        rank: its dimensions.
        bands: M of NeMo's log-mel bands; 0 for samples.
        lengths: input with the real length, and its element type; a float one is a share of the array.
        mask: input with 1 for what is real, and its element type.
        posteriors: output of (1, T, V).
        tokens: V where the graph states it.
        frames: output with the real frames.
    """

    audio: str
    kind: str
    rank: int
    bands: int
    lengths: tuple[str, str] | None
    mask: tuple[str, str] | None
    posteriors: str
    tokens: int | None
    frames: str | None


def read_signature(session: onnxruntime.InferenceSession, name: str, bands: int = 0) -> GraphSignature:
    """Find what a graph takes and gives.

    Args:
        session: of the graph.
        name: of its file, for messages.
        bands: log-mel bands of NeMo's that the files beside it name; 0 where they name none.

    Raises:
        ModelError: it takes something else than samples or NeMo's log-mel bands, of any length, without a state; or
            gives no posteriors.
    """
    given = session.get_inputs()
    # The first of two dimensions or more: a share of the length is a float too.
    audio = next((item for item in given if item.type in _FLOATS and len(item.shape) > 1), None)
    shown = ", ".join(f"{item.name} {item.shape}" for item in given)
    if audio is None:
        raise ModelError(f"{name}: none of its inputs takes samples of floats (it has {shown})")
    found = _count_bands(audio.name, audio.shape, bands)
    if found is None:
        raise ModelError(
            f"{name}: {audio.name} {audio.shape} takes features, and no file says how audio becomes them; graphs of "
            "samples (B, N) and of NeMo's audio_signal can teach; so can its folder of transformers, where there is one"
        )
    _refuse_fixed(audio.name, audio.shape, name)
    lengths, mask = _find_others([item for item in given if item is not audio], name)
    posteriors, tokens, frames = _find_outputs(session.get_outputs(), name)
    return GraphSignature(
        audio.name, audio.type, len(audio.shape), found, lengths, mask, posteriors, tokens, frames
    )  # fmt: skip


def _count_bands(name: str, shape: Sequence[object], bands: int) -> int | None:
    """Log-mel bands that an input takes, 0 for samples; None for other features."""
    if len(shape) == 2 or (len(shape) == 3 and shape[1] == 1):
        return 0
    if len(shape) != 3 or name not in _NEMO:
        return None
    size = shape[1] if isinstance(shape[1], int) else bands
    return size if size in NEMO_BANDS else None


def _refuse_fixed(name: str, shape: Sequence[object], source: str) -> None:
    if isinstance(shape[0], int) and shape[0] != 1:
        raise ModelError(f"{source}: {name} {list(shape)} takes exactly {shape[0]} utterances at once; export it for 1")
    if isinstance(shape[-1], int):
        raise ModelError(
            f"{source}: {name} {list(shape)} takes audio of one length alone; export it with a free length"
        )


def _find_others(
    given: Sequence[onnxruntime.NodeArg], name: str
) -> tuple[tuple[str, str] | None, tuple[str, str] | None]:
    """Find the inputs of the real length and of a mask."""
    lengths, mask = None, None
    for item in given:
        if len(item.shape) == 1 and item.type in (*_WHOLES, "tensor(float)") and lengths is None:
            lengths = item.name, item.type
        elif len(item.shape) == 2 and re.search("mask", item.name) and mask is None:
            mask = item.name, item.type
        else:
            raise ModelError(
                f"{name}: needs {item.name} {item.shape} besides the audio, such as the state of a streaming model; "
                "graphs of a whole utterance can teach"
            )
    return lengths, mask


def _find_outputs(given: Sequence[onnxruntime.NodeArg], name: str) -> tuple[str, int | None, str | None]:
    """Find the output of posteriors, its size where it is stated, and that of real frames."""
    found = [item for item in given if item.type in _FLOATS and len(item.shape) == 3]
    named = [item for wanted in _OUTPUTS for item in found if item.name == wanted]
    if not found:
        shown = ", ".join(f"{item.name} {item.shape}" for item in given)
        raise ModelError(f"{name}: no output of logits (B, T, V); it gives {shown}")
    best = [*named, *found][0]
    frames = next((item.name for item in given if item.type in _WHOLES and len(item.shape) == 1), None)
    return best.name, best.shape[2] if isinstance(best.shape[2], int) else None, frames
