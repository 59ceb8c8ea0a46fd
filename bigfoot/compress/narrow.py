"""A narrower model: units that explain the others stay, and what reads them is fitted on audio to the whole model's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from bigfoot.compress.audio import require_audio
from bigfoot.compress.change import Change
from bigfoot.compress.conv_groups import fit_kernels_
from bigfoot.compress.least_squares import (
    NormalEquations,
    first_inputs,
    unfold_frames,
)
from bigfoot.compress.registry import technique
from bigfoot.compress.reshape_to import choose_shape
from bigfoot.compress.selection import Reader, select_units
from bigfoot.compress.surgery import prune_units
from bigfoot.compress.units import Place, find_units
from bigfoot.config import Problem
from bigfoot.models.attention_adapter import ADAPTER
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio

_FREE = ("hidden_size", "num_attention_heads", "layer_num_attention_heads", "intermediate_size",
         "layer_intermediate_sizes", "conv_dim")  # fmt: skip
_ATTENTION = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Narrow:
    """The shape.

    Args:
        shape: by ``SHAPE_FIELDS``; what is absent is as in the model. Narrower or as wide everywhere, heads as wide as
            the model's.
    """

    shape: Mapping[str, object]


def narrow_problems(config: BigfootConfig, narrow: Narrow) -> Iterator[Problem]:
    """Explain why a shape cannot be cut out of a model's by leaving units out.

    Args:
        config: the model's shape.
        narrow: the shape wanted.

    Yields:
        Problem by problem; they are of the technique, not of a field.
    """
    shape = choose_shape(config, narrow.shape)
    for message in _obstacles(config, narrow.shape, shape):
        yield Problem("", "no_least_squares", message)


def _obstacles(config: BigfootConfig, wanted: Mapping[str, object], shape: BigfootConfig) -> Iterator[str]:
    if other := sorted(field for field in wanted if field not in _FREE):
        yield f"least_squares leaves units out, which does not change {', '.join(other)}; use slice"
        return
    if config.is_conformer or config.squeeze_factor > 1:
        what = "conformers" if config.is_conformer else "layers that take several frames as one"
        yield f"least_squares fits the layers of transformers, and this {config.family} has {what}; use slice"
        return
    units = find_units(config)
    if set(config.groups_of_convs) != {1} or config.conv_sharing:
        yield "least_squares needs dense kernels that are not shared; use slice"
    if shape.head_dim != config.head_dim:
        yield (
            f"least_squares leaves heads as wide as they are, {config.head_dim}, and hidden_size {shape.hidden_size} "
            f"over num_attention_heads {shape.num_attention_heads} is {shape.head_dim}"
        )
    for place, (here, there) in _counts(config, shape).items():
        if there > here:
            yield f"least_squares leaves units out, and {place} would grow from {here} to {there}"
        elif there < here and place not in units:
            yield f"least_squares cannot cut {place} of this shape"
    if shape.hidden_size % shape.num_conv_pos_embedding_groups:
        yield f"hidden_size {shape.hidden_size} is no multiple of {shape.num_conv_pos_embedding_groups} groups"


def _counts(config: BigfootConfig, shape: BigfootConfig) -> dict[Place, tuple[int, int]]:
    """Units of each place, before and after."""
    pairs = {"heads": "heads_of_layers", "feed_forward": "widths_of_layers", "conv": "conv_dim"}
    found = {
        Place(kind, layer): both
        for kind, name in pairs.items()
        for layer, both in enumerate(zip(getattr(config, name), getattr(shape, name), strict=True))
    }
    return found | {Place("width"): (config.hidden_size, shape.hidden_size)}


def _reshape(shape: BigfootConfig, config: Narrow) -> BigfootConfig:
    return choose_shape(shape, config.shape)


@technique("narrow", Narrow, _reshape, narrow_problems)
@torch.no_grad()
def apply(model: BigfootForCTC, config: Narrow, batches: Sequence[PaddedAudio]) -> tuple[BigfootForCTC, Change]:
    """Build a narrower model.

    Args:
        model: left as it is.
        config: the shape.
        batches: audio; fewer frames than a linear map has inputs leave it to the audio's chance.

    Returns:
        The new model in eval mode, and what was kept and dropped.

    Raises:
        UnfitError: the shape cannot be had by leaving units out, or there is no audio.
    """
    require_audio(batches, "", "least_squares")
    shape = choose_shape(model.config, config.shape)
    keep = choose_units(model, shape, batches)
    student = prune_units(model, keep)
    fit_(student, model, keep, batches)
    cut = {place: counts for place, counts in _counts(model.config, shape).items() if place in keep}
    kept = [f"{there:,} of {here:,} {_describe_place(place)}" for place, (here, there) in cut.items()]
    return student, Change("shape", [*kept, "all linear maps fitted on audio"], ["units that the others explain"])


def _describe_place(place: Place) -> str:
    words = {
        "conv": f"channels of convolution {place.layer}", "heads": f"heads of layer {place.layer}",
        "feed_forward": f"feed-forward units of layer {place.layer}", "width": "channels of the width",
    }  # fmt: skip
    return words[place.kind]


class _Side:
    """One of the two models, with its convolutional features of all audio."""

    def __init__(self, model: BigfootForCTC, features: list[Tensor], masks: list[Tensor]) -> None:
        self.model, self.features, self.masks = model, features, masks

    def find(self, name: str) -> nn.Module:
        """Return a module of the encoder, or ``head``."""
        found = self.model.head if name == "head" else self.model.speech_encoder.get_submodule(name)
        assert found is not None
        return found

    def record(self, names: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
        """Record inputs and outputs of modules at real frames, (F, in) and (F, out)."""
        recorded: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in names}
        mask: list[Tensor] = []

        def keep(name: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            recorded[name].append((inputs[0][mask[0]], output[mask[0]]))

        hooks = [
            self.find(name).register_forward_hook(
                lambda _, inputs, output, name=name: keep(name, inputs, output)  # type: ignore[misc]
            )
            for name in recorded
        ]
        encoder = self.model.speech_encoder
        try:
            for features, frames in zip(self.features, self.masks, strict=True):
                mask[:] = [frames]
                states = encoder.encoder(encoder.feature_projection(features), frames, False, False).last_hidden_state
                if self.model.head is not None:
                    self.model.head(states)
        finally:
            for hook in hooks:
                hook.remove()
        return {
            name: (torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs]))
            for name, pairs in recorded.items()
        }


def _frame_masks(model: BigfootForCTC, batches: Sequence[PaddedAudio], frames: Sequence[int]) -> list[Tensor]:
    counted = [model.speech_encoder.feature_encoder.layer_lengths(batch.attention_mask.sum(1)) for batch in batches]
    return [torch.arange(most) < lengths[:, None] for most, lengths in zip(frames, counted, strict=True)]


def choose_units(model: BigfootForCTC, shape: BigfootConfig, batches: Sequence[PaddedAudio]) -> dict[Place, list[int]]:
    """Choose the units that explain most of the outputs that read them.

    Args:
        model: left as it is.
        shape: what it is to become; see ``narrow_problems``.
        batches: audio.

    Returns:
        Ascending indices by place; places that stay whole are absent.
    """
    counts = {place: there for place, (here, there) in _counts(model.config, shape).items() if there < here}
    readers, last = _conv_readers(model, counts, batches)
    side = _Side(model, last, _frame_masks(model, batches, [len(x[0]) for x in last]))
    readers |= _block_readers(side, counts)
    units, keep = find_units(model.config), {}
    for place, there in counts.items():
        # An equal share of each group of the positional convolution.
        blocks = units[place].blocks if place.kind == "width" else 1
        keep[place] = select_units(readers[place], units[place].count, there, blocks)
    return keep


def _gram(x: Tensor) -> Tensor:
    return (x.T @ x).double()


def _conv_readers(
    model: BigfootForCTC, counts: Mapping[Place, int], batches: Sequence[PaddedAudio]
) -> tuple[dict[Place, list[Reader]], list[Tensor]]:
    """Find who reads the channels of each convolution that is cut, but for the last; and what that gives, (B, T, C)."""
    found = {}
    x, lengths = first_inputs(batches)
    for index, layer in enumerate(model.speech_encoder.feature_encoder):
        lengths = [layer.count_frames(length) for length in lengths]
        if Place("conv", index - 1) in counts:
            seen = (unfold_frames(each, layer, length)[:, 0] for each, length in zip(x, lengths, strict=True))
            gram = torch.stack([_gram(each) for each in seen]).sum(0)
            found[Place("conv", index - 1)] = [Reader(gram, layer.conv.weight.flatten(1))]
        x = [layer(each, length) for each, length in zip(x, lengths, strict=True)]
    return found, [each.transpose(1, 2) for each in x]


def _block_readers(side: _Side, counts: Mapping[Place, int]) -> dict[Place, list[Reader]]:
    """Find who reads the last convolution, heads and feed-forward units; and all that reads the width."""
    config = side.model.config
    plan = {Place("conv", config.num_conv_layers - 1): "feature_projection.projection"}
    width = []
    for layer in range(config.num_hidden_layers):
        name = f"encoder.layers.{layer}."
        plan[Place("heads", layer)] = f"{name}attention.out_proj"
        plan[Place("feed_forward", layer)] = f"{name}feed_forward.output_dense"
        width += [f"{name}attention.{each}" for each in _ATTENTION] + [f"{name}feed_forward.intermediate_dense"]
        width += [f"{name}{ADAPTER}.linear_1"] if config.adapter_attn_dim is not None else []
    plan = {place: name for place, name in plan.items() if place in counts}
    heads = ["head"] if side.model.head is not None else []
    every = [*width, *heads] if Place("width") in counts else []

    def reader(name: str) -> Reader:
        return Reader(_gram(recorded[name][0]), cast("nn.Linear", side.find(name)).weight)

    recorded = side.record([*plan.values(), *every])
    found = {place: [reader(name)] for place, name in plan.items()}
    if every:
        # Besides what is read of it, the width carries the sum of all layers, so that it counts for itself too.
        read = {name: reader(name) for name in every}
        grams = [each.gram for name, each in read.items() if name == "head" or name.endswith(_ATTENTION[0])]
        found[Place("width")] = [*read.values(), *(Reader(gram, torch.eye(len(gram))) for gram in grams)]
    return found


@torch.no_grad()
def fit_(
    student: BigfootForCTC,
    teacher: BigfootForCTC,
    keep: Mapping[Place, Sequence[int]],
    batches: Sequence[PaddedAudio],
) -> None:
    """Fit, first to last, every linear map of the student to the teacher's outputs at the units that stayed.

    A map's inputs are the student's own, of maps already fitted, so that it also makes up for what those lost. What a
    block adds to the frames is fitted to what the teacher's frames are after it; norms, channel by channel, to what
    the teacher's give. The positional convolution stays as it was cut.

    Args:
        student: changed in place; what surgery left of the teacher.
        teacher: left as it is.
        keep: which of its units the student has.
        batches: audio.
    """
    kept = {
        place: torch.tensor(list(keep.get(place, range(here))))
        for place, (here, _) in _counts(teacher.config, student.config).items()
    }
    channels = [kept[Place("conv", index)] for index in range(teacher.config.num_conv_layers)]
    features = [[x.transpose(1, 2) for x in each] for each in fit_kernels_(student, teacher, batches, channels)]
    masks = _frame_masks(student, batches, [len(x[0]) for x in features[0]])
    own, target = (_Side(each, x, masks) for each, x in zip((student, teacher), features, strict=True))
    steps = list(_plan(teacher.config, kept))
    if teacher.head is not None:
        steps.append(_Step("head", torch.arange(teacher.config.vocab_size)))
    targets = target.record([name for step in steps for name in step.names])
    for step in steps:
        _fit_step_(step, own, targets)


@dataclass(frozen=True)
class _Step:
    """One module that is fitted.

    Args:
        name: behind the convolutions, in both models.
        chosen: of the teacher's outputs, those that the student's has.
        stream: of a map that adds to the frames, the module that reads them next.
    """

    name: str
    chosen: Tensor
    stream: str = ""

    @property
    def names(self) -> list[str]:
        """Names of the modules whose inputs and outputs are recorded."""
        return [self.name, self.stream] if self.stream else [self.name]


def _plan(config: BigfootConfig, kept: Mapping[Place, Tensor]) -> Iterator[_Step]:
    """All that is fitted between convolutions and head, in the order in which it works."""
    width, first = kept[Place("width")], config.do_stable_layer_norm
    yield _Step("feature_projection.projection", width)
    if not first:
        yield _Step("encoder.layer_norm", width)
    for layer in range(config.num_hidden_layers):
        yield from _plan_layer(config, kept, layer)
    if first:
        yield _Step("encoder.layer_norm", width)


def _plan_layer(config: BigfootConfig, kept: Mapping[Place, Tensor], layer: int) -> Iterator[_Step]:
    width, block = kept[Place("width")], f"encoder.layers.{layer}."
    entries = kept[Place("heads", layer)][:, None] * config.head_dim + torch.arange(config.head_dim)
    # What reads the frames after each block: the norm behind it, or, where norms come first, the next block's.
    norms = f"{block}layer_norm", f"{block}final_layer_norm"
    adapter, adapted = f"{block}{ADAPTER}.", config.adapter_attn_dim is not None
    if config.do_stable_layer_norm:
        last = layer + 1 == config.num_hidden_layers
        yield _Step(norms[0], width)
        norms = norms[1], "encoder.layer_norm" if last else f"encoder.layers.{layer + 1}.layer_norm"
    yield from (_Step(f"{block}attention.{each}", entries.flatten()) for each in _ATTENTION)
    yield _Step(f"{block}attention.out_proj", width, norms[0])
    yield _Step(norms[0], width)
    yield _Step(f"{block}feed_forward.intermediate_dense", kept[Place("feed_forward", layer)])
    yield _Step(f"{block}feed_forward.output_dense", width, f"{adapter}norm" if adapted else norms[1])
    if adapted:
        yield _Step(f"{adapter}norm", width)
        yield _Step(f"{adapter}linear_1", torch.arange(config.adapter_attn_dim or 0))
        yield _Step(f"{adapter}linear_2", width, norms[1])
    if not config.do_stable_layer_norm:
        yield _Step(norms[1], width)


def _fit_step_(step: _Step, own: _Side, target: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    recorded = own.record(step.names)
    inputs, outputs = recorded[step.name]
    module, wanted = own.find(step.name), target[step.name][1][:, step.chosen]
    if isinstance(module, nn.LayerNorm):
        _fit_norm_(module, inputs, wanted)
        return
    if step.stream:
        wanted = outputs + target[step.stream][0][:, step.chosen] - recorded[step.stream][0]
    _fit_linear_(cast("nn.Linear", module), inputs, wanted)


def _fit_linear_(linear: nn.Linear, x: Tensor, y: Tensor) -> None:
    equations = NormalEquations(1, x.shape[1] + 1, y.shape[1])
    equations.add(nn.functional.pad(x, (0, 1), value=1.0)[:, None], y[None])
    solved = equations.solve(torch.cat([linear.weight.T, linear.bias[None]])[None])[0]
    linear.weight.copy_(solved[:-1].T)
    linear.bias.copy_(solved[-1])


def _fit_norm_(norm: nn.LayerNorm, x: Tensor, y: Tensor) -> None:
    """Scale and shift of each channel by themselves: a straight line through what is wanted."""
    normed, wanted = nn.functional.layer_norm(x, x.shape[-1:], eps=norm.eps).double(), y.double()
    centred = normed - normed.mean(0)
    slope = (centred * (wanted - wanted.mean(0))).sum(0) / centred.square().sum(0).clamp(min=1e-12)
    norm.weight.copy_(slope)
    norm.bias.copy_(wanted.mean(0) - slope * normed.mean(0))
