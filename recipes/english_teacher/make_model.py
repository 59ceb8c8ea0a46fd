"""Make a plain ``Wav2Vec2ForCTC`` with random weights, and its processor, for the tokens of wav2vec2-base-960h.

python recipes/english_teacher/make_model.py --shape recipes/english_teacher/cpu_shape.json --out runs/random_cpu
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

# In the order of wav2vec2-base-960h: by frequency in English after the specials.
VOCABULARY = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK", "'", *"XJQZ"]


def make_model(shape: dict[str, object], out: Path, seed: int) -> Wav2Vec2ForCTC:
    """Write a model folder.

    Args:
        shape: fields of ``Wav2Vec2Config``.
        out: the folder.
        seed: of the weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    vocabulary = out / "vocab.json"
    vocabulary.write_text(json.dumps({token: index for index, token in enumerate(VOCABULARY)}), encoding="utf-8")
    torch.manual_seed(seed)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=len(VOCABULARY), pad_token_id=0, **shape))
    # As published models have it: group norm was trained on unmasked padding.
    masked = shape.get("feat_extract_norm") == "layer"
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=masked)
    tokenizer = Wav2Vec2CTCTokenizer(str(vocabulary), word_delimiter_token="|")
    for part in (model.eval(), Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)):
        part.save_pretrained(out)
    return model


def main() -> None:
    """Read the command line and write the folder; one that is there stays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=Path, required=True, help="JSON file of fields of Wav2Vec2Config")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    parser.add_argument("--seed", type=int, default=1, help="seed of the weights")
    args = parser.parse_args()
    if (args.out / "model.safetensors").is_file():
        print(f"{args.out} is there")
        return
    model = make_model(json.loads(args.shape.read_text(encoding="utf-8")), args.out, args.seed)
    print(f"{sum(weight.numel() for weight in model.parameters()):,} random weights in {args.out}")


if __name__ == "__main__":
    with plain_errors():
        main()
