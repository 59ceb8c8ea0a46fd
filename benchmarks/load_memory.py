"""How much memory and time loading a large model takes: a folder of random weights, loaded by a process of its own.

    python benchmarks/load_memory.py --layers 48 --width 1280 --folder /tmp/large

Prints, of each kind of file, its bytes, the most memory that the process held above what its imports take, and the
share of the two, beside the target, the time and the time of processors; ``--layers 24 --width 1024`` has 300 million
weights. Half precision is measured
against the bytes of the fp32 weights that come of it. The exit status is 1 if a share or a time misses its target.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from bigfoot.formats.huggingface import family_fields
from bigfoot.models import BigfootConfig, BigfootForCTC

SHARE, SECONDS = 1.3, 20.0
"""Most memory, as a share of the weights' bytes in fp32, and most time for 300 million weights."""
LARGE = 500_000_000
KINDS = {"safetensors": torch.float32, "bfloat16": torch.bfloat16, "pytorch_model.bin": torch.float32,
         "fairseq2": torch.float32}  # fmt: skip

_LOAD = """
import resource, sys, time
import torch
from bigfoot.formats.folder import load_model
torch.set_num_threads(2)
def held(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":")) * 1024
load_model("tiny_teacher")
before, began, worked = held("VmRSS"), time.perf_counter(), time.process_time()
model = load_model(sys.argv[1]).model
seconds, worked = time.perf_counter() - began, time.process_time() - worked
print(held("VmHWM") - before, held("VmRSS") - before, seconds, worked)
"""


def write_folder(folder: Path, kind: str, config: BigfootConfig) -> int:
    """Write random weights, and return the bytes that they have in fp32."""
    from bigfoot.formats.fairseq2 import HEAD, tensor_names

    with torch.device("meta"):
        model = BigfootForCTC(config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    block = torch.randn(1 << 20) * 0.02
    tensors = {
        name: block.repeat(-(-shape.numel() // len(block)))[: shape.numel()].view(shape).to(KINDS[kind]).clone()
        for name, shape in shapes.items()
    }
    folder.mkdir(parents=True)
    if kind == "fairseq2":
        names = {f"wav2vec2.{ours}": theirs for ours, theirs in tensor_names(config)}
        names |= {f"lm_head.{each}": f"{HEAD}.{each}" for each in ("weight", "bias")}
        torch.save({"model": {names[name]: tensor for name, tensor in tensors.items()}}, folder / "model.pt")
    else:
        described = family_fields(config) | {"model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"]}
        (folder / "config.json").write_text(json.dumps(described))
        if kind == "pytorch_model.bin":
            torch.save(tensors, folder / kind)
        else:
            save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return 4 * sum(shape.numel() for shape in shapes.values())


def main() -> int:
    """Measure every kind of file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=48)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--folder", type=Path, default=None, help="where the files are written; removed afterwards")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    given = parser.parse_args()
    config = BigfootConfig(
        hidden_size=given.width, num_hidden_layers=given.layers, num_attention_heads=16,
        intermediate_size=4 * given.width, do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True,
    )  # fmt: skip
    missed = False
    if given.folder is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
    for kind in given.kinds:
        with tempfile.TemporaryDirectory(dir=given.folder) as made:
            size = write_folder(Path(made) / "model", kind, config)
            command = [sys.executable, "-c", _LOAD, str(Path(made) / "model")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peak, kept, seconds, worked = map(float, done.stdout.split())
        late = seconds > SECONDS and size // 4 < LARGE
        missed |= late or peak / size > SHARE
        print(
            f"{kind:18} {size // 4 / 1e6:6.0f} M weights, {size / 1e9:.2f} GB: peak {peak / 1e9:.2f} GB, "
            f"{peak / size:.2f} of it (target {SHARE}); kept {kept / 1e9:.2f} GB; {seconds:.1f} s, "
            f"of processors {worked:.1f} s",
            flush=True,
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
