"""Write a trained teacher in fp16, in shards that stay below a size, and read it back.

python recipes/english_teacher/save_shards.py runs/english_teacher/gpu/finetune/model english_teacher
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    import torch
    from transformers import Wav2Vec2ForCTC, Wav2Vec2Processor

    from bigfoot.formats.conversion import convert_model
    from bigfoot.formats.folder import load_model


def save_shards(source: Path, out: Path, megabytes: float) -> float:
    """Write the folder; return how far its logits are from those of the source, of the largest."""
    with tempfile.TemporaryDirectory() as plain:
        convert_model(load_model(source), Path(plain) / "model", to="huggingface")
        model = Wav2Vec2ForCTC.from_pretrained(Path(plain) / "model").eval()
        processor = Wav2Vec2Processor.from_pretrained(Path(plain) / "model")
    audio = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = model(audio).logits
    model.half().save_pretrained(out, max_shard_size=f"{round(1000 * megabytes)}KB")
    processor.save_pretrained(out)
    with torch.inference_mode():
        after = load_model(out).model.float()(audio).logits
    return float((after - before).abs().max() / before.abs().max())


def main() -> None:
    """Read the command line and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="model folder of a run")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--megabytes", type=float, default=11.5, help="largest shard")
    args = parser.parse_args()
    difference = save_shards(args.source, args.out, args.megabytes)
    sizes = sorted(path.stat().st_size / 1e6 for path in args.out.glob("*.safetensors"))
    print(f"{args.out}: {len(sizes)} shards, the largest {sizes[-1]:.1f} MB, logits within {difference:.1e}")


if __name__ == "__main__":
    with plain_errors():
        main()
