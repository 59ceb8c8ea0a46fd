"""Small random models and real speech for the tests of every room; torch is imported by those that need it."""

import fcntl
import gzip
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tests.search_path import search_path

# A busy machine is slow, not wrong.
settings.register_profile("bigfoot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bigfoot")

CORPORA = Path(os.environ.get("BIGFOOT_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
READ_SENTENCE = CORPORA / "LibriSpeech" / "dev-mini" / "150" / "126107" / "150-126107-0000.flac"

VOCABULARY = (
    "<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "O", "N", "I", "H", "S", "R", "D", "L", "U", "M", "W", "C",
    "F", "G", "Y", "P", "B", "V", "K", "'", "X", "J", "Q", "Z",
)  # fmt: skip

# Fields of a Hugging Face wav2vec2 config of few parameters; every width another, so that nothing fits by accident.
NARROW = {
    "hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 3, "intermediate_size": 40,
    "conv_dim": [8, 8, 8, 16, 16, 16, 12], "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    "layerdrop": 0.0,
}  # fmt: skip
GROUP = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
STRUCTURES = {
    "base": GROUP,
    "large-lv60": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    "group-stable": GROUP | {"do_stable_layer_norm": True},
    "layer-post": {"feat_extract_norm": "layer", "do_stable_layer_norm": False, "conv_bias": True},
}
LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
# Buckets so few that an utterance of seconds reaches the last.
BIAS = {"family": "wavlm", "num_buckets": 32, "max_bucket_distance": 60}
CONFORMER = {
    "conv_depthwise_kernel_size": 5, "conformer_conv_dropout": 0.0, "vocab_size": 32, "block": "conformer",
    "do_stable_layer_norm": True,
}  # fmt: skip
WAVE_CONFORMER = CONFORMER | {"family": "wav2vec2-conformer", "positional_conv": "unused"}
# Distances so few that an utterance of seconds goes beyond them.
BERT = CONFORMER | {
    "family": "wav2vec2-bert", "front_end": "log-mel", "conv_dim": [], "conv_kernel": [], "conv_stride": [],
    "positional_conv": "none", "final_norm": False, "conv_module_norm": "layer", "conv_module_causal": True,
    "position_embeddings_type": "relative_key", "left_max_position_embeddings": 9, "right_max_position_embeddings": 4,
    "hidden_act": "swish",
}  # fmt: skip
SQUEEZED = {"squeeze_factor": 2, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}
FAMILY_STRUCTURES = {
    "hubert": GROUP | {"family": "hubert"},
    "hubert-large": LAYER | {"family": "hubert"},
    "hubert-without-norm": GROUP | {"family": "hubert", "feat_proj_layer_norm": False},
    "hubert-batch-norm": GROUP | {"family": "hubert", "conv_pos_batch_norm": True},
    "wavlm": GROUP | BIAS,
    "wavlm-large": LAYER | BIAS,
    "data2vec": {"family": "data2vec-audio", "feat_extract_norm": "layer", "do_stable_layer_norm": False,
                 "num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7},
    "mms": LAYER | {"adapter_attn_dim": 5},
    "adapter": GROUP | {"add_adapter": True, "num_adapter_layers": 2},
    "unispeech": GROUP | {"family": "unispeech"},
    "unispeech-sat": LAYER | {"family": "unispeech-sat"},
    "conformer": GROUP | WAVE_CONFORMER | {"position_embeddings_type": "relative"},
    "conformer-rotary": LAYER | WAVE_CONFORMER | {"position_embeddings_type": "rotary"},
    "w2v-bert": BERT,
    "w2v-bert-adapter": BERT | {"add_adapter": True, "num_adapter_layers": 2,
                                "use_intermediate_ffn_before_adapter": True},
    "sew": GROUP | SQUEEZED | {"family": "sew"},
    # An utterance of seconds goes beyond its last bucket.
    "sew-d": LAYER | SQUEEZED | {"family": "sew-d", "do_stable_layer_norm": False, "final_norm": False,
                      "position_embeddings_type": "disentangled", "position_buckets": 8, "max_position_embeddings": 20,
                      "layer_norm_eps": 1e-7, "feature_layer_norm_eps": 1e-5, "hidden_act": "gelu_python"},
}  # fmt: skip
STRUCTURES |= FAMILY_STRUCTURES
NO_DROPOUT = dict.fromkeys(
    ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout"), 0.0
)


# Weights of values and of what comes of them, by the names of all families.
MIXES = tuple(f"{name}.weight" for name in ("v_proj", "out_proj", "value_proj", "attention.output.dense"))

# What takes seconds to make: whoever asks for it is slow.
SLOW_FIXTURES = {"start", "launch", "finished_run", "small_gpt2", "plain_answers", "trained"}
# Examples in docstrings that take as long.
SLOW_EXAMPLES = {
    "bigfoot.study.plan.plan_runs", "bigfoot.compress.prune.apply", "bigfoot.pipeline.preset.summarize_preset"
}  # fmt: skip


def mark_slow(items):
    """Mark slow examples, what asks for a slow fixture, and of each grid all but the first row."""
    grids = set()
    for item in items:
        grid = item.get_closest_marker("grid") and (item.path, item.originalname)
        if grid in grids or item.name in SLOW_EXAMPLES or SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
        if grid:
            grids.add(grid)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Files of slow tests first: no process is left with a long one when the others have ended."""
    mark_slow(items)
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    try:
        import torch
    except ImportError:  # the tests of the base install need none
        return
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_log():
    """A run takes the package's log for itself; the next test finds it as it was."""
    log = logging.getLogger("bigfoot")
    yield
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.propagate = True
    log.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def structures():
    """Config fields by structure."""
    return STRUCTURES


EVERY_FAMILY = ("base", "adapter", "mms", "hubert", "wavlm", "data2vec", "unispeech", "unispeech-sat", "conformer",
                "w2v-bert", "w2v-bert-adapter", "sew", "sew-d")  # fmt: skip
"""A structure of each family, and those with adapters."""
# Compared with transformers like all; the rest of their road another of these takes.
ON_ONE_ROAD = {"hubert-large", "conformer-rotary", "w2v-bert"}


@pytest.fixture(scope="session", params=[name for name in FAMILY_STRUCTURES if name not in ON_ONE_ROAD])
def family(request):
    """Structures of the families beside wav2vec2."""
    return request.param


@pytest.fixture(scope="session")
def narrow_fields():
    """Config fields of a small model."""
    return NARROW | NO_DROPOUT


@pytest.fixture(scope="session")
def build_model():
    """Build a small random bigfoot model: ``build_model("base", seed=0, **changes)``."""
    import torch

    from bigfoot.models import BigfootConfig, BigfootForCTC

    def build(structure="base", seed=0, **changes):
        torch.manual_seed(seed)
        model = BigfootForCTC(BigfootConfig(**(NARROW | NO_DROPOUT | STRUCTURES[structure] | changes)))
        roughen_(model)
        return model.eval()

    return build


@pytest.fixture(scope="session")
def build_huggingface():
    """The same for a model of transformers', with a CTC head or of a class: ``build_huggingface("base", cls=None)``."""
    import torch
    import transformers

    def build(structure="base", seed=0, cls=None, **changes):
        torch.manual_seed(seed)
        fields = NARROW | NO_DROPOUT | STRUCTURES[structure] | changes
        config = transformers.AutoConfig.for_model(fields.pop("family", "wav2vec2"), **fields)
        auto = getattr(transformers, cls or "AutoModelForCTC")
        model = auto.from_config(config) if (cls or "Auto").startswith("Auto") else auto(config)
        roughen_(model)
        return model.eval()

    return build


def inputs_of(theirs, wave):
    """Inputs of a model of transformers', and how many frames are real: an odd window's frame is half padding."""
    from transformers import SeamlessM4TFeatureExtractor

    if theirs.main_input_name == "input_values":
        return {"input_values": wave}, None
    given = SeamlessM4TFeatureExtractor()(wave[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    frames = int(given["attention_mask"].sum())
    for _ in range(theirs.config.num_adapter_layers if theirs.config.add_adapter else 0):
        frames = (frames + 1) // 2
    return given, frames


def roughen_(model):
    """Move norms and biases away from ones and zeros, where a mix-up of two of them would not show."""
    import torch

    biased = any("rel_attn_embed" in name or "embeddings" in name for name, _ in model.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
            if "rel_attn_embed" in name or "gru_rel_pos" in name or "embeddings" in name:
                parameter += torch.randn_like(parameter)
            if "upsample" in name:
                parameter *= 20
            if biased and name.endswith(MIXES):
                # What attention gives must count, or a wrong bias would not show.
                parameter *= 10
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer += 0.5 * torch.rand_like(buffer)


@pytest.fixture(scope="session")
def tokenizer():
    from bigfoot.text.tokenizers import CharTokenizer

    return CharTokenizer(VOCABULARY)


@pytest.fixture(scope="session")
def processor(tokenizer):
    from bigfoot.text.tokenizers import Processor

    return Processor(tokenizer)


@pytest.fixture(scope="session")
def speech():
    """Speech as (1, N) tensors, normalized: two synthetic strings, and a read sentence where it lies."""
    import torch

    from bigfoot.audio.files import read_audio
    from bigfoot.data.synthetic import synthesize_string

    waves = [synthesize_string(0, "test", index, 1, 3).samples for index in range(2)]
    if READ_SENTENCE.is_file():
        waves.append(read_audio(READ_SENTENCE)[16_000 : 16_000 * 4 + 77])
    return [torch.from_numpy(np.asarray((w - w.mean()) / w.std(), dtype=np.float32))[None] for w in waves]


@pytest.fixture(scope="session")
def edit_json():
    """Change fields of a JSON file; None takes one out."""

    def edit(path, **changes):
        content = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return edit


# What makes a whole run a matter of seconds.
SMALL_RUN = (
    "threads=1", "trackers=[]", "data.num_train=24", "data.num_dev=4", "data.num_test=6", "data.max_digits=2",
    "data.batch_seconds=8", "student.num_hidden_layers=2", "distill.max_steps=6", "distill.log_every=1",
    "distill.warmup_steps=2", "distill.checkpoint_every=2", "distill.eval_every=3", "finetune.max_steps=3",
    "finetune.warmup_steps=1", "finetune.checkpoint_every=2", "finetune.eval_every=3", "evaluate.speed_rounds=1",
    "evaluate.speed_seconds=0.5", "evaluate.bootstrap_samples=20",
)  # fmt: skip


@pytest.fixture(scope="session")
def narrow_teacher(build_huggingface, processor, made_once):
    """Folder of a random narrow Hugging Face teacher with a vocabulary and dropout."""
    make = lambda folder: make_teacher(folder / "narrow", build_huggingface, processor)  # noqa: E731
    return made_once("teacher", make) / "narrow"


def make_teacher(folder, build_huggingface, processor, structure="group-stable", **changes):
    """Save a random Hugging Face model with its processor; more certain of its tokens than random weights are."""
    import torch

    from bigfoot.text.tokenizers import FilterBanks, save_processor

    dropout = dict.fromkeys(NO_DROPOUT, 0.1)
    model = build_huggingface(structure, seed=3, **(dropout | {"num_hidden_layers": 4} | changes))
    if hasattr(model, "lm_head"):
        with torch.no_grad():
            model.lm_head.weight *= 40
            model.lm_head.weight[0] *= 2
    model.save_pretrained(folder)
    save_processor(processor, folder, FilterBanks(80, 2) if structure.startswith("w2v-bert") else None)
    return folder


@pytest.fixture(scope="session")
def other_teachers(build_huggingface, processor, tmp_path_factory):
    """Folders by name: ``headless``; ``small_vocabulary``, a head over A, B, C; ``mute``, a head without vocabulary."""
    from bigfoot.text.tokenizers import CharTokenizer, Processor

    base = tmp_path_factory.mktemp("teachers")
    abc = Processor(CharTokenizer(("<pad>", "|", "A", "B", "C")))
    return {
        "headless": make_teacher(base / "headless", build_huggingface, Processor(), cls="Wav2Vec2Model"),
        "small_vocabulary": make_teacher(base / "small", build_huggingface, abc, vocab_size=5),
        "mute": make_teacher(base / "mute", build_huggingface, Processor()),
    }


@pytest.fixture(scope="session")
def small_run(narrow_teacher):
    """Overrides of a run of seconds: ``small_run(run_dir, *more)``."""

    def overrides(run_dir, *more):
        return [*SMALL_RUN, f"teacher.path={narrow_teacher}", f"run_dir={run_dir}", *more]

    return overrides


@pytest.fixture(scope="session")
def small_config(small_run):
    """The same as a configuration."""
    from bigfoot.pipeline.settings import load_config

    return lambda run_dir, *more: load_config(None, small_run(run_dir, *more))


@pytest.fixture
def bigfoot(capsys):
    """Run a command in this process: exit code, output and errors."""
    from bigfoot.cli import main

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = end.value.code or 0
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def start():
    """Start a Python program in a process of its own, one thread: ``start("recipes/compress.py", ...)``."""
    import subprocess
    import sys

    root = Path(__file__).resolve().parents[1]

    def run(*arguments, wait=True, **options):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": search_path(root), "COLUMNS": "200"}
        options = {"cwd": root, "env": environment | options.pop("extra", {}), "text": True, **options}
        command = [sys.executable, *map(str, arguments)]
        if not wait:
            silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            return subprocess.Popen(command, **(silent | options))
        return subprocess.run(command, capture_output=True, timeout=900, check=False, **options)

    return run


@pytest.fixture(scope="session")
def launch():
    """The same without the seconds of imports: ``launch.run(...)``, and ``launch.start(...)`` that does not wait."""
    from tests.forking import Launcher

    launcher = Launcher()
    yield launcher
    launcher.close()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Folder for all test processes: ``made_once(name, make)`` has the first that asks for it call ``make(folder)``."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def find(name, make):
        folder, made = base / name, base / f"{name}.made"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                folder.mkdir()
                make(folder)
                made.touch()
        return folder

    return find


@pytest.fixture(scope="session")
def small_digits(tmp_path_factory):
    """Manifests of a few synthetic strings of one or two digits."""
    from bigfoot.data.corpora import prepare_data
    from bigfoot.data.settings import DataConfig

    config = DataConfig(num_train=24, num_dev=4, num_test=9, max_digits=2)
    return prepare_data(config, seed=5, folder=tmp_path_factory.mktemp("small_digits"))


@pytest.fixture(scope="session")
def real_corpora():
    """Folder that holds LibriSpeech/ and fsdd/."""
    if not (CORPORA / "LibriSpeech" / "dev-mini").is_dir():
        pytest.skip("no real speech here; set BIGFOOT_DATA to the folder that holds LibriSpeech/ and fsdd/")
    return CORPORA


@pytest.fixture
def quick_memory(monkeypatch):
    """Peak memory is measured in a child process each, which the run of ``finished_run`` does for real."""
    monkeypatch.setattr("bigfoot.pipeline.measured.measure_peak_memory", lambda folder: 123_456_789)


@pytest.fixture
def quick_report(quick_memory, monkeypatch):
    """Nor are the pages and figures drawn, which take seconds: only the table and the JSON are the test's."""
    for name, nothing in (("draw_wer_vs_size", None), ("draw_losses", None), ("render_png", b""), ("render_html", "")):
        monkeypatch.setattr(f"bigfoot.report.writer.{name}", lambda *_, nothing=nothing: nothing)


@pytest.fixture(scope="session")
def finished_run(launch, small_run, made_once):
    """Run folder of the whole main job with its control, run once by its command, and what it printed."""

    def make(folder):
        settings = small_run(folder / "run", "control=ctc_only")
        done = launch.run("tests/pipeline/one_memory.py", "--config", "demo_config.yaml", *settings)
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "printed.txt").write_text(done.stdout)

    folder = made_once("finished", make)
    return folder / "run", (folder / "printed.txt").read_text()


@pytest.fixture(scope="session")
def small_gpt2(launch, made_once):
    """Folder of a GPT-2 that has read a few lines for seconds, by the tool that makes larger ones."""

    def make(folder):
        with gzip.open(folder / "text.gz", "wt") as file:
            file.writelines(
                f"{i}-{i}-{i:04d} ONE TWO THREE FOUR FIVE SIX {'SEVEN ' * (i % 3)}EIGHT\n" for i in range(60)
            )
        done = launch.run(
            "tools/make_small_gpt2.py", folder / "text.gz", folder / "model", "--vocab-size", 280, "--width", 16,
            "--layers", 2, "--heads", 2, "--positions", 64, "--steps", 30, "--batch-size", 4, "--length", 16,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "perplexity" in done.stdout

    return made_once("gpt2", make) / "model"


@pytest.fixture(scope="session")
def plain_answers(tmp_path_factory):
    """What a process without bigfoot says of folders: ``plain_answers({name: (opener, folder)}, wave)``."""

    def ask(tasks, wave):
        import torch

        place = tmp_path_factory.mktemp("elsewhere")
        (place / "tasks.json").write_text(json.dumps({name: (opener, str(f)) for name, (opener, f) in tasks.items()}))
        torch.save(wave, place / "wave.pt")
        script = Path(__file__).parent / "formats" / "plain_transformers.py"
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        # transformers keeps copies of the code that folders carry.
        environment |= {"OMP_NUM_THREADS": "1", "HF_MODULES_CACHE": str(place / "modules")}
        done = subprocess.run(
            [sys.executable, "-I", str(script), "tasks.json", "wave.pt", "answers.pt"],
            cwd=place, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return torch.load(place / "answers.pt", weights_only=True)

    return ask
