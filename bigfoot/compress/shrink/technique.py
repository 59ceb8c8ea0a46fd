"""``shrink`` as a technique: in ``bigfoot.compress(model, [Shrink(...)])``, a run's ``student`` and the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bigfoot.compress.audio import Waveforms, require_audio
from bigfoot.compress.change import Change
from bigfoot.compress.registry import LaterError, technique
from bigfoot.compress.settings import Shrink
from bigfoot.compress.shrink.audio import split_audio
from bigfoot.compress.shrink.search import Search, Shrunk
from bigfoot.compress.shrink.tables import describe_shape
from bigfoot.config import Problem
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.progress import show_work


def shrink_problems(shape: BigfootConfig, settings: Shrink) -> Iterator[Problem]:
    """Explain why a model cannot be searched.

    Args:
        shape: of the model.
        settings: of the search.

    Yields:
        Problem by problem.
    """
    yield from settings.find_problems()
    if settings.target > 1:
        yield Problem("target", "out_of_range", f"must be at most 1, got {settings.target:g}")
    for message in _obstacles(shape):
        yield Problem("", "not_shrinkable", message)


def _obstacles(shape: BigfootConfig) -> Iterator[str]:
    if shape.frame_encoder is not None:
        yield f"shrink fits layers of ours, and this model's encoder is another ({shape.frame_encoder.get('kind')})"
    elif shape.is_conformer or shape.squeeze_factor > 1 or shape.is_disentangled:
        kinds = {shape.is_conformer: "conformers", shape.squeeze_factor > 1: "layers that take several frames as one"}
        what = kinds.get(True, "attention to content and positions apart")
        yield f"shrink fits the layers of transformers, and this {shape.family} has {what}"
    elif not shape.has_convolutions:
        yield f"shrink cuts models of the waveform, and the front end of this {shape.family} is log-mel filter banks"
    if shape.streaming is not None:
        yield "shrink fits models that read whole recordings, and this one streams; shrink first, then make it stream"
    if shape.time_reduction > 1 or shape.add_adapter:
        yield "shrink compares frame by frame, and this model changes the number of frames within"
    if shape.small is not None:
        yield f"shrink fits weights in fp32, and these are {shape.precision}; shrink first, quantize last"


def _reshape(shape: BigfootConfig, settings: Shrink) -> BigfootConfig:
    if settings.target == 1:
        return shape
    message = "shrink chooses the shape by the weights and by audio; it is known when the student is made"
    raise LaterError(Problem("target", "by_weights", message))


@technique("shrink", Shrink, _reshape, shrink_problems)
def apply(
    model: BigfootForCTC, settings: Shrink, batches: Sequence[Waveforms] = (),
    *, on_found: Callable[[Shrunk], None] = lambda _: None,
) -> tuple[BigfootForCTC, Change]:  # fmt: skip
    """Shrink a model without gradients.

    Args:
        model: left as it is.
        settings: how far, by what measure, by which kinds of cut.
        batches: unlabelled audio, a minute or so.
        on_found: called with what the search found.

    Returns:
        The smaller model in eval mode, and what was kept and dropped.

    Raises:
        UnfitError: the model cannot be searched, the target not reached, or there is no audio.
    """
    require_audio(batches, "", "shrink")
    with show_work("shrinking", settings.rounds, "rounds") as work:

        def step(done: float, note: str) -> None:
            work.advance(max(0.0, min(done, settings.rounds) - work.done), note)

        found = Search(model, settings, split_audio(batches), step).run()
    on_found(found)
    error = f", error {found.rounds[-1].refitted:.4f} on held-out audio" if found.rounds else ""
    kept = [f"{found.share:.1%} of its {settings.measure} ({settings.target:.1%} asked for){error}"]
    kept += [f"{row.after} of {row.before} {row.words}" for row in describe_shape(model.config, found.model.config)]
    dropped = ["what others make up for, in closed form"] if found.rounds else []
    return found.model, Change("shrink", kept, dropped)
