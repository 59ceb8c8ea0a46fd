"""The wording of all problems of a configuration, in one file: tests elsewhere assert codes.

    BIGFOOT_WRITE_WORDING=1 python -m pytest tests/pipeline/test_wording.py

writes the file anew; its changes are then read in the diff.
"""

import ast
import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import bigfoot
from bigfoot.audio.files import write_audio
from bigfoot.cli.compress import compress as compress_command
from bigfoot.cli.convert import convert
from bigfoot.cli.evaluate import evaluate
from bigfoot.cli.pick import read_amount
from bigfoot.cli.serve import name_models
from bigfoot.compress import (
    Change,
    ConvGroups,
    ConvSharing,
    DecoderDepth,
    Depth,
    LowRank,
    Narrow,
    Prune,
    Quantize,
    Reshape,
    Shrink,
    Streaming,
    technique,
)  # fmt: skip
from bigfoot.compress.registry import _SETTINGS, fit_technique
from bigfoot.compress.surgery import keep_problems
from bigfoot.compress.units import Place
from bigfoot.distill.terms.task import TaskKLLoss
from bigfoot.embedding.embed import EmbedRequest
from bigfoot.embedding.hidden_states import read_layer
from bigfoot.errors import ConfigError, ModelError
from bigfoot.export.command import ExportRequest
from bigfoot.export.quantize import QuantizeRequest
from bigfoot.formats.folder import outline_model
from bigfoot.measure.benchmark import measure_benchmark
from bigfoot.measure.benchmark_plan import BenchmarkPlan, read_plan
from bigfoot.measure.part_times import list_parts
from bigfoot.models.configuration import BigfootConfig
from bigfoot.pipeline.preset import summarize_preset
from bigfoot.pipeline.settings import read_config
from bigfoot.planner.budget import Budget, read_size
from bigfoot.planner.ladders import list_candidates
from bigfoot.planner.measured import Bench
from bigfoot.planner.own_rows import read_own_rows
from bigfoot.planner.propose import explain_misfit
from bigfoot.runtime.arguments import Argument
from bigfoot.runtime.live import stream_problems
from bigfoot.runtime.outputs import check_output
from bigfoot.serve.limits import Limits
from bigfoot.serve.listen.models import list_models
from bigfoot.study import front
from bigfoot.study.pick import open_supernet
from bigfoot.text.tokenizers import Processor, save_processor
from tests.conftest import make_teacher
from tests.pipeline import (
    test_checks,
    test_prune,
    test_qat,
    test_quantize,
    test_shapes,
    test_student,
    test_teacher_cache,
)
from tests.pipeline.problems import problems_of
from tests.test_config import WRONG

FILE = Path(__file__).with_name("wording.txt")
CACHE = "distill.cache=cache"
CASES = [
    *([override] for override in WRONG),
    *([override] for override in test_checks.MODEL_PROBLEMS),
    *(list(settings) for settings, _ in test_student.WRONG),
    *(list(settings) for settings, _ in test_shapes.WRONG),
    *(list(settings) for settings, _ in test_prune.WRONG),
    *(list(settings) for settings, _ in test_quantize.WRONG),
    *([*test_qat.QUICK, *settings] for settings, _ in test_qat.WRONG),
    *([CACHE, *settings] for settings, _ in test_teacher_cache.UNSTORABLE),
    ["distill.losses.masked_hidden.weight=1", "distill.spec_augment.mask_time_prob=0"],
    ["steps=[student,finetune]", "control=ctc_only"],
    ["data.corpus=shar", "data.root=/nowhere", "data.hold_out_speakers=2"],
    ["steps=[student,gates]", "shard=true", "precision=fp16"],
    ["steps=[student,finetune,distill]", "finetune.head=new"],
    ["steps=[student,supernet]", "supernet.losses={logit_kl: {weight: 0}, conv_features: {weight: 1}}"],
    ["steps=[student,supernet]", "student.shape={attention_reuse: [null,0]}"],
    ["finetune.decoder.kind=pretrained", "finetune.objective=joint"],
    ["finetune.decoder={kind: pretrained, language_model: x, fuse: decoder}", "finetune.objective=joint",
     "evaluate.autoregressive.ctc_weight=0.3"],
    ["finetune.tokenizer=bpe", "finetune.head=new", "finetune.tokenizer_text=/nowhere.txt"],
    ["data.corpus=fsdd"],
    ["data.unseen_speakers=[theo]", "scale_to=small"],
    ["data.crop_seconds=3"],
    ["teacher.path=<whisper>", "steps=[student,train_task]"],
    ["train_task.head={init: probe, hidden_sizes: [4]}"],
    ["data.augment.noise_folder=/nowhere"],
    ["evaluate.decoder=lm"],
    ["evaluate.decoder=lm", "evaluate.lm_path=/nowhere.arpa"],
    ["evaluate.decoder=beam", "evaluate.hot_words=[seven,SEVEN-11,CAF\u00c9]"],
    ["evaluate.decoder=beam", "evaluate.hot_words=[SEVEN,' ']"],
    ["evaluate.decoder=beam", "evaluate.hot_words_file=/nowhere.txt"],
    ["evaluate.hot_word_bonus=.inf"],
    ["distill.losses.logit_kl.weight=0"],
    ["trackers=[wandb]"],
    ["distill.losses.hidden={weight: 1, matches: [[1,1]], match_weights: [1,2]}"],
    ["distill.losses.hidden={weight: 1, matches: [[1,1]], match_weights: [-1]}"],
    ["distill.losses.hidden={weight: 1, mean_of: 9}"],
    ["distill.losses.heads={weight: 1, layers: [1,1]}"],
    ["distill.losses.heads={weight: 1, layers: [9]}"],
    ["distill.losses.heads={weight: 1, layers: [1], l1_weight: 0, cosine_weight: 0}"],
    ["distill.losses.masked_hidden={weight: 1, masked_weight: 0, unmasked_weight: 0}"],
    ["distill.losses.gram={weight: 1, layer_weight: 0, within_weight: 0}"],
    ["distill.losses.value_relation={weight: 1, heads: 5}"],
    ["distill.losses.intermediate_ctc={weight: 1, layers: [9]}"],
    ["distill.losses.intermediate_ctc={weight: 1, layers: [1,1]}"],
    ["steps=[finetune]", "finetune.losses={hidden: {weight: 1}, ctc: {weight: 1}}",
     "finetune.losses.intermediate_ctc={weight: 1, layers: [0]}"],
    ["teacher.path=<headless>", "distill.losses.logit_kl.weight=0", "distill.losses.intermediate_ctc.weight=1",
     "distill.losses.alignment.weight=1"],
    ["distill.losses.decoder.weight=1"],
    ["distill.losses.decoder_kl.weight=1"],
    ["distill.losses.task.weight=1", "distill.losses.task_kl.weight=1"],
    ["student.shape_init=least_squares", "student.shape.hidden_size=12"],
    ["student.decoder_layers=1"],
    ["student.adapters=drop"],
    ["student.vocabulary=/nowhere.txt", "data.transcripts=none", "distill.losses.ctc.weight=0"],
    ["teacher.path=<headless>", "student.vocabulary=from_corpus", "distill.losses.logit_kl.weight=0",
     "distill.losses.hidden.weight=1"],
    ["teacher.language=eng"],
    ["gates.parts=[conv]", "steps=[student,gates]", "student.conv_groups=2"],
    ["prune.parts=[heads]", "steps=[student,prune]", "student.shape.layer_num_attention_heads=[0,0]",
     "prune.importance=l1"],
    ["quantize.keep_fp32=[encoder.layers.7]", "steps=[student,quantize]"],
    ["distill.losses.value_relation.weight=1", "student.shape.num_attention_heads=2"],
    ["student.techniques=[depth]"],
    ["student.techniques=[{dept: {}}]"],
    ["student.techniques=[{depth: {num_hidden_layers: 9}}]"],
    ["student.conv_groups=2", "student.techniques=[{conv_groups: {conv_groups: 4, init: permute}}]"],
    ["prune.parts=[width]", "prune.importance=l1", "finetune.objective=joint", "steps=[finetune,prune]"],
    ["teacher.path=<headless>", "distill.losses.ctc.weight=1", "control=ctc_only"],
    ["teacher.path=<headless>", "steps=[prune]"],
    ["teacher.path=<headless>", "data.transcripts=none", "finetune.head=new", "distill.losses.logit_kl.weight=0",
     "distill.losses.hidden.weight=1"],
    ["teacher.path=<mute>", "distill.losses.ctc.weight=1", "control=ctc_only"],
    ["teacher.path=<small_vocabulary>", "student.path=<teacher>"],
    ["teacher.path=<telephone>", "student.path=<teacher>"],
    ["student.path=<quantized>"],
    ["student.path=<pieces>"],
    ["teacher.path=<whisper>", "student.path=<teacher>", "distill.losses.nbest={weight: 1, size: 9, beam_size: 2}",
     "distill.losses.logit_kl.weight=0"],
    ["teacher.path=<teacher>", "student.path=<mute>", "distill.losses.nbest.weight=1", "finetune.head=new"],
    ["teacher.path=<whisper>", "student.path=<teacher>", "distill.losses.attention.weight=1"],
    ["student.path=<teacher>", "steps=[distill]"],
]  # fmt: skip


def refused(call, *arguments, **options):
    """Problems that a call raises."""
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    return caught.value.problems


def options_and_techniques(here):
    """Problems of options, of files and of techniques that are applied from Python: a title and the problems."""
    model, out, two = "tiny_teacher", Path("x.onnx"), [Argument(Path(f"{n}.wav"), f"{n}.wav", Path("a")) for n in "ab"]
    (here / "list.yaml").write_text("- 1\n")
    (here / "broken.yaml").write_text("a: [1,\n")
    yield "compress --until distil", refused(compress_command, [], "demo_config.yaml", "distil")
    yield "compress --config list.yaml", refused(bigfoot.load_config, here / "list.yaml")
    yield "compress --config broken.yaml", refused(bigfoot.load_config, here / "broken.yaml")
    yield "compress --config demo", refused(bigfoot.load_config, "demo")
    yield "plugins=[nowhere_at_all]", read_config(None, ["plugins=[nowhere_at_all]"])[1]
    yield "plan", Budget().find_problems()
    yield "plan --max-size 3parsec", refused(read_size, "3parsec")
    yield "plan --max-rtf 0", Budget(max_rtf=0).find_problems()
    timed = Bench("pytorch", outline_model(model).processor, seconds=0.5, rounds=1)
    shape = BigfootConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=2, conv_dim=[16] * 7)
    missed = explain_misfit(Budget(max_bytes=9), timed, list_candidates(shape, ["depth"]))
    yield "plan --max-size 9", [replace(missed, message=missed.message.rsplit(" ", 1)[0])]  # ends in a time
    yield "plan --results", refused(read_own_rows, [])
    yield "plan, nothing to cut", [explain_misfit(Budget(max_bytes=9), timed, {})]
    yield "export --to tflite", ExportRequest(model, out, "tflite").find_problems()
    yield "export x.onnx --to openvino", ExportRequest(model, out, "openvino").find_problems()
    yield "export x.onnx --to sherpa", ExportRequest(model, out, "sherpa").find_problems()
    windowed = ExportRequest(model, Path("x.pte"), "executorch", window=50.0)
    yield "export x.pte --to executorch --window 50", windowed.find_problems()
    yield "export x --to sherpa --window 12", ExportRequest(model, Path("x"), "sherpa", window=12.0).find_unused()
    yield "export x --to sherpa --normalize", ExportRequest(model, Path("x"), "sherpa", normalize=True).find_unused()
    yield "serve a.onnx b/a.onnx", refused(name_models, ["a.onnx", "b/a.onnx"])
    yield "serve --max-requests 0", Limits(requests=0).find_problems()
    yield "listen nowhere", refused(list_models, [str(here / "nowhere")], Path)
    (here / "run" / "report").mkdir(parents=True)
    (here / "run" / "report" / "report.json").write_text('{"rows": [{"name": "gone", "step": "gone"}]}')
    yield "listen run", refused(list_models, [str(here / "run")], Path)
    yield "export x.pt2 --int8 four", ExportRequest(model, Path("x.pt2"), "torch-export", "four").find_problems()
    for to, place in (("torch-export", Path("x.pt2")), ("openvino", Path("x.xml"))):
        dynamic = ExportRequest(model, place, to, "dynamic", check=Path("a"))
        yield f"export {place} --int8 dynamic --check a", dynamic.find_problems()
    yield "export --int8 static", ExportRequest(model, out, int8="static").find_problems()
    yield "export --int8 dynamic", ExportRequest(model, out, int8="dynamic").find_problems()
    other = ExportRequest("small", out, int8="static", calibrate=Path("a"), percentile=99.0)
    yield "export small --int8 static --calibrate a --percentile 99", other.find_problems("int8_dynamic")
    tasks = ExportRequest("task", Path("x.xml"), "openvino", fallback=True).find_task_problems()
    yield "export task x.xml --to openvino --fallback", tasks
    yield "quantize --precision int4", QuantizeRequest(model, out, "int4", percentile=3).find_problems()
    yield "quantize --precision int8_static", QuantizeRequest(model, out, "int8_static").find_problems()
    read = QuantizeRequest(model, out, "int8", calibrate=Path("a"), percentile=99)
    yield "quantize --precision int8 --calibrate a --percentile 99", read.find_problems()
    yield "embed", EmbedRequest(here, Path("x.npz"), pool="max", longest=1).find_problems()
    yield "embed --layer 13", refused(read_layer, "13", 12)
    yield "convert --to onnxx --with-code", refused(convert, model, here / "x", to="onnxx", with_code=True)
    yield "evaluate --split train", refused(evaluate, model, split="train")
    asked = ["data.corpus=folder", f"data.root={here}", "data.test_splits=[here]"]
    yield "evaluate --split dev", refused(evaluate, model, asked, split="dev", run_dir=str(here / "evaluate"))
    yield "transcribe a.wav b.wav --format doc", refused(check_output, two, "doc", None)
    yield "transcribe a.wav b.wav --format srt", refused(check_output, two, "srt", None)
    yield "transcribe a.wav b.wav --output out/", refused(check_output, two, "txt", f"{here}/out/")
    yield "transcribe --stream a b --format srt --output x", stream_problems(2, "srt", {"--output": "x"})
    yield "benchmark transformers:", refused(read_plan, ["transformers:"], "x,1,1", rounds=0)
    yield "benchmark", refused(read_plan, [])
    yield "benchmark --seconds 0.02", refused(measure_benchmark, BenchmarkPlan((model,), seconds=(0.02,)))
    yield "summary student.low_rank.rank=0", refused(
        summarize_preset, "methods/lowrank.yaml", ["student.low_rank.rank=0"]
    )
    ours, theirs = (SimpleNamespace(task={"kind": "single_label", "labels": labels}) for labels in ("ab", "abc"))
    yield "TaskKLLoss()", TaskKLLoss().check(ours, theirs)
    llama = {"kind": "pretrained", "language_model": {"model_type": "llama"}}
    yield "DecoderDepth(1)", fit_technique(BigfootConfig(decoder=llama), DecoderDepth(1)).problems
    banks = BigfootConfig(family="wav2vec2-bert", front_end="log-mel", conv_dim=[], conv_kernel=[], conv_stride=[])
    yield "ConvGroups(2) on log-mel", fit_technique(banks, ConvGroups(2)).problems
    squeezed = BigfootConfig(family="sew", squeeze_factor=2, time_reduction=1)
    yield "Shrink() on SEW", fit_technique(squeezed, Shrink()).problems
    yield "pick --max-rtf 1 of log-mel", refused(list_parts, banks)
    yield "pick nowhere", refused(open_supernet, Path("nowhere"))
    yield "pick --max-size much", refused(read_amount, "--max-size", "much", "B")
    limits, costs = front.Limits(1_000, 0.001, 10_000), front.Costs(123_456, 4_500_000, 0.012)
    yield "pick --max-size 1KB --max-rtf 0.001 --max-macs 10K", front.limit_problems(limits, costs)
    small = BigfootConfig(hidden_size=24, num_attention_heads=3, num_conv_pos_embedding_groups=4, conv_sharing=[[1, 2]])
    kept = {Place("tails", 0): [0], Place("heads", 0): [], Place("width"): range(16), Place("conv", 1): [0]}
    yield "units that stay", keep_problems(small, kept)
    for each in (
        Depth(13), Depth(2, [0, -1]), ConvGroups(3), ConvGroups(2, "best"), ConvGroups(2, "least_squares"),
        ConvSharing([[1, 9]], "sum"), LowRank(["q_proj"]), Narrow({"time_reduction": 2}), Reshape({"hiden_size": 8}),
        Prune(importance="l1", target="params", ratio=0), Prune(importance="l1", target="params", keep=0.001),
        Prune(importance="taylor"), Quantize("int8_static"), Quantize("float32", ["*"]), Quantize("int4"),
        Shrink(cuts=["hands"]), Streaming(), Streaming("320ms"),
    ):  # fmt: skip
        yield repr(each), refused(bigfoot.compress, model, [each])
    toy = register_toy()(3)
    yield "a technique of a user's", fit_technique(BigfootConfig(num_hidden_layers=4), toy).problems


def register_toy():
    """A technique that knows no codes."""

    @dataclass(frozen=True)
    class Toy:
        run: int

    def reshape(shape, settings):
        raise ModelError(f"{shape.num_hidden_layers} layers cannot be merged {settings.run} by {settings.run}")

    technique("toy_of_wording", Toy, reshape)(lambda model, settings, audio: (model, Change("toy")))
    return Toy


@pytest.fixture
def places(narrow_teacher, other_teachers, build_huggingface, processor, tmp_path):
    """Folders by the names that cases and the file give them."""
    from bigfoot.compress.quantize import Quantize, apply
    from bigfoot.formats.folder import load_model, save_model
    from bigfoot.formats.frames import build_around

    loaded = load_model(narrow_teacher)
    save_model(apply(loaded.model, Quantize("int8"))[0], loaded.processor, tmp_path / "quantized")
    pieces = make_teacher(tmp_path / "pieces", build_huggingface, processor)
    tokens = (*processor.tokenizer.vocabulary[:-1], "QU")
    save_processor(replace(processor, tokenizer=replace(processor.tokenizer, vocabulary=tokens)), pieces)
    telephone = make_teacher(tmp_path / "telephone", build_huggingface, replace(processor, sample_rate=8000))
    shape = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
    save_model(build_around("whisper", shape), Processor(do_normalize=False), tmp_path / "whisper")
    made = {"teacher": narrow_teacher, "pieces": pieces, "telephone": telephone}
    made |= {name: tmp_path / name for name in ("quantized", "whisper")}
    return made | other_teachers


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """No package that builds tokenizers or decodes with a language model, no corpus, and techniques as before.

    Bigfoot counts as installed: else its install lines name the folder of the clone.
    """
    monkeypatch.setattr("bigfoot.install.find_version", lambda: "1")
    monkeypatch.delenv("BIGFOOT_DATA", raising=False)
    for package in ("sentencepiece", "flashlight", "wandb"):
        monkeypatch.setitem(sys.modules, package, None)
    for known in ("_entries", "_origins"):
        monkeypatch.setattr(_SETTINGS, known, dict(getattr(_SETTINGS, known)))
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "here" / "a.wav", np.sin(np.arange(16_000, dtype=np.float32) / 9))
    (tmp_path / "here" / "a.txt").write_text("one")


@pytest.mark.slow
@pytest.mark.usefixtures("bare")
def test_every_problem_in_its_words(small_run, places, tmp_path):
    shown = places | {"here": tmp_path}
    lines = []

    def write(title, problems):
        lines.append(title)
        for problem in problems:
            line = f"    {problem.key} [{problem.code}] {problem.message}"
            for name, place in shown.items():
                line = line.replace(str(place), f"<{name}>")
            lines.append(line)

    for case in CASES:
        given = [re.sub(r"<(\w+)>", lambda match: str(places[match[1]]), override) for override in case]
        write("  ".join(case), problems_of(small_run(tmp_path / "run", *given)))
    for title, problems in options_and_techniques(tmp_path):
        write(title, problems)
    text = "\n".join(lines) + "\n"
    if os.environ.get("BIGFOOT_WRITE_WORDING"):
        FILE.write_text(text, encoding="utf-8")
    assert text == FILE.read_text(encoding="utf-8")


def declared_codes():
    """Every code that stands as a word in a call of ``Problem`` anywhere in the package."""
    for path in Path(bigfoot.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            named = ast.unparse(node.func)
            code = node.args[1:2] if named in ("Problem", "Problem.of") else []
            yield from (each.value for each in code if isinstance(each, ast.Constant))


@pytest.mark.slow
def test_every_code_is_in_the_file():
    codes = set(declared_codes())
    seen = set(re.findall(r"^    .*?(?<!\S)\[(\w+)\] ", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert len(codes) > 40 and codes <= seen


def test_all_problems_are_shown_at_once():
    with pytest.raises(ConfigError) as caught:
        bigfoot.load_config(None, ["seed=-1", "threads=0"])
    assert str(caught.value) == (
        "2 problems in the configuration:\n"
        "  - seed: must be from 0 to 4294967295, got -1\n"
        "  - threads: must be above 0, got 0"
    )
