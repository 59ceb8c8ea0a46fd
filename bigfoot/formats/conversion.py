"""From one format to another, compared on audio before it is reported as done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from bigfoot.errors import ModelError
from bigfoot.formats.dense import densify
from bigfoot.formats.folder import LoadedModel, align_tokens, load_model, replace_model_folder, write_model
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import without_head
from bigfoot.progress import show_work
from bigfoot.storage.ownership import OWN_ONLY, MayReplace
from bigfoot.text.tokenizers import Processor
from bigfoot.types import SAMPLE_RATE, Seconds

_SYLLABLES_PER_SECOND = 4


def convert_model(
    loaded: LoadedModel, destination: Path, *, to: str, dense: bool = False, drop_head: bool = False,
    with_code: bool = False, tolerance: float = 1e-5, may: MayReplace = OWN_ONLY,
    finish: Callable[[Path], None] = lambda _: None,
) -> float:  # fmt: skip
    """Write a model in a format, read it back, and compare the outputs of both for ten seconds of audio.

    Args:
        loaded: the model, its processor and history.
        destination: folder to write; one that bigfoot wrote there is replaced, and nothing is where the comparison
            fails.
        to: name of a format.
        dense: write out in full what few formats can express: see ``densify``.
        drop_head: leave out the CTC head, and its vocabulary.
        with_code: also write the modelling code, into a bigfoot folder.
        tolerance: most that an output may differ, as a share of the largest.
        may: what else may be replaced.
        finish: adds to the folder that it is given, once the comparison is passed.

    Returns:
        The largest difference found, as a share of the largest output; 0 where both agree to the bit.

    Raises:
        ModelError: the format cannot express the shape, or the written model has other outputs.
        OutputError: the folder holds what bigfoot did not write, or another process writes it.
    """
    may = replace(may, inputs=[*may.inputs, *filter(None, [loaded.folder])], models=[*may.models, loaded.folder])
    if drop_head and loaded.model.head is not None:
        bare = replace(loaded.processor, tokenizer=None, decoder_tokenizer=None)
        loaded = _changed(loaded, without_head(loaded.model), bare, ["the CTC head was left out"])
    written = loaded
    if dense:
        model, changes = densify(loaded.model)
        written = _changed(loaded, model, loaded.processor, changes)
    found = 0.0

    def write(beside: Path) -> None:
        nonlocal found
        with show_work(f"writing {to}"):
            write_model(written, beside, to=to, with_code=with_code)
        with show_work("comparing on audio"):
            found = compare_outputs(loaded, load_model(beside))
        # Not "greater than": a difference that is not a number is none that can be tolerated.
        if not found <= tolerance:
            raise ModelError(
                f"{destination}: the outputs of the written model differ from those of the given one by {found:.2g} of "
                f"the largest; {tolerance:g} is tolerated; nothing was replaced"
            )
        finish(beside)

    replace_model_folder(destination, write, may)
    return found


def _changed(loaded: LoadedModel, model: BigfootForCTC, processor: Processor, changes: list[str]) -> LoadedModel:
    entry = [{"step": "convert", "changes": changes}] if changes else []
    return LoadedModel(model, processor, [*loaded.history, *entry], loaded.folder)


def make_speechlike_noise(seconds: Seconds = 10.0, seed: int = 0) -> Tensor:
    """Return noise with the spectrum and the syllables of speech, of mean 0 and variance 1.

    Args:
        seconds: how long.
        seed: of its randomness.

    Returns:
        (1, N) at 16 kHz.

    Examples:
        >>> make_speechlike_noise(0.5).shape
        torch.Size([1, 8000])
    """
    generator = torch.Generator().manual_seed(seed)
    count = round(seconds * SAMPLE_RATE)
    noise = torch.randn(1, 1, count, generator=generator)
    # Sixteen samples' mean falls off above 1 kHz, about as speech does.
    smooth = nn.functional.avg_pool1d(nn.functional.pad(noise, (8, 7)), 16, stride=1)[0]
    times = torch.arange(count) / SAMPLE_RATE
    syllables = torch.sin(torch.pi * _SYLLABLES_PER_SECOND * times).square() + 0.05
    voiced = (smooth + 0.05 * noise[0]) * syllables
    return (voiced - voiced.mean()) / voiced.std()


@torch.no_grad()
def compare_outputs(given: LoadedModel, other: LoadedModel, seconds: Seconds = 10.0) -> float:
    """Compute how far the outputs of two models are apart, on noise of a real utterance's length.

    Args:
        given: with its processor.
        other: the same; its head may have its tokens in another order, and more of them.
        seconds: of audio.

    Returns:
        Largest difference of any last hidden state or logit, as a share of the largest of ``given``.

    Raises:
        ModelError: one of them has a CTC head and the other has none, or lacks a token.

    Examples:
        >>> model = load_model("tiny_teacher")
        >>> compare_outputs(model, model, seconds=1.0)
        0.0
    """
    audio = make_speechlike_noise(seconds)
    ours, theirs = given.model.float().eval()(audio), other.model.float().eval()(audio)
    if (ours.logits is None) != (theirs.logits is None):
        raise ModelError("of the two models one has a CTC head and the other has none")
    pairs = [(ours.last_hidden_state, theirs.last_hidden_state)]
    if ours.logits is not None:
        pairs.append((ours.logits, theirs.logits[..., align_tokens(given.processor, other.processor)]))
    return max(float((one - two).abs().max() / one.abs().max().clamp(min=1e-9)) for one, two in pairs)
