"""The shell scripts: their syntax, their help, and which commands their stages run."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.refusals import names

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [*sorted(ROOT.glob("tools/*.sh")), *sorted(ROOT.glob("recipes/**/*.sh")), ROOT / "benchmarks/gpu.sh",
           ROOT / ".ci/run"]  # fmt: skip
RUNS = sorted(ROOT.glob("recipes/*/run.sh"))
COMPARE = "recipes/compare_methods.sh"
STAGED = [path for path in RUNS if path.parent.name != "demo"]

# Stands in for .venv/bin/python and for the set-up: writes down what it was called with.
FAKE = '#!/usr/bin/env bash\necho "$(basename "$0") $*" >> "{log}"\n'


def label(path):
    return str(path.relative_to(ROOT))


def bash(*arguments, cwd=ROOT, **variables):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BIGFOOT_")} | variables
    return subprocess.run(
        ["bash", *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def project(tmp_path):
    """A copy of the scripts alone, whose set-up and Python only take notes."""
    for path in SCRIPTS:
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for fake in (tmp_path / ".venv/bin/python", tmp_path / "tools/setup_venv.sh"):
        fake.write_text(FAKE.format(log=tmp_path / "log"), encoding="utf-8")
        fake.chmod(0o755)
    return tmp_path


def commands(project):
    log = project / "log"
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


@pytest.mark.parametrize("path", SCRIPTS, ids=label)
def test_syntax(path):
    assert bash("-n", path).stderr == ""


@pytest.mark.parametrize("path", SCRIPTS, ids=label)
def test_fails_on_the_first_error_and_names_no_place(path):
    text = path.read_text(encoding="utf-8")
    if path.name != "stages.sh":  # Sourced: the options are its caller's.
        assert re.search(r"^set -e?uo pipefail$", text, re.MULTILINE)
    for forbidden in ("+cpu", "://", "--extra-index-url", "/home/", "/opt/", "/tmp/", "sudo "):
        assert forbidden not in text


def test_constraints_are_exact_and_of_no_local_build():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; .+)?", pin) for pin in pins)
    assert sum(pin.startswith("torch==") for pin in pins) == 1


@pytest.mark.parametrize("name", ["tools/setup_venv.sh", "tools/test.sh", COMPARE, *map(label, RUNS)])
def test_help_teaches_and_does_nothing(project, name):
    script = project / name
    if name == "tools/setup_venv.sh":
        shutil.copy(ROOT / name, script)
    done = bash(script, "--help", cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: bash {name}")
    assert max(map(len, done.stdout.splitlines())) <= 120
    assert commands(project) == []


def test_demo_sets_up_and_passes_overrides_on(project):
    done = bash(project / "recipes/demo/run.sh", "seed=3", "run_dir=a b", cwd="/")
    assert done.returncode == 0, done.stderr
    assert commands(project) == [
        "setup_venv.sh onnx,synthetic",
        "python recipes/compress.py --config demo_config.yaml seed=3 run_dir=a b",
    ]


def test_methods_are_compared_by_python(project):
    done = bash(project / COMPARE, "--seeds", "1 2", "--smoke", "data.root=a b", cwd="/")
    assert done.returncode == 0, done.stderr
    assert commands(project) == [
        "setup_venv.sh synthetic", "python recipes/compare_methods.py --seeds 1 2 --smoke data.root=a b",
    ]  # fmt: skip


def test_stages_are_the_same_command_stopped_a_step_later(project):
    done = bash(project / "recipes/fsdd/run.sh", "seed=3", cwd="/")
    assert done.returncode == 0, done.stderr
    call = "python recipes/compress.py --config fsdd.yaml --until {} seed=3"
    assert commands(project) == [
        "setup_venv.sh synthetic",
        *(call.format(step) for step in ("data", "distill", "finetune", "report")),
    ]
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [f"stage {n}" for n in range(5)]


def test_tasks_are_chosen_by_name(project):
    for name, tasks in (("fsdd", ("digit", "speaker")), ("synthetic", ("traits",)),
                        ("speechocean762", ("gender", "age", "age_group"))):  # fmt: skip
        script = project / f"recipes/task_{name}/run.sh"
        for task in tasks:
            (project / "log").unlink(missing_ok=True)
            done = bash(script, "--task", task, "seed=3", cwd="/")
            assert done.returncode == 0, done.stderr
            call = f"python recipes/tasks.py --config tasks/{name}_{task}.yaml --until {{}} seed=3"
            stages = [call.format(step) for step in ("data", "train_task", "report")]
            folds = [f"python recipes/tasks.py --config tasks/{name}_{task}.yaml --folds 5 seed=3"]
            stages += folds if name == "speechocean762" or task == "speaker" else []
            assert commands(project) == ["setup_venv.sh synthetic,tasks", *stages]
            assert (ROOT / f"configs/tasks/{name}_{task}.yaml").is_file()
        assert bash(script, "--task", "mood").returncode == 2
    (project / "log").unlink()
    bash(project / "recipes/task_speechocean762/run.sh", "--stage", "4", "run_dir=a b")
    assert commands(project) == [
        "python recipes/tasks.py --config tasks/speechocean762_gender.yaml --folds 5 run_dir=a b"
    ]


def test_stage_and_stop_stage_choose(project):
    bash(project / "recipes/fsdd/run.sh", "--stage", "2", "--stop_stage", "3")
    assert [line.split()[5] for line in commands(project)] == ["distill", "finetune"]


def test_a_failing_stage_ends_the_run_with_its_status(project):
    (project / ".venv/bin/python").write_text("#!/usr/bin/env bash\nexit 7\n", encoding="utf-8")
    done = bash(project / "recipes/fsdd/run.sh", "--stage", "1")
    assert done.returncode == 7
    assert "stage 2" not in done.stdout


@pytest.mark.parametrize(
    ("part", "config", "switches"),
    [
        ("mini", "librispeech_mini.yaml", []),
        ("100", "librispeech.yaml", ["train_clean_100"]),
        ("360", "librispeech.yaml", ["train_clean_100", "train_clean_360"]),
        ("960", "librispeech.yaml", ["train_clean_100", "train_clean_360", "train_other_500"]),
    ],
)
def test_librispeech_parts(project, part, config, switches):
    done = bash(project / "recipes/librispeech/run.sh", "--part", part, "--stage", "4", "data.root=x")
    assert done.returncode == 0, done.stderr
    overrides = "".join(f" data.{switch}=true" for switch in switches)
    assert commands(project) == [f"python recipes/compress.py --config {config} --until report{overrides} data.root=x"]


CORPUS_SPLITS = {
    ("common_voice", "pl"): ("pl/train", "pl/dev", "pl/test"), ("gigaspeech", "XL"): ("XL", "DEV", "TEST"),
    ("mls", "polish"): ("polish/train", "polish/dev", "polish/test"), ("tedlium", "train"): ("train", "dev", "test"),
    ("voxpopuli", "fr"): ("fr/train", "fr/dev", "fr/test"), ("librilight", "small"): ("small", "", ""),
    ("kaldi", "data"): ("data/train", "data/dev", "data/test"),
}  # fmt: skip


@pytest.mark.parametrize(("corpus", "part"), CORPUS_SPLITS)
def test_published_corpora_take_their_splits(project, corpus, part):
    from bigfoot.pipeline.settings import load_config

    done = bash(project / "recipes/corpus/run.sh", "--corpus", corpus, "--part", part, "--stage", "4", "data.root=x")
    assert done.returncode == 0, done.stderr
    (command,) = commands(project)
    words = command.split()
    assert words[:6] == ["python", "recipes/compress.py", "--config", "librispeech.yaml", "--until", "report"]
    data = load_config(words[3], words[6:]).data
    splits = [",".join(names) for names in (data.train_splits, data.dev_splits, data.test_splits)]
    assert (data.corpus, data.root, *splits) == (corpus, "x", *CORPUS_SPLITS[corpus, part])
    assert bash(project / "recipes/corpus/run.sh", "--corpus", "none").returncode == 2


LIBRI_SPLITS = ("train-clean-100", "train-clean-360", "train-other-500", "dev-clean", "test-clean")


@pytest.fixture(scope="module")
def libri(tmp_path_factory):
    """LibriSpeech's tree in miniature: a chapter of two utterances in every split."""
    from bigfoot.audio.files import write_audio
    from bigfoot.data.synthetic import synthesize_string

    root = tmp_path_factory.mktemp("libri") / "LibriSpeech"
    for speaker, split in enumerate(LIBRI_SPLITS, start=19):
        chapter, lines = root / split / str(speaker) / "198", []
        for index in range(2):
            utterance = synthesize_string(speaker, "train", index, 1, 2)
            name = f"{speaker}-198-{index:04d}"
            write_audio(chapter / f"{name}.flac", utterance.samples)
            lines.append(f"{name} {utterance.text}\n")
        (chapter / f"{speaker}-198.trans.txt").write_text("".join(lines))
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("part", "count"), [("100", 1), ("360", 2), ("960", 3)])
def test_librispeech_parts_take_their_splits(project, part, count, libri, narrow_teacher, tmp_path):
    """The very command of the data stage, run here: which of the corpus's splits its manifests are made of."""
    from bigfoot.cli import main
    from bigfoot.data.batches import read_utterances
    from bigfoot.data.manifests import load_prepared

    overrides = [f"data.root={libri}", f"run_dir={tmp_path / 'run'}", f"teacher.path={narrow_teacher}", "threads=1"]
    stages = ["--stage", "1", "--stop_stage", "1"]
    done = bash(project / "recipes/librispeech/run.sh", "--part", part, *stages, *overrides)
    assert done.returncode == 0, done.stderr
    (command,) = commands(project)
    with pytest.raises(SystemExit) as stopped:
        main(["compress", *command.split()[2:]])
    assert not stopped.value.code
    prepared = load_prepared(tmp_path / "run" / "data")
    speakers = {split: {u.speaker for u in read_utterances(path)} for split, path in prepared.manifests.items()}
    expected = {"train": LIBRI_SPLITS[:count], "dev": LIBRI_SPLITS[3:4], "test": LIBRI_SPLITS[4:]}
    assert speakers == {
        split: {str(19 + LIBRI_SPLITS.index(name)) for name in names} for split, names in expected.items()
    }
    assert prepared.num_utterances == {"train": 2 * count, "dev": 2, "test": 2} and prepared.skipped == []


def test_tiny_teacher_trains_measures_and_installs(project):
    script, model = project / "recipes/tiny_teacher/run.sh", project / "runs/t/model"
    model.mkdir(parents=True)
    (project / "fsdd").mkdir()
    for name in ("config.json", "model.safetensors", "vocab.json", "training_state.pt"):
        (model / name).write_text(name, encoding="utf-8")
    done = bash(script, "--stage", "1", "--fsdd", "fsdd", "--out", "runs/t", "--", "--steps", "5")
    assert done.returncode == 0, done.stderr
    assert commands(project) == [
        "python recipes/tiny_teacher/train.py --fsdd fsdd --out runs/t --steps 5",
        "python -m bigfoot evaluate runs/t/model --config demo_config.yaml --run-dir runs/t/synthetic data.num_train=1",
        "python -m bigfoot evaluate runs/t/model --config fsdd.yaml --run-dir runs/t/fsdd data.num_train=1 "
        "data.root=fsdd",
    ]
    installed = {path.name for path in (project / "bigfoot/assets/tiny_teacher").iterdir()}
    assert installed == {"config.json", "model.safetensors", "vocab.json"}


def test_english_teacher_trains_in_sittings_evaluates_and_saves(project):
    script, home = project / "recipes/english_teacher/run.sh", "recipes/english_teacher"
    (project / "speech/LibriSpeech").mkdir(parents=True)
    (project / "o/gpu_again/finetune/model").mkdir(parents=True)
    given = ("--size", "gpu", "--out", "o", "--data", "speech", "--minutes", "9", "--stage", "1")
    done = bash(script, *given, "finetune.max_steps=7")
    assert done.returncode == 0, done.stderr
    model, evaluate = "o/gpu_again/finetune/model", f"--config {home}/gpu.yaml --run-dir o/evaluate"
    end = "data.root=o/data max_minutes=9 finetune.max_steps=7"
    assert commands(project) == [
        f"python {home}/prepare.py --data speech --out o/data --spoken 9000",
        "python tools/train_ngram.py o/data/text.txt o/data/words.arpa --order 3",
        f"python {home}/make_model.py --shape {home}/gpu_shape.json --out o/random_gpu",
        f"python recipes/compress.py --config {home}/gpu.yaml --until finetune run_dir=o/gpu "
        f"teacher.path=o/random_gpu {end}",
        f"python recipes/compress.py --config {home}/gpu_again.yaml --until finetune run_dir=o/gpu_again "
        f"teacher.path=o/gpu/finetune/model {end}",
        f"python -m bigfoot evaluate {model} {evaluate}_greedy data.root=o/data",
        f"python -m bigfoot evaluate {model} {evaluate}_trigram data.root=o/data evaluate.decoder=lm "
        "evaluate.lm_path=o/data/words.arpa evaluate.lm_weight=0.8 evaluate.word_bonus=3",
        f"python {home}/save_shards.py {model} o/teacher",
    ]


@pytest.mark.parametrize("path", STAGED, ids=label)
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--stage", "two"], "takes a number, not 'two'"),
        (["--stage"], "--stage needs a value"),
        (["--stage", "3", "--stop_stage", "1"], "comes after"),
        (["--stages", "1"], "unknown option --stages"),
        (["--x;y", "1"], "unknown option --x;y"),
        (["seed"], "found 'seed'"),
    ],
)
def test_wrong_arguments_stop_before_anything_runs(project, path, arguments, complaint):
    done = bash(project / path.relative_to(ROOT), *arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert commands(project) == []


def test_unknown_part_and_missing_corpus_are_named(project):
    assert names(bash(project / "recipes/librispeech/run.sh", "--part", "200").stderr, "200")
    done = bash(project / "recipes/tiny_teacher/run.sh", "--fsdd", "nowhere")
    assert done.returncode == 2
    assert names(done.stderr, "FSDD", "nowhere")


def test_later_stage_without_set_up_says_so(project):
    (project / ".venv/bin/python").unlink()
    done = bash(project / "recipes/fsdd/run.sh", "--stage", "1")
    assert done.returncode == 2
    assert names(done.stderr, "--stage", "0")


@pytest.mark.parametrize(
    ("line", "warns"),
    [
        ("Collecting nvidia-cublas==13.1.0.3 (from torch)", True),
        ("  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (526.6 MB)", True),
        ("  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (29 kB)", False),
        ("Downloading torch-2.13.0-cp311-none-macosx_11_0_arm64.whl (80.9 MB)", False),
        ("Collecting sympy>=1.13.3 (from torch)", False),
    ],
)
def test_download_of_gigabytes_is_announced(tmp_path, line, warns):
    setup = (ROOT / "tools/setup_venv.sh").read_text(encoding="utf-8")
    narrate = setup[setup.index("GIGABYTES=") : setup.index("install() {")]
    (tmp_path / "narrate.sh").write_text(f'LOG=log\n{narrate}\nnarrate <<< "{line}"\n', encoding="utf-8")
    done = bash("narrate.sh", cwd=tmp_path)
    assert ("CUDA build" in done.stdout) == warns, done.stderr
    assert (tmp_path / "log").read_text(encoding="utf-8") == line + "\n"


@pytest.mark.parametrize(
    ("arguments", "variables", "status", "complaint"),
    [
        (["a b"], {}, 2, "comma-separated"),
        ([], {"PYTHON": "no-such-python"}, 1, "found no no-such-python"),
    ],
)
def test_set_up_refuses_with_a_reason(tmp_path, arguments, variables, status, complaint):
    (tmp_path / "tools").mkdir()
    for name in ("tools/setup_venv.sh", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    done = bash(tmp_path / "tools/setup_venv.sh", *arguments, **variables)
    assert done.returncode == status
    assert complaint in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_set_up_deletes_no_folder_that_is_not_its_own(tmp_path):
    (tmp_path / "tools").mkdir()
    for name in ("tools/setup_venv.sh", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/thesis.tex").touch()
    done = bash(tmp_path / "tools/setup_venv.sh")
    assert done.returncode == 1
    assert (tmp_path / ".venv/thesis.tex").exists()
