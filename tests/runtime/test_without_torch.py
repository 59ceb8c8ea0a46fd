"""What a process that transcribes loads; how soon it has text is for benchmarks/transcribe_speed.py."""

import pytest

from bigfoot.runtime.transcriber import Transcriber
from tests.test_imports import ROOT, modules_after

pytest.importorskip("onnxruntime")

TRAINING = {"torch", "transformers", "lhotse", "matplotlib", "accelerate", "omegaconf", "jiwer", "safetensors"}


def test_every_module_of_the_runtime_loads_nothing_of_training():
    files = sorted((ROOT / "bigfoot/runtime").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    modules, _ = modules_after(f"import {', '.join(names)}")
    assert "bigfoot" in modules and not modules & (TRAINING | {"onnxruntime"})


def test_the_class_of_the_package_is_the_runtimes():
    import bigfoot

    assert bigfoot.Transcriber is Transcriber


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "sys.argv = ['bigfoot', 'transcribe', {model!r}, {audio!r}, '--threads', '1']; "
        "runpy.run_module('bigfoot', run_name='__main__')",
        "sys.argv = ['bigfoot', 'transcribe', {model!r}, {audio!r}, '--threads', '1', '--hotword', 'c ab']; "
        "runpy.run_module('bigfoot', run_name='__main__')",
        "from bigfoot import Transcriber; print(Transcriber({model!r}, threads=1).transcribe([{audio!r}])[0].text)",
    ],
    ids=["command", "hot words", "Python"],
)
def test_text_comes_without_loading_torch(tape_file, tapes, code):
    audio = str(next(iter(tapes)))
    modules, output = modules_after(code.format(model=str(tape_file), audio=audio))
    assert output.strip() == "AB C"
    assert "onnxruntime" in modules and not modules & TRAINING
