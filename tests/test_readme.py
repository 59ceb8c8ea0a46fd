"""Every command and the Python block of the README run, at tiny settings, in the order in which they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from bigfoot.audio.files import write_audio
from bigfoot.cli import main
from bigfoot.data.synthetic import synthesize_split

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("BIGFOOT_DATA", ROOT.parent / "shared" / "data"))
SET_UP = ("bash recipes/demo/run.sh", "bash tools/test.sh", "pip install")
TINY = [
    "threads=1", "data.num_train=12", "data.num_dev=2", "data.num_test=3", "data.max_digits=3", "distill.max_steps=2",
    "finetune.max_steps=1", "evaluate.speed_rounds=1", "evaluate.speed_seconds=1", "evaluate.bootstrap_samples=10",
]  # fmt: skip


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def commands() -> list[str]:
    """Single commands without comments, set-up ones left out."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    found = [line.split("  #")[0].strip() for line in lines]
    return [line for line in found if line and not line.startswith(SET_UP)]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands name: speech, tables, and two finished runs."""
    folder = tmp_path_factory.mktemp("readme")
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
    previous = Path.cwd()
    os.chdir(folder)
    try:
        for run in ("demo", "fsdd"):
            main_ok(["compress", "--config", "demo_config.yaml", *TINY, f"run_dir=runs/{run}"])
    finally:
        os.chdir(previous)
    return folder


def main_ok(arguments: list[str]) -> None:
    """Run ``bigfoot`` in this process; importing torch once is enough."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code in (0, None)


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


def run_script(words: list[str]) -> None:
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


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_command_runs(command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    words = shlex.split(command.replace("/path/to/wav2vec2-folder", "tiny_teacher"))
    if words[:2] == ["bash", "recipes/compare_methods.sh"]:
        run_comparison()
    elif words[0] == "bash":
        run_script(words)
    elif words[:2] == ["python", "recipes/compress.py"]:
        main_ok(["compress", *words[2:], *TINY])
        assert (workplace / "runs/mine/report/report.json").exists()
    else:
        assert words[0] == "bigfoot"
        tiny = TINY if words[1] in ("evaluate", "compress") else []
        tiny = ["--seconds", "1", "--rounds", "1"] if words[1] == "benchmark" else tiny
        main_ok([*words[1:], *tiny])


@pytest.mark.slow
def test_python_block_runs(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    (block,) = blocks("python")
    assert len([line for line in block.splitlines() if line]) <= 10
    exec(block.replace('"run_dir=runs/python"', f'"run_dir=runs/python", *{TINY!r}'), {})
    assert "| teacher |" in capsys.readouterr().out
