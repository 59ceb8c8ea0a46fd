"""Whether fairseq loads what bigfoot writes, and answers the same: first where bigfoot is, then where fairseq is.

::

    python tools/check_fairseq_loads.py write DIR ../shared/data    # bigfoot's environment: models and their answers
    python tools/check_fairseq_loads.py load DIR                    # fairseq's (see make_fairseq_fixtures.py)

Random models of every structure that fairseq can express, base's true shape once, the tiny teacher, and what became of
fairseq's own files on the way through bigfoot. Their input is a sentence of LibriSpeech's train-mini; ``load`` prints
the largest difference of any hidden state or logit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

try:
    from bigfoot.errors import plain_errors
except ModuleNotFoundError:  # fairseq's environment
    from contextlib import nullcontext as plain_errors

with plain_errors():  # without the extra [train]: its install line
    import torch
    from safetensors.torch import load_file, save_file
    from torch import Tensor

TOLERANCE = 1e-4
RECORDING = "LibriSpeech/train-mini/103/1240/103-1240-0000.flac"
FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "formats" / "fixtures" / "fairseq"


def make_models() -> Iterator[tuple[str, object, object]]:
    """Name, model and processor of each."""
    from bigfoot.formats.fairseq import load_fairseq
    from bigfoot.formats.folder import load_model
    from bigfoot.models import BigfootConfig, BigfootForCTC
    from bigfoot.text.tokenizers import Processor

    teacher = load_model("tiny_teacher")
    yield "tiny_teacher", teacher.model, teacher.processor
    narrow = {
        "hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 3, "intermediate_size": 40,
        "conv_dim": [8, 8, 8, 16, 16, 16, 12], "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    }  # fmt: skip
    layer = {"feat_extract_norm": "layer", "conv_bias": True}
    structures = {
        "base": {}, "large": {**layer, "do_stable_layer_norm": True}, "layer_post": layer,
        "one_width": {"conv_dim": [8, 8, 8, 16, 16, 16, 24]}, "hubert": {"family": "hubert"},
        "hubert_large": {**layer, "do_stable_layer_norm": True, "family": "hubert"},
        "hubert_batch_norm": {"family": "hubert", "conv_pos_batch_norm": True},
    }  # fmt: skip
    for name, changes in structures.items():
        for headed in (True, False):
            torch.manual_seed(len(name))
            model = BigfootForCTC(BigfootConfig(**{**narrow, **changes, "ctc_head": headed})).eval()
            if name == "one_width":
                model.speech_encoder.feature_projection.projection.weight.data.copy_(torch.eye(24))
                model.speech_encoder.feature_projection.projection.bias.data.zero_()
            yield f"{name}_{'ctc' if headed else 'bare'}", model, teacher.processor if headed else Processor()
    torch.manual_seed(0)
    yield "true_base_bare", BigfootForCTC(BigfootConfig(ctc_head=False)).eval(), Processor()
    for file in sorted(FIXTURES.glob("*.pt")):
        yield f"again_{file.stem}", *load_fairseq(file)


def write(folder: Path, corpora: Path) -> None:
    """Write every model, the audio and our answers."""
    from bigfoot.audio.files import read_audio
    from bigfoot.formats.fairseq import save_fairseq

    # An odd number of frames: fairseq pads it to an even one, and takes another road through its attention.
    samples = torch.from_numpy(read_audio(corpora / RECORDING)[32_000:][: 320 * 147 + 80])[None]
    audio = torch.nn.functional.layer_norm(samples, samples.shape)
    stored = {"audio": audio}
    for name, model, processor in make_models():
        save_fairseq(model, processor, folder / name)
        with torch.no_grad():
            output = model(audio, output_hidden_states=True)
        stored |= {f"{name}/hidden_states.{i}": state.clone() for i, state in enumerate(output.hidden_states)}
        stored[f"{name}/last_hidden_state"] = output.last_hidden_state.clone()
        if output.logits is not None:
            stored[f"{name}/logits"] = reorder(output.logits, processor)
    save_file(stored, folder / "answers.safetensors")


def reorder(logits: Tensor, processor: object) -> Tensor:
    """Our logits in the order of fairseq's dictionary."""
    from bigfoot.formats.fairseq_dictionary import order_for_fairseq

    order, _ = order_for_fairseq(processor.tokenizer)
    assert None not in order, "every vocabulary of this check holds all four of fairseq's"
    return logits[..., order].contiguous()


def load(folder: Path) -> None:
    """Load every model with fairseq and compare."""
    from make_fairseq_fixtures import answer
    from make_fairseq_fixtures import load as load_there

    expected = load_file(folder / "answers.safetensors")
    largest = 0.0
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = answer(load_there(place / "checkpoint.pt", place), expected["audio"])
        mine = {name.partition("/")[2] for name in expected if name.startswith(f"{place.name}/")}
        if mine != set(found):
            raise SystemExit(f"{place.name}: fairseq gives {sorted(found)}, bigfoot gave {sorted(mine)}")
        worst = max(float((expected[f"{place.name}/{name}"] - found[name]).abs().max()) for name in mine)
        largest = max(largest, worst)
        print(f"{place.name:32} {worst:.1e} over {len(mine)} tensors")
    print(f"largest difference {largest:.1e}, tolerance {TOLERANCE:.0e}")
    if largest > TOLERANCE:
        raise SystemExit(1)


def main() -> None:
    """Do one of the two."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=("write", "load"))
    parser.add_argument("folder", type=Path, help="where the models lie between the two")
    parser.add_argument("corpora", type=Path, nargs="?", help="to write: folder that holds LibriSpeech/train-mini")
    given = parser.parse_args()
    if given.action == "load":
        load(given.folder)
    elif given.corpora is None:
        parser.error("write needs the folder that holds LibriSpeech/train-mini")
    else:
        given.folder.mkdir(parents=True, exist_ok=True)
        write(given.folder, given.corpora)


if __name__ == "__main__":
    with plain_errors():
        main()
