"""Weights of few bits: products of ONNX Runtime against fp32, and the bytes of a base-shape thin student.

The second is methods/bigfoot_thin.yaml, counted, and written with random weights.

    python benchmarks/low_bits.py              # ratios of processor time, interleaved, one thread
    python benchmarks/low_bits.py --bytes
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SHAPES = ((500, 512, 512), (500, 512, 1152), (500, 768, 3072), (16, 512, 1152))
"""Frames, features in, features out."""
BUDGET = "7MB"


def open_product(node: Any, constants: dict[str, np.ndarray], width: int, before: list[Any]) -> InferenceSession:  # noqa: ANN401
    """Open a graph of one product."""
    import onnxruntime
    from onnx import helper, numpy_helper

    inputs = [helper.make_tensor_value_info("x", 1, ["frames", width])]
    outputs = [helper.make_tensor_value_info("y", 1, None)]
    kept = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([*before, node], "product", inputs, outputs, kept)
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def open_products(width: int, rows: int) -> dict[str, InferenceSession]:
    """Open the products of one shape: fp32, int8, and packed with sums in fp32 or of rounded inputs."""
    from onnx import helper

    draw = np.random.default_rng(0)
    full = draw.standard_normal((width, rows)).astype(np.float32)
    found = {"fp32": open_product(helper.make_node("MatMul", ["x", "w"], ["y"]), {"w": full}, width, [])}
    constants = {
        "w": draw.integers(-127, 127, (width, rows)).astype(np.int8), "ws": draw.random(rows).astype(np.float32),
        "s": np.array(0.05, np.float32), "z": np.array(128, np.uint8),
    }  # fmt: skip
    node = helper.make_node("MatMulIntegerToFloat", ["q", "w", "s", "ws", "z"], ["y"], domain="com.microsoft")
    quantize = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    found["int8"] = open_product(node, constants, width, [quantize])
    for bits in (4, 2):
        for level, name in ((1, "fp32 sums"), (4, "int8 sums")):
            packed = draw.integers(0, 255, (rows, width // 32, 4 * bits)).astype(np.uint8)
            steps = draw.random((rows, width // 32)).astype(np.float32)
            node = helper.make_node(
                "MatMulNBits", ["x", "b", "s"], ["y"], domain="com.microsoft", K=width, N=rows, bits=bits,
                block_size=32, accuracy_level=level,
            )  # fmt: skip
            found[f"{bits} bits, {name}"] = open_product(node, {"b": packed, "s": steps}, width, [])
    return found


def time_products(rounds: int) -> None:
    """Print medians of processor time as shares of the fp32 product's."""
    for frames, width, rows in SHAPES:
        sessions = open_products(width, rows)
        x = np.random.default_rng(1).standard_normal((frames, width)).astype(np.float32)
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(rounds):
            for name, session in sessions.items():
                began = time.thread_time()
                session.run(None, {"x": x})
                times[name].append(time.thread_time() - began)
        base = float(np.median(times["fp32"]))
        shares = ", ".join(f"{name} {np.median(each) / base:.2f}" for name, each in times.items())
        print(f"{frames} frames, {width} to {rows}: {shares}")


def count_bytes() -> None:
    """Print the bytes of the thin student by bits, and of one that is written with what fits into a budget."""
    import torch

    import bigfoot
    from bigfoot.compress.packing import allot_bits, describe_bits, find_candidates, measure_sensitivity
    from bigfoot.compress.packing_settings import Packing
    from bigfoot.export.onnx import build_onnx
    from bigfoot.formats.folder import LoadedModel, load_model, save_model
    from bigfoot.measure.size import measure_size_bytes
    from bigfoot.models.configuration import BigfootConfig
    from bigfoot.models.ctc import BigfootForCTC
    from bigfoot.models.feature_encoder import PaddedAudio
    from bigfoot.models.reshape import reshape_config
    from bigfoot.training.qat import Rounding

    student = bigfoot.load_config("methods/bigfoot_thin.yaml", ["data.root=."]).student
    shape = reshape_config(BigfootConfig(ctc_head=True), num_hidden_layers=student.num_hidden_layers, **student.shape)
    for bits, conv_bits in ((8, 8), (4, 8), (4, 4), (2, 4)):
        found = find_candidates(shape, Packing([bits], [conv_bits]))
        print(f"linear maps {bits} bits, convolutions {conv_bits}: {found.count_bytes(found.smallest()):,} bytes")
    torch.manual_seed(0)
    model, noise = BigfootForCTC(shape).eval(), torch.randn(1, 16_000)
    found = find_candidates(shape, Packing([2, 4], [8], max_size=BUDGET))
    costs = measure_sensitivity(model, found, [PaddedAudio(noise, torch.ones_like(noise, dtype=torch.bool))])
    chosen = allot_bits(found, costs)
    packed = Rounding(model, found.as_small(chosen)).deployed()
    loaded = LoadedModel(packed, load_model("tiny_teacher").processor)
    with TemporaryDirectory() as place:
        save_model(packed, loaded.processor, Path(place) / "model")
        written = measure_size_bytes(Path(place) / "model")
    size = build_onnx(loaded).graph.ByteSize()
    print(f"{BUDGET}: {describe_bits(chosen, written)}, {written:,} bytes written, {size:,} as ONNX")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", action="store_true")
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    count_bytes() if given.bytes else time_products(given.rounds)
