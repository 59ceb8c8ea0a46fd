"""Run the blocks of a page in this process, at tiny settings."""

import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from bigfoot.cli import main
from bigfoot.pipeline.speech_llm.run import is_speech_llm
from tests.pages import ROOT

TINY = [
    "threads=1", "trackers=[]", "data.num_train=12", "data.num_dev=2", "data.num_test=3", "data.min_digits=1",
    "data.max_digits=2", "data.num_workers=0", "distill.max_steps=4", "distill.warmup_steps=1", "distill.log_every=1",
    "supernet.max_steps=2", "supernet.warmup_steps=1", "supernet.log_every=1",
    "finetune.max_steps=1", "finetune.warmup_steps=1", "qat.max_steps=2", "qat.seconds=2", "measure.speed=false",
    "evaluate.bootstrap_samples=10",
]  # fmt: skip
"""What makes a run take seconds; it takes the place of what a page says of these keys."""
LEARNS = ["distill.max_steps=10"]
"""After 4 steps a student of one seed in four is further from its teacher than before; after these, none of seven."""
TINY_TRAINING = ["max_steps=2", "warmup_steps=1", "eval_every=2", "checkpoint_every=2"]
TINY_TASK = [*TINY, *(f"train_task.{setting}" for setting in TINY_TRAINING), "train_task.players=0"]
TINY_TEXT = [*TINY_TRAINING, "bootstrap_samples=10", "speech.width=16", "speech.num_heads=2"]
TINY_SPEECH_LLM = [
    *(f"{step}.{setting}" for step in ("train_adapter", "train_lora") for setting in [*TINY_TRAINING, "batch_size=4"]),
    "language_model.path=lm", "evaluate.bootstrap_samples=10", "evaluate.measure_speed=false",
]  # fmt: skip
SETTINGS = {
    "compress": TINY, "describe": TINY, "evaluate": TINY, "recipes/compress.py": TINY, "train-task": TINY_TASK,
    "data": TINY,
    "train-text": TINY_TEXT, "tune": [*TINY, "steps=[student,distill]"],
}  # fmt: skip
"""Of the commands that take settings."""
INSTEAD = {
    "/path/to/wav2vec2-folder": "tiny_teacher",
    "/folder/of/corpora": "corpora",
    "bert-base-uncased": "bert",
    "facebook/wav2vec2-base": "tiny_teacher",
    "openai/whisper-tiny": "whisper",
    "/path/to/parakeet": "parakeet",
}
"""Stand-ins for what the reader has; ``standins.py`` writes the folders."""
SHORTER = {"benchmark": ["--seconds", "1", "--rounds", "1"]}


@dataclass
class Terminal:
    """What the blocks of one page leave behind for the next ones: variables, and a server that runs until the end.

    Args:
        patch: takes the variables back.
        instead: stand-ins, to which a server adds its address.
    """

    patch: pytest.MonkeyPatch
    instead: dict[str, str] = field(default_factory=lambda: dict(INSTEAD))
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def fill(self, text: str) -> str:
        """Text with stand-ins for what the reader has."""
        for documented, here in self.instead.items():
            text = text.replace(documented, here)
        return text

    def run(self, command: str) -> str:
        """Run one line; what it prints."""
        command = self.fill(command)
        words = _split(command)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.patch.setenv(name, os.path.abspath(value))
            return ""
        if words[0] == "curl":
            return subprocess.run([words[0], "-sSf", *words[1:]], check=True, capture_output=True, text=True).stdout
        if words[:2] == ["bigfoot", "serve"]:
            address = self._stack.enter_context(_serving(words[2:]))
            port = words[words.index("--port") + 1]
            self.instead[f"127.0.0.1:{port}"] = address.removeprefix("http://")
            return address
        return run_command(command)


def run_command(command: str) -> str:
    """Run one line of bigfoot or Python; what it prints."""
    program, *words = _split(command)
    assert program in ("bigfoot", "python"), f"{command}: mark the block as not run, with the reason"
    if words[0] in SETTINGS:
        tiny = _choose_settings(words)
        keys = {setting.partition("=")[0] for setting in tiny}
        words = [word for word in words if word.partition("=")[0] not in keys] + tiny
    words += SHORTER.get(words[0], [])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if program == "bigfoot":
            with _ends_well(command):
                main(words)
        else:
            with pytest.MonkeyPatch.context() as patch, _ends_well(command):
                patch.setattr(sys, "argv", words)
                runpy.run_path(str(ROOT / words[0]), run_name="__main__")
    return printed.getvalue()


def _choose_settings(words: list[str]) -> list[str]:
    config = words[words.index("--config") + 1] if "--config" in words else None
    return TINY_SPEECH_LLM if config and is_speech_llm(config) else SETTINGS[words[0]]


def _split(command: str) -> list[str]:
    r"""Words as bash sees them, of which shlex does not know ``$'\n'``."""
    quoted = re.sub(r"\$'([^']*)'", lambda found: shlex.quote(found[1].encode().decode("unicode_escape")), command)
    return shlex.split(quoted)


@contextlib.contextmanager
def _serving(words: list[str]) -> Iterator[str]:
    """A server's process, on a free port; its address."""
    command = [sys.executable, "-m", "bigfoot", "serve", *words, "--port", "0", "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            yield process.stderr.readline().split()[-1]
        finally:
            process.terminate()
        assert process.wait(60) == 0


@contextlib.contextmanager
def _ends_well(command: str) -> Iterator[None]:
    try:
        yield
    except SystemExit as end:
        assert end.code in (0, None), command
