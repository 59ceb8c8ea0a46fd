"""Small ONNX graphs of other libraries' forms, and what they compute by torch alone."""

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper, save

KERNEL, STRIDE = 400, 320
LETTERS = ("\u2581", "A", "b", "N", "O", "E")
"""Tokens before the blank."""
_TYPES = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}


def draw_weights(channels=1, kernel=KERNEL, tokens=7, seed=0):
    """Convolution (V, C, K) from audio to logits."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((tokens, channels, kernel)).astype(np.float32) / kernel**0.5


def expect(weights, audio, stride=STRIDE, gain=20.0):
    """Log probabilities (T, V) of (C, N) audio."""
    found = torch.nn.functional.conv1d(torch.from_numpy(audio)[None], torch.from_numpy(weights), stride=stride)
    return (gain * found[0].T).log_softmax(-1)


def save_graph(
    path, weights, *, stride=STRIDE, audio="input_values", shape=("B", "N"), lengths=None, mask=None, state=None,
    ends_in="LogSoftmax", output="logprobs", dtype=np.float32, gain=20.0, batch="B", frames=None, metadata=None,
):  # fmt: skip
    """Write a graph of one convolution over samples or bands.

    Args:
        shape: of the audio's input.
        lengths: name and ONNX type of an input with the length; read by nothing.
        mask: name of an input that is multiplied into the samples.
        state: name of an input of another kind.
        ends_in: ``LogSoftmax``, ``Softmax`` or ``Identity``.
        frames: ``static`` pads the frames to 50 whatever the audio.
    """
    kind = _TYPES[dtype]
    inputs, nodes, given = [helper.make_tensor_value_info(audio, kind, list(shape))], [], audio
    if lengths is not None:
        inputs.append(helper.make_tensor_value_info(lengths[0], lengths[1], [batch]))
    if mask is not None:
        inputs.append(helper.make_tensor_value_info(mask, TensorProto.INT64, ["B", "N"]))
        nodes.append(helper.make_node("Cast", [mask], ["real"], to=kind))
        nodes.append(helper.make_node("Mul", [given, "real"], ["masked"]))
        given = "masked"
    if state is not None:
        inputs.append(helper.make_tensor_value_info(state, kind, ["B", 4, 4]))
    if len(shape) == 2:
        nodes.append(helper.make_node("Unsqueeze", [given, "one"], ["channel"]))
        given = "channel"
    nodes += [
        helper.make_node("Conv", [given, "weights"], ["convolved"], strides=[stride]),
        helper.make_node("Transpose", ["convolved"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Mul", ["turned", "gain"], ["scaled"]),
    ]
    last = "scaled"
    if frames == "static":
        nodes.append(helper.make_node("Resize", [last, "", "", "sizes"], ["resized"], mode="nearest"))
        last = "resized"
    more = {} if ends_in == "Identity" else {"axis": -1}
    nodes.append(helper.make_node(ends_in, [last], [output], **more))
    tokens = weights.shape[0]
    held = {
        "weights": weights.astype(dtype), "gain": np.array(gain, dtype), "one": np.array([1]),
        "sizes": np.array([1, 50, tokens]),
    }  # fmt: skip
    used = {name for node in nodes for name in node.input}
    tensors = [numpy_helper.from_array(value, name) for name, value in held.items() if name in used]
    outputs = [helper.make_tensor_value_info(output, kind, ["B", "T", tokens])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, path)
    return path


def write_tokens(folder, letters=LETTERS, blank="<blk>", name="tokens.txt"):
    """Write ``symbol id`` lines; no blank where it is None, as of NeMo."""
    symbols = [*letters, *([] if blank is None else [blank])]
    (folder / name).write_text("".join(f"{symbol} {index}\n" for index, symbol in enumerate(symbols)))
