"""The model written as a graph for speed: frames before channels, convolutions as products, grouped ones in strands.

PyTorch's exporter writes down what PyTorch does. Here the same function is written as processors like it: int8 products
need features last, and a grouped convolution whose followers are grouped alike is two (or more) narrow stacks that
never meet. Whether it is the same function is not promised but measured, by ``bigfoot.export.parity``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bigfoot.compress.quantize import Int8Plan
from bigfoot.export.conv_adapter import ConvAdapterWriter
from bigfoot.export.energies import EnergyWriter
from bigfoot.export.features import FeatureWriter
from bigfoot.export.forms import OWN_FORM, SAMPLES, GraphForm
from bigfoot.export.packed import find_stored
from bigfoot.export.task_head import TaskWriter
from bigfoot.export.writer import GraphWriter
from bigfoot.measure.size import PARTS
from bigfoot.models.ctc import BigfootForCTC

if TYPE_CHECKING:
    from onnx import ModelProto


def write_graph(
    model: BigfootForCTC, plan: Int8Plan, normalize: bool, form: GraphForm = OWN_FORM
) -> tuple[ModelProto, GraphWriter]:
    """Write one model.

    Args:
        model: in eval mode, with a CTC head, or a task head, which comes first.
        plan: layers in int8.
        normalize: bring utterances to zero mean and unit variance inside.
        form: of inputs and outputs.

    Returns:
        The graph, and what it was written with.

    Raises:
        ModelError: the model has something that has no form in ONNX here.
    """
    from onnx import TensorProto

    g = GraphWriter(plan, stored={} if form.standard else find_stored(model), standard=form.standard)
    g.part, *later = PARTS
    features, transformer = FeatureWriter(model, g, normalize), ConvAdapterWriter(model, g)
    num_samples = form.count_samples(g)
    x, lengths = features.write(SAMPLES, num_samples)
    x = features.project(x)
    if model.speech_encoder.prompts is not None:
        x, lengths = features.prepend(model.speech_encoder.prompts, x, lengths)
    frames = g.size(x, 1)
    mask = features.frame_mask(frames, lengths)  # (B, T, 1) of 0 and 1
    x = g.op("Mul", x, mask)
    g.part = later[0]
    x = transformer.add_positions(x, mask)
    g.part = later[1]
    x = transformer.transform(x, mask, frames, lengths)
    if model.speech_encoder.adapter is not None:
        x, mask, lengths = transformer.shorten(x, mask, lengths)
        transformer.states = [transformer.thin(state, mask) for state in transformer.states]
    g.part = later[2]
    batch: list[str | int] = ["batch"]
    if model.task_head is not None:
        writer = EnergyWriter(model, g)
        beside = [writer.write(part, features.waveform, num_samples) for part in model.task_head.beside]
        logits = TaskWriter(model.task_head, g, mask, lengths).write(x, transformer.states, beside)
        axes = [*batch, model.task_head.kind.num_outputs]
    else:
        assert model.head is not None
        logits = form.finish(g, transformer.linear(model.head, x), mask)
        axes = [*batch, "frames_of_longest", model.head.out_features]
    outputs: dict[str, tuple[str, int, list[str | int]]] = {
        form.logits: (logits, TensorProto.FLOAT, axes),
        "frames": (lengths, TensorProto.INT64, batch),
    }
    return g.build(form.inputs(), outputs), g
