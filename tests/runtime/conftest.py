"""The tape reader of ``tests.runtime.tape`` as a file, and tapes as files."""

import numpy as np
import pytest

from tests.runtime.tape import FIELD, METADATA, STRIDE, VOCABULARY, write_tape


@pytest.fixture(scope="session")
def tape_graph():
    """The tape reader as an ONNX graph: ``tape_graph(metadata=..., opset=17, outputs=("logits", "frames"))``."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def build(metadata=METADATA, opset=17, domain="", outputs=("logits", "frames"), last_op="Neg", tokens=None):
        kernel = np.zeros((1, 1, FIELD), np.float32)
        kernel[0, 0, 5] = 100
        tokens = tokens or len(VOCABULARY)
        constants = {
            "kernel": kernel, "one": np.array([1], np.int64), "field": np.array([FIELD], np.int64),
            "stride": np.array([STRIDE], np.int64), "ids": np.arange(tokens, dtype=np.float32),
        }  # fmt: skip
        make = helper.make_node
        nodes = [
            make("Unsqueeze", ["input_values", "one"], ["rows"]),
            make("Conv", ["rows", "kernel"], ["convolved"], strides=[STRIDE]),
            make("Transpose", ["convolved"], ["frame"], perm=[0, 2, 1]),
            make("Sub", ["frame", "ids"], ["far"]),
            make("Mul", ["far", "far"], ["square"]),
            make(last_op, ["square"], [outputs[0]], domain=domain),
            make("Sub", ["lengths", "field"], ["rest"]),
            make("Div", ["rest", "stride"], ["whole"]),
            make("Add", ["whole", "one"], [outputs[1]]),
        ]
        graph = helper.make_graph(
            nodes, "tape",
            [helper.make_tensor_value_info("input_values", TensorProto.FLOAT, ["batch", "samples"]),
             helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"])],
            [helper.make_tensor_value_info(outputs[0], TensorProto.FLOAT, ["batch", "time", tokens]),
             helper.make_tensor_value_info(outputs[1], TensorProto.INT64, ["batch"])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )  # fmt: skip
        imports = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        onnx.helper.set_model_props(model, metadata)
        return model

    return build


@pytest.fixture(scope="session")
def tape_file(tape_graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("tape") / "tape.onnx"
    path.write_bytes(tape_graph().SerializeToString())
    return path


@pytest.fixture
def tapes(tmp_path):
    """Files of three tapes of different lengths, by what they say."""
    import soundfile

    found = {}
    for name, ids in (("AB C", [2, 0, 3, 1, 4, 4, 0]), ("HH", [0] * 30 + [9, 0, 9]), ("", [0] * 12)):
        path = tmp_path / f"{len(found)}.wav"
        soundfile.write(path, write_tape(ids), 16_000, subtype="FLOAT")
        found[path] = name
    return found
