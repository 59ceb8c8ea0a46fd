"""Commands and code blocks of the README run, at tiny settings; the site builds; results name real commands."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from bigfoot.audio.files import write_audio
from bigfoot.cli import main
from bigfoot.data.synthetic import synthesize_split
from bigfoot.pipeline.settings import read_config
from tests.pages import write_files_of

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("BIGFOOT_DATA", ROOT.parent / "shared" / "data"))
SET_UP = ("bash recipes/demo/run.sh", "bash tools/", "pip install", "bash .ci/")
TINY = [
    "threads=1", "data.num_train=12", "data.num_dev=2", "data.num_test=3", "data.max_digits=3", "distill.max_steps=2",
    "finetune.max_steps=1", "evaluate.speed_rounds=1", "evaluate.speed_seconds=1", "evaluate.bootstrap_samples=10",
]  # fmt: skip
NAMED = re.compile(r"# \S+\.(?:py|yaml)\n")
"""First line of a block that stands for a file of that name."""
LANGUAGES = {"bash", "python", "yaml", "json", "text"}
MEASURED = ROOT / "docs" / "results"
"""What these pages ran takes hours: their commands are checked against the configuration, not run."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the lines inside, and its first line's number."""

    language: str
    content: str
    line: int


def read_blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in found]


def commands_of(block: str) -> list[str]:
    """Single commands without comments, set-up ones left out."""
    lines = block.replace("\\\n", " ").splitlines()
    found = [line.split("  #")[0].strip() for line in lines]
    return [line for line in found if line and not line.startswith((*SET_UP, "#"))]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNNABLE = [ROOT / "README.md"]
"""The pages of docs/ come next; those on own losses and techniques have tests of their own."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands name: speech, tables, text, and two finished runs."""
    folder = tmp_path_factory.mktemp("documentation")
    for split, count in (("train", 6), ("dev", 2), ("test", 3)):
        rows = ["path\ttext"]
        for utterance in synthesize_split(3, split, count, 1, 2):
            write_audio(folder / f"{utterance.id}.wav", utterance.samples)
            rows.append(f"{utterance.id}.wav\t{utterance.text.lower()}")
        (folder / f"{split}.tsv").write_text("\n".join(rows), encoding="utf-8")
    (folder / "speech.wav").symlink_to(folder / "synthetic-test-000000.wav")
    (folder / "recordings").mkdir()
    (folder / "recordings" / "speech.wav").symlink_to(folder / "speech.wav")
    (folder / "recordings" / "speech.txt").write_text("one two", encoding="utf-8")
    (folder / "text.txt").write_text("ONE TWO\nTHREE FOUR\nONE SIX\n" * 20, encoding="utf-8")
    previous = Path.cwd()
    os.chdir(folder)
    try:
        for run in ("demo", "fsdd"):
            run_bigfoot(["compress", "--config", "demo_config.yaml", *TINY, f"run_dir=runs/{run}"])
    finally:
        os.chdir(previous)
    return folder


def run_bigfoot(arguments: list[str]) -> None:
    """Run ``bigfoot`` in this process; importing torch once is enough."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code in (0, None), arguments


def run_comparison() -> None:
    """Of the methods one is enough here; ``test_compare_methods`` runs all."""
    if not (ROOT / ".venv/bin/python").exists():
        pytest.skip("no .venv: bash tools/test.sh makes it")
    place = Path.cwd() / "runs" / "compare"
    tiny = ["--smoke", "--methods", "lowrank", "--out", str(place)]
    command = [str(ROOT / ".venv/bin/python"), str(ROOT / "recipes/compare_methods.py"), *tiny]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| lowrank |" in (place / "comparison.md").read_text(encoding="utf-8")


def run_recipe(words: list[str]) -> None:
    """Run a staged recipe on real data, with the environment that its set-up stage made."""
    corpus = {"recipes/fsdd/run.sh": "fsdd", "recipes/librispeech/run.sh": "LibriSpeech"}[words[1]]
    if not (DATA / corpus).is_dir():
        pytest.skip(f"no {corpus} under {DATA}")
    if not (ROOT / ".venv/bin/python").exists():
        pytest.skip("no .venv: bash tools/test.sh makes it")
    given = [f"data.root={DATA / corpus}" if word.startswith("data.root=") else word for word in words[2:]]
    place = Path.cwd() / "runs" / corpus
    tiny = [*TINY, f"run_dir={place}", "data.max_seconds=4", "data.batch_seconds=16", "control=null"]
    if corpus == "LibriSpeech":
        tiny += ["data.verify_audio=false", "data.hold_out_speakers=2", "evaluate.splits=[dev]"]
    command = ["bash", str(ROOT / words[1]), "--stage", "1", *given, *tiny]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place / "report" / "report.md").exists()


def run_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one line of a bash block."""
    words = shlex.split(command.replace("/path/to/wav2vec2-folder", "tiny_teacher"))
    if words[:2] == ["bash", "recipes/compare_methods.sh"]:
        run_comparison()
    elif words[0] == "bash":
        run_recipe(words)
    elif words[:2] == ["python", "recipes/compress.py"]:
        run_bigfoot(["compress", *words[2:], *shortened(words)])
    elif words[0] == "python":
        monkeypatch.setattr(sys, "argv", [words[1], *words[2:]])
        try:
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")
        except SystemExit as stopped:
            assert stopped.code in (0, None), command
    else:
        assert words[0] == "bigfoot", command
        run_bigfoot([*words[1:], *shortened(words)])


def shortened(words: list[str]) -> list[str]:
    """What makes a command take seconds."""
    if words[1] == "benchmark":
        return ["--seconds", "1", "--rounds", "1"]
    if words[1] not in ("evaluate", "compress", "recipes/compress.py"):
        return []
    given = {word.partition("=")[0] for word in words}
    return [setting for setting in TINY if setting.partition("=")[0] not in given]


def check_yaml(content: str, folder: Path) -> None:
    """A YAML block is a configuration without problems."""
    path = folder / "block.yaml"
    path.write_text(content, encoding="utf-8")
    _, problems = read_config(str(path), [])
    assert not problems


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.syspath_prepend(str(workplace))
    names: dict[str, object] = {}
    write_files_of(page, workplace)
    for block in read_blocks(page):
        if NAMED.match(block.content):
            continue
        assert block.language in LANGUAGES, f"{page}:{block.line}: a block has no language"
        if block.language == "bash":
            for command in commands_of(block.content):
                run_command(command, monkeypatch)
        elif block.language == "python":
            shorter = block.content.replace('"run_dir=runs/python"', f'"run_dir=runs/python", *{TINY!r}')
            exec(compile(shorter, f"{page}:{block.line}", "exec"), names)
        elif block.language == "yaml":
            check_yaml(block.content, workplace)
        elif block.language == "json":
            json.loads(block.content)


@pytest.mark.parametrize("page", [ROOT / "RESULTS.md", *sorted(MEASURED.glob("*.md"))], ids=lambda page: page.name)
def test_commands_of_results_are_valid(page: Path) -> None:
    """Their keys exist, and the scripts they name are there."""
    text = page.read_text(encoding="utf-8")
    inline = re.findall(r"`((?:bash|python|bigfoot) [^`]+)`", text)
    fenced = [line for block in read_blocks(page) for line in commands_of(block.content)]
    for command in [*inline, *(line for line in fenced if line.startswith(("bash ", "python ", "bigfoot ")))]:
        words = command.replace("\n", " ").split()
        if words[0] in ("bash", "python") and words[1].endswith((".py", ".sh")):
            assert (ROOT / words[1]).is_file(), command
        elif words[0] == "bigfoot" and words[1].isalpha():
            assert (ROOT / "bigfoot" / "cli" / f"{words[1]}.py").is_file(), command


def test_readme_is_short_and_found() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) < 900
    wanted = ["speech recognition", "ASR", "wav2vec2", "HuBERT", "WavLM", "compress", "pruning", "quantization"]
    wanted += ["distillation", "ONNX", "int8"]
    assert [word for word in wanted if word.lower() not in text.lower()] == []


@pytest.mark.slow
def test_site_builds_strictly(tmp_path: Path) -> None:
    """A broken link, picture or reference fails; built in a copy, so that nothing is left in the checkout."""
    pytest.importorskip("zensical")
    for name in ("docs", "bigfoot"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    (tmp_path / "docs").unlink()
    subprocess.run(["cp", "-r", str(ROOT / "docs"), str(tmp_path / "docs")], check=True)
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    generate = [sys.executable, str(ROOT / "tools/docs_reference.py"), "docs/reference"]
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    for command in (generate, build):
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "reference" / "config" / "index.html").is_file()
