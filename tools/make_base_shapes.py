"""Random-weight folders of base shapes, so that anyone can check how fast shapes are beside each other.

python tools/make_base_shapes.py OUT
bigfoot benchmark transformers:OUT/teacher-12l OUT/student-4l-g2 OUT/student-4l-g2-int8 OUT/thin-int8

``teacher-12l`` is plain Hugging Face (wav2vec2-base), ``student-4l-g2`` a bigfoot folder: 4 of its layers, its convs
in groups of 2; ``thin`` has the shape that ``configs/methods/bigfoot_thin.yaml`` makes of a base teacher. The two that
end in ``-int8`` are deployed: a folder with ``model.onnx`` in static int8. Random weights transcribe nothing:
ranges are measured on noise, and the files have not passed the gate of ``bigfoot export``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    import torch

    from bigfoot.compress.conv_groups import ConvGroups
    from bigfoot.compress.conv_groups import apply as group_convs
    from bigfoot.compress.depth import Depth
    from bigfoot.compress.depth import apply as cut_depth
    from bigfoot.compress.quantize import calibrate
    from bigfoot.export.audio import padded_audio, read_speech
    from bigfoot.export.onnx import build_onnx, save_onnx
    from bigfoot.formats.folder import LoadedModel, save_model
    from bigfoot.measure.deployed import DEPLOYED_FILE
    from bigfoot.models import BigfootConfig, BigfootForCTC
    from bigfoot.pipeline.settings import load_config
    from bigfoot.pipeline.student_shape import final_shape
    from bigfoot.text.tokenizers import CharTokenizer, Processor

LETTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ")


def main(arguments: list[str] | None = None) -> None:
    """Make the folders; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to make them in; older ones there are replaced")
    out = parser.parse_args(arguments).out
    torch.manual_seed(0)
    processor = Processor(CharTokenizer(LETTERS))
    teacher = BigfootForCTC(BigfootConfig()).eval()
    shallow, _ = cut_depth(teacher, Depth(num_hidden_layers=4, layer_init="spread"))
    student, _ = group_convs(shallow, ConvGroups(conv_groups=2))
    thin = BigfootForCTC(final_shape(load_config("methods/bigfoot_thin.yaml"), teacher.config)).eval()
    save_model(teacher, processor, out / "teacher-12l", to="huggingface")
    save_model(student, processor, out / "student-4l-g2")
    for name, model in (("student-4l-g2-int8", student), ("thin-int8", thin)):
        deploy(LoadedModel(model, processor), out / name)
    for folder in sorted(folder for folder in out.iterdir() if folder.is_dir()):
        print(f"{folder}: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.1f} MB")


def deploy(loaded: LoadedModel, folder: Path) -> None:
    """Write a deployed folder in static int8.

    Args:
        loaded: the model.
        folder: made where missing.
    """
    noise = read_speech(None, loaded.processor)
    plan = calibrate(loaded.model, padded_audio(noise, loaded.processor))
    save_onnx(build_onnx(loaded, plan).graph, folder / DEPLOYED_FILE)


if __name__ == "__main__":
    with plain_errors():
        main()
